"""`stammgast schemas`: the event formats as files, for those who send or read events."""

from pathlib import Path

import click

from engine.settings import UsageError


@click.group()
def schemas() -> None:
    """Write the JSON Schema of every event."""


@schemas.command()
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
def export(directory: Path) -> None:
    """Write one JSON Schema per event, fact and decision below DIR, which is made when it is not there."""
    from schemas.export import export_all

    try:
        directory.mkdir(parents=True, exist_ok=True)
        paths = export_all(directory)
    except OSError as error:
        raise UsageError(
            f"{error.filename or directory}: {error.strerror}; choose a folder you may write to."
        ) from error
    for path in paths:
        click.echo(str(path))
