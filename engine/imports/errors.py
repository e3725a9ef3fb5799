"""What can be wrong with a till export: the file as a whole, or one line of it."""

from pathlib import Path


class ExportError(Exception):
    """An export cannot be converted; the message says what, where and how to mend it."""


class WrongFileError(ExportError):
    """The file is missing, is no CSV, or is not the export that the preset reads."""


class BadLineError(ExportError):
    """One line of the right kind of file cannot be understood."""

    def __init__(self, path: Path, line: int, what: str) -> None:
        super().__init__(f"{path}:{line}: {what}")
