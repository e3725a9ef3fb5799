"""`stammgast schemas`: the event formats as files, for those who send or read events."""

from importlib.metadata import version
from pathlib import Path

import click

from engine.settings import UsageError


@click.group()
def schemas() -> None:
    """Write the JSON Schema of every event."""


@schemas.command()
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
def export(directory: Path) -> None:
    """Write one JSON Schema per event, fact and decision below DIR, and asyncapi.json, which names the topics they travel by.

    import/mapping.json is the schema of what `stammgast import --mapping` reads.

    DIR is made when it is not there.
    """
    from engine.imports.mapping_file import mapping_schema
    from engine.stream.topics import default_inbound
    from schemas.asyncapi import document
    from schemas.export import export_all, written

    try:
        directory.mkdir(parents=True, exist_ok=True)
        paths = export_all(directory)
        inbound = {topic: sorted(one.types) for topic, one in default_inbound().items()}
        paths.append(written(directory / "asyncapi.json", document(version("stammgast"), inbound)))
        paths.append(written(directory / "import" / "mapping.json", mapping_schema()))
    except OSError as error:
        raise UsageError(
            f"{error.filename or directory}: {error.strerror}; choose a folder you may write to."
        ) from error
    for path in paths:
        click.echo(str(path))
