"""The command `stammgast`: quick help, a version, good answers to typing mistakes, no traceback for users."""

import contextlib
import importlib.metadata
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from engine import cli
from engine.cli import VERBS, Verb, load, main
from engine.settings import SETTINGS, UsageError


def test_help_lists_every_verb_with_its_line() -> None:
    """`stammgast --help` names all verbs that are not hidden."""
    # when
    result = CliRunner().invoke(main, ["--help"])

    # then
    assert result.exit_code == 0
    text = " ".join(result.output.split())
    for name, verb in VERBS.items():
        assert (f" {name} {verb.help}" in text) is not verb.hidden, name


def test_help_loads_neither_faust_nor_duckdb() -> None:
    """Help is quick because no verb is imported for it."""
    # given
    program = (
        "import sys\nfrom engine.cli import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "heavy = {'faust', 'duckdb', 'aiokafka', 'pyarrow', 'pydantic'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)\n"
    )

    # when
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    # then
    assert ran.returncode == 0, ran.stderr


def test_the_version_is_the_installed_one() -> None:
    """`stammgast --version` says the distribution's version."""
    # when
    result = CliRunner().invoke(main, ["--version"])

    # then
    assert importlib.metadata.version("stammgast") in result.output


@pytest.mark.parametrize(("typed", "near"), [("replya", "stammgast replay"), ("quer", "stammgast query")])
def test_an_unknown_verb_is_answered_with_the_nearest_one(typed: str, near: str) -> None:
    """A typing mistake ends with exit code 2 and a proposal."""
    # when
    result = CliRunner().invoke(main, [typed])

    # then
    assert result.exit_code == 2
    assert near in result.output


def test_a_verb_unlike_any_other_points_to_help() -> None:
    """Where nothing is near, the answer is where the list stands."""
    # when
    result = CliRunner().invoke(main, ["xyzzy"])

    # then
    assert result.exit_code == 2
    assert "stammgast --help" in result.output


def test_a_verb_whose_module_is_missing_is_wrong_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation without a verb's module says so; an import error inside the module is not hidden."""
    # given
    monkeypatch.setitem(cli.VERBS, "gone", Verb("engine.commands.gone:gone", "Is not there."))

    # when
    result = CliRunner().invoke(main, ["gone"])

    # then
    assert result.exit_code == 2
    assert "engine.commands.gone" in result.output


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_loads_and_explains_itself(name: str) -> None:
    """`stammgast VERB --help` works for each verb of the table."""
    # when
    result = CliRunner().invoke(main, [name, "--help"])

    # then
    assert result.exit_code == 0, result.output
    assert "Usage:" in result.output


def options_of(command: click.Command) -> Iterator[click.Option]:
    """All options of a command and of those below it."""
    yield from (param for param in command.params if isinstance(param, click.Option))
    if isinstance(command, click.Group):
        for below in command.commands.values():
            yield from options_of(below)


def options_of_verbs() -> Iterator[tuple[str, click.Option]]:
    """(verb, option) of every verb that this installation has."""
    for name, verb in VERBS.items():
        with contextlib.suppress(UsageError):
            yield from ((name, option) for option in options_of(load(name, verb)))


def test_every_setting_is_taken_by_some_verb() -> None:
    """The table of settings promises nothing that no command listens to."""
    # given
    promised = {setting.flag for setting in SETTINGS if setting.kind != "secret"}

    # when
    taken = {flag for _, option in options_of_verbs() for flag in option.opts}

    # then
    assert promised - taken == set()


def test_an_option_named_like_a_setting_is_that_setting() -> None:
    """No verb makes an option of its own that shares a setting's flag but not its environment variable."""
    # given
    variables = {setting.flag: setting.env for setting in SETTINGS if setting.kind != "secret"}

    # when
    found = [(name, flag, option.envvar) for name, option in options_of_verbs() for flag in option.opts]
    wrong = [f"{name} {flag}" for name, flag, variable in found if variables.get(flag, variable) != variable]

    # then
    assert wrong == []


def test_schemas_export_writes_a_schema_per_event(tmp_path: Path) -> None:
    """`stammgast schemas export DIR` makes DIR, writes JSON files there and prints their names."""
    # given
    directory = tmp_path / "made" / "here"

    # when
    result = CliRunner().invoke(main, ["schemas", "export", str(directory)])

    # then
    assert result.exit_code == 0, result.output
    written = sorted(str(path) for path in directory.rglob("*.json"))
    assert written
    assert sorted(result.output.split()) == written
    assert any("purchase" in path for path in written)


def test_schemas_export_into_a_place_that_cannot_be_is_wrong_usage(tmp_path: Path) -> None:
    """A file where a folder should be: exit code 2, no traceback."""
    # given
    file = tmp_path / "file"
    file.write_text("x")

    # when
    result = CliRunner().invoke(main, ["schemas", "export", str(file / "below")])

    # then
    assert result.exit_code == 2
    assert "Error:" in result.output
