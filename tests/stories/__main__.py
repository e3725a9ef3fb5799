"""`python -m tests.stories` writes the last column of docs/semantics.md anew."""

from __future__ import annotations

from tests.stories.semantics import NOBODY, PAGE, held_by_stories, held_by_tests, lines, refreshed, story_files

if __name__ == "__main__":
    PAGE.write_text(refreshed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    held = lines(PAGE.read_text(encoding="utf-8"))
    if unknown := {*held_by_stories(), *held_by_tests()} - {*held}:
        print("no such line:", ", ".join(sorted(unknown)))
    print("not held yet:", ", ".join(name for name, by in held.items() if by == NOBODY))
    print(f"{len(story_files())} stories, {len(held)} lines, {sum(by == NOBODY for by in held.values())} not held yet")
