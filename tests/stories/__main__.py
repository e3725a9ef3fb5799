"""`python -m tests.stories` writes what is made of stories: the last column of docs/semantics.md, letters.txt for new ones.

`--anew NAME ...` (or `--anew all`) writes down what stories say to the letter now, where it was meant; `--show NAME` prints it
in full, to be compared with what the same command prints at another commit.
"""

from __future__ import annotations

import argparse

from tests.stories.letter import names, parts, refresh
from tests.stories.semantics import NOBODY, PAGE, held_by_stories, held_by_tests, lines, refreshed, story_files


def write_page() -> None:
    """Write the page, and say what it does not hold."""
    PAGE.write_text(refreshed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    held = lines(PAGE.read_text(encoding="utf-8"))
    if unknown := {*held_by_stories(), *held_by_tests()} - {*held}:
        print("no such line:", ", ".join(sorted(unknown)))
    print("not held yet:", ", ".join(name for name, by in held.items() if by == NOBODY))
    print(f"{len(story_files())} stories, {len(held)} lines, {sum(by == NOBODY for by in held.values())} not held yet")


def main() -> None:
    """Show one story, or write everything."""
    parser = argparse.ArgumentParser(prog="python -m tests.stories", description=__doc__.partition("\n")[0])
    parser.add_argument("--show", metavar="NAME", choices=names(), help="print a story to the letter")
    parser.add_argument(
        "--anew", metavar="NAME", nargs="+", default=[], help="stories that mean what they say now; or all"
    )
    chosen = parser.parse_args()
    if chosen.show is not None:
        for part, said in parts(chosen.show).items():
            print(f"-- {part}", *said, sep="\n")
        return
    write_page()
    anew = names() if chosen.anew == ["all"] else chosen.anew
    if unknown := {*anew} - {*names()}:
        parser.error(f"no such story: {', '.join(sorted(unknown))}")
    if changed := refresh(anew):
        print("other than it was written, and left so:", ", ".join(changed))


if __name__ == "__main__":
    main()
