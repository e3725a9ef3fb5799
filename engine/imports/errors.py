"""What can be wrong with a till export or its mapping: the file as a whole, or lines of it."""

from collections.abc import Sequence
from pathlib import Path


class ExportError(Exception):
    """An export cannot be converted; the message says what, where and how to mend it."""


class WrongFileError(ExportError):
    """The file is missing, is no CSV, or is not the export that the preset reads."""


class MappingError(WrongFileError):
    """A mapping file has mistakes, or does not fit the export."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))


class BadLineError(ExportError):
    """One line of the right kind of file cannot be understood."""

    def __init__(self, path: Path, line: int, what: str) -> None:
        super().__init__(f"{path}:{line}: {what}")


class BadLinesError(ExportError):
    """Lines that cannot be understood, with the first of them in words."""

    def __init__(self, problems: Sequence[str], more: bool) -> None:
        super().__init__("\n".join(problems) + ("\n... and more; these were the first." if more else ""))
