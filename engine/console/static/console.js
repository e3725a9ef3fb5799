// The pages work without it. Ctrl+Enter asks; after an answer the eye and the screen reader begin at it.
"use strict";
const box = document.getElementById("sql");
if (box) {
  box.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      document.getElementById("box").requestSubmit();
    }
  });
}
const answer = document.getElementById("answer");
if (answer) {
  answer.focus();
}
