"""Settings: one table feeds flags, environment, help and README; secrets stay secret; insecure logins are refused."""

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from engine import settings
from engine.settings import KafkaSecurity, No, Secret, UsageError


def run(
    *names: str, args: tuple[str, ...] = (), env: dict[str, str] | None = None, **overrides: Any
) -> tuple[Result, dict[str, Any]]:
    """Run a command made of the named settings; returns click's result and what the command received."""
    seen: dict[str, Any] = {}

    def body(**values: Any) -> None:
        seen.update(values)

    for name in names:
        body = settings.option(name, **overrides)(body)
    return CliRunner().invoke(click.command()(body), list(args), env=env), seen


def run_secure(*args: str, env: dict[str, str] | None = None) -> tuple[Result, list[KafkaSecurity]]:
    """Run a command that takes the security bundle."""
    seen: list[KafkaSecurity] = []

    @click.command()
    @settings.kafka_security_options
    def command(security: KafkaSecurity) -> None:
        seen.append(security)

    return CliRunner().invoke(command, list(args), env=env), seen


@pytest.mark.parametrize("setting", [s for s in settings.SETTINGS if s.kind != "secret"], ids=lambda s: str(s.name))
def test_every_setting_stands_in_help_with_flag_environment_and_default(setting: settings.Setting) -> None:
    """--help of a command shows a setting's flag, its variable and its default, and the command runs without it."""
    # when
    shown, _ = run(setting.name, args=("--help",))
    ran, seen = run(setting.name)

    # then
    text = " ".join(shown.output.split())
    assert setting.flag in text
    assert setting.env in "".join(shown.output.split())
    assert ran.exit_code == 0, ran.output
    assert seen[setting.name] == setting.default


def test_the_flag_wins_over_the_environment_and_the_environment_over_the_default() -> None:
    """Flag, then STAMMGAST_<NAME>, then the table's default."""
    # given
    env = {"STAMMGAST_PARTITIONS": "4"}

    # then
    assert run("partitions")[1] == {"partitions": 12}
    assert run("partitions", env=env)[1] == {"partitions": 4}
    assert run("partitions", env=env, args=("--partitions", "3"))[1] == {"partitions": 3}


def test_a_required_setting_that_is_missing_is_wrong_usage() -> None:
    """`required=True` drops the default: without a value the command ends with exit code 2 and names the flag."""
    # when
    result, _ = run("partitions", required=True)

    # then
    assert result.exit_code == 2
    assert "--partitions" in result.output


def test_a_switch_can_be_turned_on_by_flag_or_environment_and_off_again() -> None:
    """Booleans are --x/--no-x, and 1, true or yes in the environment."""
    # given
    name = "allow_plaintext_credentials"
    env = {"STAMMGAST_ALLOW_PLAINTEXT_CREDENTIALS": "1"}

    # then
    assert run(name)[1] == {name: False}
    assert run(name, args=("--allow-plaintext-credentials",))[1] == {name: True}
    assert run(name, env=env)[1] == {name: True}
    assert run(name, env=env, args=("--no-allow-plaintext-credentials",))[1] == {name: False}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("bootstrap", "localhost"),
        ("bootstrap", "a:9092, b:9092"),
        ("partitions", "0"),
        ("metrics_port", "70000"),
        ("churn_threshold", "1.5"),
        ("clock", "sundial"),
        ("memory_limit", "lots"),
        ("app", "two words"),
    ],
)
def test_a_wrong_value_is_wrong_usage_and_names_the_flag(name: str, value: str) -> None:
    """A value of the wrong shape ends with exit code 2; the message names the option."""
    # when
    result, _ = run(name, args=(settings.TABLE[name].flag, value))

    # then
    assert result.exit_code == 2
    assert settings.TABLE[name].flag in result.output


def test_files_and_folders_arrive_as_paths() -> None:
    """`--db` and `--programme` give a Path."""
    assert run("db", args=("--db", "a.duckdb"))[1] == {"db": Path("a.duckdb")}
    assert run("programme", args=("--programme", "x"))[1] == {"programme": Path("x")}


@pytest.mark.parametrize(("error", "code"), [(UsageError, 2), (No, 1)])
def test_errors_for_users_have_their_exit_codes(error: type[click.ClickException], code: int) -> None:
    """UsageError ends with 2, No with 1; both print their message and no traceback."""

    # given
    @click.command()
    def fails() -> None:
        raise error("the shop is closed")

    # when
    result = CliRunner().invoke(fails)

    # then
    assert result.exit_code == code
    assert result.output == "Error: the shop is closed\n"


def test_a_secret_never_shows_itself() -> None:
    """Neither repr nor str nor the bundle that holds a password prints it; reveal does."""
    # given
    secret = Secret("open sesame")
    security = KafkaSecurity("SASL_SSL", "PLAIN", "ali", secret)

    # then
    assert "sesame" not in f"{secret!r} {secret} {security!r} {[secret]}"
    assert secret.reveal() == "open sesame"


def test_a_secret_has_no_flag() -> None:
    """A password on a command line would stand in the process list."""
    with pytest.raises(ValueError, match="never from a flag"):
        settings.option("sasl_password")


def test_the_password_comes_from_a_file_or_the_environment(tmp_path: Path) -> None:
    """The file's first line wins over the variable; both reach the client's options."""
    # given
    file = tmp_path / "password"
    file.write_text("from file\n")
    login = ("--security-protocol", "SASL_SSL", "--sasl-mechanism", "SCRAM-SHA-512", "--sasl-username", "ali")
    env = {"STAMMGAST_SASL_PASSWORD": "from environment"}

    # when
    by_file, with_file = run_secure(*login, "--sasl-password-file", str(file), env=env)
    by_env, with_env = run_secure(*login, env=env)

    # then
    assert by_file.exit_code == 0, by_file.output
    assert by_env.exit_code == 0, by_env.output
    assert with_file[0].client_options()["sasl_plain_password"] == "from file"
    assert with_env[0].client_options()["sasl_plain_password"] == "from environment"
    assert with_env[0].client_options()["ssl_context"] is not None


@pytest.mark.parametrize("content", [None, "", "\n", b"\xff\xfe\x00"])
def test_an_unusable_password_file_is_wrong_usage(tmp_path: Path, content: str | bytes | None) -> None:
    """Missing, empty or binary: exit code 2 and the file's name."""
    # given
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())

    # when
    result, _ = run_secure("--sasl-password-file", str(file))

    # then
    assert result.exit_code == 2
    assert "--sasl-password-file" in result.output


LOGIN = ("--sasl-mechanism", "PLAIN", "--sasl-username", "ali")


def test_a_readable_password_on_the_wire_is_refused_unless_said() -> None:
    """PLAIN over SASL_PLAINTEXT needs --allow-plaintext-credentials; SCRAM does not."""
    # given
    env = {"STAMMGAST_SASL_PASSWORD": "x"}
    scram = ("--security-protocol", "SASL_PLAINTEXT", "--sasl-mechanism", "SCRAM-SHA-256", "--sasl-username", "ali")

    # when
    refused, _ = run_secure("--security-protocol", "SASL_PLAINTEXT", *LOGIN, env=env)
    accepted, _ = run_secure("--security-protocol", "SASL_PLAINTEXT", *LOGIN, "--allow-plaintext-credentials", env=env)
    scrambled, _ = run_secure(*scram, env=env)

    # then
    assert refused.exit_code == 2
    assert "--allow-plaintext-credentials" in refused.output
    assert (accepted.exit_code, scrambled.exit_code) == (0, 0)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (LOGIN, "SASL_SSL"),
        (("--security-protocol", "SASL_SSL"), "--sasl-mechanism"),
        (("--security-protocol", "SASL_SSL", *LOGIN), "STAMMGAST_SASL_PASSWORD"),
        (("--ssl-cafile", "ca.pem"), "not encrypted"),
        (("--security-protocol", "SSL", "--ssl-cafile", "nowhere.pem"), "nowhere.pem"),
        (("--security-protocol", "SSL", "--ssl-keyfile", "key.pem"), "--ssl-certfile"),
    ],
)
def test_half_a_security_setting_is_wrong_usage(args: tuple[str, ...], says: str) -> None:
    """A login without SASL, SASL without a login, certificates without TLS: refused, with what is missing."""
    # when
    result, _ = run_secure(*args)

    # then
    assert result.exit_code == 2
    assert says in result.output


def test_certificates_that_are_none_are_wrong_usage(tmp_path: Path) -> None:
    """A file that holds no certificate is named when the context is made."""
    # given
    file = tmp_path / "ca.pem"
    file.write_text("no certificate")

    # then
    with pytest.raises(UsageError, match="TLS files"):
        KafkaSecurity("SSL", ssl_cafile=file).ssl_context()


def test_without_security_a_client_is_told_so() -> None:
    """The default is an unencrypted connection without a login."""
    assert KafkaSecurity().client_options() == {"security_protocol": "PLAINTEXT"}


def test_settings_travel_to_a_child_process_as_environment() -> None:
    """as_environment and KafkaSecurity.environment give what a child reads back to the same values."""
    # given
    security = KafkaSecurity("SASL_PLAINTEXT", "PLAIN", "ali", Secret("x"), allow_plaintext_credentials=True)

    # when
    env = settings.as_environment({"partitions": 3, "db": Path("a.duckdb"), "bootstrap": None}) | security.environment()
    _, seen = run("partitions", "db", env=env)
    _, secure = run_secure(env=env)

    # then
    assert seen == {"partitions": 3, "db": Path("a.duckdb")}
    assert secure[0].client_options() == security.client_options()


def test_the_table_has_a_row_for_every_setting() -> None:
    """The Markdown table names each flag and variable once, in five columns."""
    # when
    rows = settings.markdown_table().splitlines()[2:]

    # then
    assert len(rows) == len(settings.SETTINGS)
    for row, setting in zip(rows, settings.SETTINGS, strict=True):
        assert f"`{setting.env}`" in row
        assert row.replace("\\|", "").count("|") == 5
