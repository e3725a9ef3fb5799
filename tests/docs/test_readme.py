"""README.md says what the code does: generated tables are fresh, commands and files it names exist."""

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from engine.cli import VERBS, main
from engine.commands.docs import BLOCKS, refreshed

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"


def block(text: str, name: str) -> str | None:
    """What stands between the marks of a generated block, None without them."""
    found = re.search(rf"<!-- {name} -->\n([\s\S]*?)\n?<!-- /{name} -->", text)
    return found[1] if found else None


def code_lines(text: str) -> list[str]:
    """The lines of all fenced code."""
    return [line.strip() for fence in re.findall(r"```\w*\n([\s\S]*?)```", text) for line in fence.splitlines()]


@pytest.mark.parametrize("name", ["settings", "commands"])
def test_generated_parts_are_there_and_fresh(name: str) -> None:
    """The tables of settings and of commands in README.md are the ones the code makes (`make docs`)."""
    # when
    written = block(README.read_text(encoding="utf-8"), name)

    # then
    assert written is not None, f"README.md has no <!-- {name} --> ... <!-- /{name} -->"
    assert written == BLOCKS[name](), "stale: run `make docs`"


def test_the_readme_as_a_whole_is_fresh() -> None:
    """Refreshing README.md changes nothing."""
    # given
    text = README.read_text(encoding="utf-8")

    # then
    assert refreshed(text) == text, "stale: run `make docs`"


def test_every_command_in_the_readme_exists() -> None:
    """Each `stammgast VERB` and `make TARGET` of README.md's code is a verb or a target."""
    # given
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))

    # when
    lines = code_lines(README.read_text(encoding="utf-8"))
    verbs = {found[1] for line in lines if (found := re.search(r"\bstammgast ([a-z]+)\b", line))}
    made = {found[1] for line in lines if (found := re.match(r"(?:\$ )?make ([a-z-]+)", line))}

    # then
    assert verbs <= set(VERBS), verbs - set(VERBS)
    assert made <= targets, made - targets


def test_every_option_in_the_readme_exists() -> None:
    """Each `--option` behind a `stammgast VERB` of README.md's code stands in that verb's help."""
    # given
    lines = [line.removeprefix("$ ") for line in code_lines(README.read_text(encoding="utf-8"))]
    wrong = []

    # when
    for line in lines:
        words = shlex.split(line, comments=True) if re.match(r"(\.venv/bin/)?stammgast [a-z]", line) else []
        if not words or words[1] not in VERBS:
            continue
        path = words[1:3] if words[2:3] and words[2].isalpha() else words[1:2]
        shown = CliRunner().invoke(main, [*path, "--help"])
        if shown.exit_code != 0:
            shown = CliRunner().invoke(main, [words[1], "--help"])
        flags = {word.split("=")[0] for word in words if word.startswith("--")}
        wrong += [f"{flag} in: {line}" for flag in flags if flag not in shown.output]

    # then
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("document", ["README.md", "CHANGELOG.md", "SECURITY.md"])
def test_links_to_files_lead_somewhere(document: str) -> None:
    """A relative link names a file of the repository."""
    # given
    text = (ROOT / document).read_text(encoding="utf-8")

    # when
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    missing = [link for link in links if link and not (ROOT / link).exists()]

    # then
    assert missing == []


def test_a_stale_block_is_found_and_mended(tmp_path: Path) -> None:
    """`stammgast docs --check` ends with 1 on a stale file; without --check it is made fresh, the rest untouched."""
    # given
    file = tmp_path / "README.md"
    file.write_text("# Title\n<!-- settings -->\nold\n<!-- /settings -->\nend\n")

    # when
    stale = CliRunner().invoke(main, ["docs", str(file), "--check"])
    written = CliRunner().invoke(main, ["docs", str(file)])
    fresh = CliRunner().invoke(main, ["docs", str(file), "--check"])

    # then
    assert (stale.exit_code, written.exit_code, fresh.exit_code) == (1, 0, 0)
    text = file.read_text()
    assert text.startswith("# Title\n<!-- settings -->\n| Option |")
    assert text.endswith("<!-- /settings -->\nend\n")


def test_a_document_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    """Exit code 2 and the file's name."""
    # when
    result = CliRunner().invoke(main, ["docs", str(tmp_path / "none.md")])

    # then
    assert result.exit_code == 2
    assert "none.md" in result.output
