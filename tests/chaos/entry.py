"""The product's command with a shorter session, or with a bug planted: `python -m tests.chaos.entry [--plant NAME] -- VERB`."""

from __future__ import annotations

import sys
from importlib import import_module

from engine.cli import main
from engine.stream import batches

if __name__ == "__main__":
    ours, theirs = sys.argv[1 : sys.argv.index("--")], sys.argv[sys.argv.index("--") + 1 :]
    told = dict(zip(ours[::2], ours[1::2], strict=True))
    batches.SESSION_S = float(told["--session"])
    if "--plant" in told:
        import_module(f"tests.chaos.planted.{told['--plant']}").plant()
    sys.argv = ["stammgast", *theirs]
    main()
