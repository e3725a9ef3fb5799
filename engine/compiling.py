"""Compiles the core with mypyc: `python -P compiling.py FOLDER SOURCE...`, run in a copy of the sources.

A process of its own, because mypyc and setuptools take the current folder, the arguments and the exit for theirs.
"""

from __future__ import annotations

import sys

from mypyc.build import mypycify
from setuptools import setup


def main(folder: str, group: str, modules: list[str]) -> None:
    """Compile `modules` below the current folder into `folder`."""
    extensions = mypycify(["--config-file", "mypy.ini", *modules], group_name=group, debug_level="0")
    build = ["--quiet", "build_ext", "--build-lib", folder, "--build-temp", "temporary"]
    setup(name=group, packages=[], py_modules=[], ext_modules=extensions, script_args=build)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
