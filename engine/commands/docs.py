"""`stammgast docs`: the parts of README.md that are made from the code, between `<!-- NAME -->` and `<!-- /NAME -->`.

A test compares them, so what is documented is what there is; `make docs` writes them anew.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import click

from engine import settings
from engine.cli import VERBS
from engine.settings import No, UsageError


def commands_table() -> str:
    """The verbs of the command line as a Markdown table."""
    rows = [f"| `stammgast {name}` | {verb.help} |" for name, verb in VERBS.items() if not verb.hidden]
    return "\n".join(["| Command | What it does |", "|---|---|", *rows])


def topics_table() -> str:
    """The topics as a Markdown table."""
    from engine.stream.topics import markdown_table

    return markdown_table()


BLOCKS: Mapping[str, Callable[[], str]] = {
    "settings": settings.markdown_table,
    "commands": commands_table,
    "topics": topics_table,
}


def refreshed(text: str) -> str:
    """The text with every block it has made anew; blocks it does not have are not added."""
    for name, make in BLOCKS.items():
        block = re.compile(rf"(<!-- {name} -->\n)[\s\S]*?(<!-- /{name} -->)")
        if block.search(text):
            made = make()
            text = block.sub(lambda found, made=made: f"{found[1]}{made}\n{found[2]}", text)  # type: ignore[misc]
    return text


@click.command()
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), default=Path("README.md"))
@click.option("--check", is_flag=True, help="Change nothing; end with 1 when something is stale.")
def docs(file: Path, *, check: bool) -> None:
    """Refresh the generated parts of FILE (README.md): settings, commands, topics."""
    try:
        before = file.read_text(encoding="utf-8")
        after = refreshed(before)
        if check and after != before:
            raise No(f"{file}: generated parts are stale; `make docs` refreshes them.")
        if not check:
            file.write_text(after, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}.") from error
