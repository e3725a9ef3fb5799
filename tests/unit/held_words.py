"""Sentences that tests hold to the letter: whatever a test brings the language to say must stand in wordings/.

`STAMMGAST_WORDINGS=write` before pytest adds what is new; the change is then seen in the diff of the file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

WORDINGS = Path(__file__).parent / "wordings"


def hold(name: str, lines: Iterable[str]) -> None:
    """Fail where one of these lines was never said so before, by what is written in ``wordings/<name>.txt``."""
    path = WORDINGS / f"{name}.txt"
    known = set(path.read_text(encoding="utf-8").splitlines()) if path.exists() else set()
    new = {line.replace("\n", " / ") for line in lines} - known
    if new and os.environ.get("STAMMGAST_WORDINGS") == "write":
        path.write_text("".join(f"{line}\n" for line in sorted(known | new)), encoding="utf-8")
        return
    told = "\n".join(sorted(new))
    assert not new, (
        f"{path.name} does not know\n{told}\nwhere it is meant: STAMMGAST_WORDINGS=write, and look at the diff"
    )
