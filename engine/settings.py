"""Every setting, declared once: its flag, its environment variable, its default, its help and its row in README.md."""

import functools
import os
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import click

Kind = Literal["text", "integer", "number", "switch", "choice", "file", "folder", "secret"]
Command = TypeVar("Command", bound=Callable[..., Any])


class UsageError(click.ClickException):
    """Wrong usage: the message says what, where and how to mend it. Exit code 2."""

    exit_code = 2


class No(click.ClickException):
    """The command ran and its answer is no (a check failed, verify found something). Exit code 1."""

    exit_code = 1


def sentence(text: object) -> str:
    """The text, ended by a full stop unless it has an end already."""
    said = str(text).rstrip()
    return said if said.endswith((".", "?", "!")) else f"{said}."


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table; `low` and `high` bound numbers, `pattern` a text, which `example` shows."""

    name: str
    kind: Kind
    help: str
    default: str | int | float | bool | None = None
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    pattern: str = ""
    example: str = ""
    metavar: str | None = None

    @property
    def flag(self) -> str:
        """How it is written on the command line; empty for a secret, which process lists would show."""
        return "" if self.kind == "secret" else "--" + self.name.replace("_", "-")

    @property
    def env(self) -> str:
        """Its environment variable."""
        return f"STAMMGAST_{self.name.upper()}"


SETTINGS: tuple[Setting, ...] = (
    Setting(
        "bootstrap",
        "text",
        "Kafka to talk to.",
        metavar="HOST:PORT[,...]",
        pattern=r"[^\s,:]+:\d{1,5}(,[^\s,:]+:\d{1,5})*",
        example="localhost:9092",
    ),
    Setting("programme", "folder", "Folder with the versions of the reward programme, one YAML file each."),
    Setting("db", "file", "The DuckDB file with the tables."),
    Setting(
        "app",
        "text",
        "Name of this deployment: consumer groups and transactional ids begin with it.",
        "stammgast",
        pattern=r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}",
        example="stammgast",
    ),
    Setting(
        "topic_prefix",
        "text",
        "Put before every topic name, so that two deployments can share one Kafka.",
        "",
        pattern=r"[A-Za-z0-9._-]{0,100}",
        example="test-",
    ),
    Setting(
        "inbound",
        "text",
        "Inbound topics and what each may carry: TOPIC=TYPE|TYPE[@SOURCE|SOURCE], several apart by blanks; "
        "`*` is every type that is neither staff's nor the engine's nor a profile, `staff` the staff types, a SOURCE may end "
        "in `*`.",
        "shop-events=* pos-events=* app-events=* staff-events=staff profile-events=profile",
    ),
    Setting(
        "partitions", "integer", "Partitions of topics that are created; never changed later.", 12, low=1, high=10_000
    ),
    Setting("replication_factor", "integer", "Copies of topics that are created; 3 in production.", 1, low=1, high=32),
    Setting(
        "clock",
        "choice",
        "Who moves time on for silent members: `wall` ticks at the programme's midnight and when a wait of a moment "
        "is over, `log` never passes the newest fact (history, tests), `off` waits for `stammgast tick`.",
        "wall",
        choices=("wall", "log", "off"),
    ),
    Setting("max_clock_skew", "number", "Seconds an event may lie in the future before it is rejected.", 300.0, low=0),
    Setting(
        "max_event_bytes", "integer", "Largest event that intake takes, in bytes.", 900_000, low=1_000, high=10_000_000
    ),
    Setting(
        "profile_key_file",
        "file",
        "File with the master key that opens the key store; `stammgast keys new` makes one. Without it profiles are refused.",
    ),
    Setting(
        "profile_keys",
        "file",
        "The key store: a small database file with a key per member who has a profile; made where there is none.",
    ),
    Setting("rejects_days", "integer", "Days for which rejected records are kept.", 30, low=1),
    Setting(
        "checkpoint_decisions",
        "integer",
        "Decisions of a partition after which a worker begins to write the next checkpoint: fewer make starts quicker and "
        "write more snapshots.",
        100_000,
        low=1,
    ),
    Setting(
        "instance_id",
        "text",
        "Name of this worker in its consumer group, one of its own for each and the same after a restart (a pod's name): "
        "whoever is back within --session-seconds has its partitions again, and no other worker pauses. Without it every "
        "stop and start moves partitions.",
        pattern=r"[A-Za-z0-9._-]{1,100}",
        example="worker-0",
    ),
    Setting(
        "session_seconds",
        "number",
        "A worker that is silent for so long has lost its partitions to the others; 10 when not given. More gives a restart with "
        "--instance-id more time; after a death its partitions stand still that long.",
        low=1,
        high=300,
    ),
    Setting("shutdown_seconds", "number", "Seconds a stopping process may take before it is cut off.", 15.0, low=1),
    Setting(
        "live_members",
        "integer",
        "Members of a partition that are kept as objects; the others are kept packed, in a fifth of the memory.",
        5_000,
        low=2,
    ),
    Setting("datadir", "folder", "Where a worker keeps its working files; a fresh temporary folder when not given."),
    Setting(
        "churn_horizon_days", "integer", "Days within which a member is expected to buy again.", 90, low=1, high=3_650
    ),
    Setting(
        "score_every_days",
        "integer",
        "Every so many days members are scored by the models (customer_values, model_fits), from what is known then; 0: never.",
        7,
        low=0,
        high=366,
    ),
    Setting(
        "segments_every_days",
        "integer",
        "Every so many days the projector tells the engine who entered and left a segment (`stammgast segments`); 0: never.",
        0,
        low=0,
        high=366,
    ),
    Setting("churn_threshold", "number", "Flag a member whose chance to stay away passes this.", 0.5, low=0, high=1),
    Setting(
        "lake",
        "text",
        "A DuckLake instead of a file: its catalogue, `postgres:dbname=... host=...` (the password in a PGPASSFILE), or a file "
        "for one machine.",
        metavar="CATALOGUE",
    ),
    Setting(
        "lake_data",
        "text",
        "Folder of the lake's Parquet files, which readers must reach under the same name, or s3://BUCKET/FOLDER with --lake-s3.",
        metavar="PLACE",
    ),
    Setting(
        "lake_s3",
        "file",
        "File with the keys of the object storage in which the lake's Parquet files are (docs/lake.md).",
    ),
    Setting(
        "lake_seconds",
        "number",
        "How old a record may grow before the lake has it: more makes fewer and larger files.",
        10.0,
        low=0.1,
        high=60,
    ),
    Setting(
        "memory_limit",
        "text",
        "Memory that DuckDB may use.",
        "2GB",
        pattern=r"\d+(\.\d+)? ?([KMGT]i?B)",
        example="2GB",
        metavar="SIZE",
    ),
    Setting(
        "console_port", "integer", "Port of the console; 0 takes a free one and says which.", 8380, low=0, high=65_535
    ),
    Setting(
        "readers",
        "file",
        "File with the named readers and the hashes of their tokens; `stammgast readers add` makes it.",
    ),
    Setting(
        "readers_port", "integer", "Port that named readers attach to; 0 takes a free one.", 8390, low=0, high=65_535
    ),
    Setting("audit_log", "file", "File that gets a line for every question of a named reader; FILE.questions.jsonl."),
    Setting(
        "audit_statements",
        "choice",
        "How a question stands in the audit log: as `text`, or as its SHA-256 alone.",
        "text",
        choices=("text", "hash"),
    ),
    Setting("query_seconds", "number", "Seconds that a reader's question may take before it is ended.", 15.0, low=0.1),
    Setting(
        "refresh_seconds",
        "number",
        "How often readers with a copy of their own look whether the file has changed, in seconds.",
        5.0,
        low=0.1,
    ),
    Setting("metrics_host", "text", "Address of /metrics, /healthz and /readyz.", "127.0.0.1"),
    Setting(
        "metrics_port",
        "integer",
        "Port of /metrics, /healthz and /readyz; 0 takes a free one and says which.",
        0,
        low=0,
        high=65_535,
    ),
    Setting(
        "log_format",
        "choice",
        "`auto` is console on a terminal and JSON lines elsewhere.",
        "auto",
        choices=("auto", "console", "json"),
    ),
    Setting("log_level", "choice", "The least that is logged.", "info", choices=("debug", "info", "warning", "error")),
    Setting(
        "security_protocol",
        "choice",
        "How to talk to Kafka.",
        "PLAINTEXT",
        choices=("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"),
    ),
    Setting("sasl_mechanism", "choice", "How to log in to Kafka.", choices=("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")),
    Setting("sasl_username", "text", "Who logs in to Kafka."),
    Setting("sasl_password", "secret", "The password for Kafka; better in a file, see below."),
    Setting("sasl_password_file", "file", "File with the password for Kafka, one line."),
    Setting("ssl_cafile", "file", "Certificates that Kafka's own must descend from; the system's when not given."),
    Setting("ssl_certfile", "file", "This client's certificate, when Kafka asks for one."),
    Setting("ssl_keyfile", "file", "The key of this client's certificate."),
    Setting("allow_plaintext_credentials", "switch", "Send a PLAIN password unencrypted all the same.", False),
)
TABLE: Mapping[str, Setting] = {setting.name: setting for setting in SETTINGS}


class Secret:
    """A text that shows itself only when asked: no repr, no str, no log line, no traceback holds it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"


class _Matching(click.ParamType):
    """A text of a given shape."""

    name = "text"

    def __init__(self, setting: Setting) -> None:
        self._setting = setting

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The text unchanged, or click's usage error with an example of a right one."""
        if not re.fullmatch(self._setting.pattern, str(value)):
            self.fail(f"{value!r} does not read like {self._setting.example!r}.", param, ctx)
        return str(value)


def _click_type(setting: Setting) -> Any:
    """The click type that holds a setting's value."""
    match setting.kind:
        case "text":
            return _Matching(setting) if setting.pattern else click.STRING
        case "integer":
            return click.IntRange(_whole(setting.low), _whole(setting.high))
        case "number":
            return click.FloatRange(setting.low, setting.high)
        case "choice":
            return click.Choice(setting.choices, case_sensitive=False)
        case "file":
            return click.Path(dir_okay=False, path_type=Path)
        case "folder":
            return click.Path(file_okay=False, path_type=Path)
        case "switch":
            return click.BOOL
        case "secret":
            raise ValueError(f"{setting.name} is a secret: it comes from {setting.env} or a file, never from a flag")


def _whole(bound: float | None) -> int | None:
    return None if bound is None else int(bound)


def option(name: str, **overrides: Any) -> Callable[[Command], Command]:
    """A click option for the setting `name`; `overrides` (required, default, help ...) win over the table.

    Errors: KeyError for a setting that is not in the table, ValueError for a secret.
    """
    setting = TABLE[name]
    about: dict[str, Any] = {
        "type": _click_type(setting),
        "envvar": setting.env,
        "show_envvar": True,
        "help": setting.help,
    }
    if setting.default is not None:
        about |= {"default": setting.default, "show_default": setting.default != ""}
    if setting.metavar:
        about["metavar"] = setting.metavar
    if overrides.get("required"):
        about.pop("default", None)
    about |= overrides
    flag = f"{setting.flag}/--no-{setting.flag[2:]}" if setting.kind == "switch" else setting.flag
    return click.option(flag, name, **about)


def options(*names: str) -> Callable[[Command], Command]:
    """Several settings at once, in the order in which --help shall list them."""

    def add(command: Command) -> Command:
        for name in reversed(names):
            command = option(name)(command)
        return command

    return add


def telemetry_options(command: Command) -> Command:
    """The settings that `engine.telemetry` wants: log_format, log_level, metrics_host, metrics_port."""
    return options("log_format", "log_level", "metrics_host", "metrics_port")(command)


def as_environment(values: Mapping[str, object]) -> dict[str, str]:
    """Settings as environment variables, to hand them to a child process; those that are None are left out.

    Errors: KeyError for a setting that is not in the table.
    """
    return {TABLE[name].env: _as_text(value) for name, value in values.items() if value is not None}


def _as_text(value: object) -> str:
    match value:
        case bool():
            return "1" if value else "0"
        case Secret():
            return value.reveal()
        case _:
            return str(value)


@dataclass(frozen=True, slots=True)
class KafkaSecurity:
    """How every client reaches Kafka: encryption and login; `kafka_security_options` builds it from flags."""

    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str | None = None
    sasl_username: str | None = None
    sasl_password: Secret | None = field(default=None, repr=False)
    ssl_cafile: Path | None = None
    ssl_certfile: Path | None = None
    ssl_keyfile: Path | None = None
    allow_plaintext_credentials: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot work or would give the password away. Errors: UsageError."""
        self._check_login()
        self._check_certificates()

    @property
    def encrypted(self) -> bool:
        """Is the connection encrypted?"""
        return self.security_protocol in {"SSL", "SASL_SSL"}

    @property
    def logs_in(self) -> bool:
        """Does the client show a name and a password?"""
        return self.security_protocol.startswith("SASL_")

    def _check_login(self) -> None:
        parts = {
            "--sasl-mechanism": self.sasl_mechanism,
            "--sasl-username": self.sasl_username,
            "--sasl-password-file (or STAMMGAST_SASL_PASSWORD)": self.sasl_password,
        }
        missing = [flag for flag, value in parts.items() if not value]
        if self.logs_in and missing:
            raise UsageError(f"--security-protocol {self.security_protocol} also needs {', '.join(missing)}.")
        if not self.logs_in and len(missing) < len(parts):
            raise UsageError(
                f"a login for Kafka is given, but --security-protocol {self.security_protocol} has none: "
                "say SASL_SSL (or SASL_PLAINTEXT)."
            )
        readable = self.security_protocol == "SASL_PLAINTEXT" and self.sasl_mechanism == "PLAIN"
        if readable and not self.allow_plaintext_credentials:
            raise UsageError(
                "PLAIN over SASL_PLAINTEXT sends the password readable for everybody on the way: use SASL_SSL or a "
                "SCRAM mechanism, or accept it with --allow-plaintext-credentials."
            )

    def _check_certificates(self) -> None:
        given = [path for path in (self.ssl_cafile, self.ssl_certfile, self.ssl_keyfile) if path is not None]
        if given and not self.encrypted:
            raise UsageError(
                f"certificates are given, but --security-protocol {self.security_protocol} is not encrypted: "
                "say SSL or SASL_SSL."
            )
        if self.ssl_keyfile and not self.ssl_certfile:
            raise UsageError("--ssl-keyfile needs --ssl-certfile.")
        for path in given:
            if not path.is_file():
                raise UsageError(
                    f"{path}: there is no such file; check --ssl-cafile, --ssl-certfile and --ssl-keyfile."
                )

    def ssl_context(self) -> ssl.SSLContext | None:
        """The TLS context for a client, None when nothing is encrypted. Errors: UsageError for unusable files."""
        if not self.encrypted:
            return None
        try:
            context = ssl.create_default_context(cafile=self.ssl_cafile)
            if self.ssl_certfile:
                context.load_cert_chain(self.ssl_certfile, self.ssl_keyfile)
        except OSError as error:  # ssl.SSLError is one
            raise UsageError(f"the TLS files cannot be used: {error}") from error
        return context

    def client_options(self) -> dict[str, Any]:
        """Keyword arguments for any aiokafka client (consumer, producer, admin); the password is revealed in them."""
        settings: dict[str, Any] = {"security_protocol": self.security_protocol}
        if self.encrypted:
            settings["ssl_context"] = self.ssl_context()
        if self.logs_in and self.sasl_password:
            settings["sasl_mechanism"] = self.sasl_mechanism
            settings["sasl_plain_username"] = self.sasl_username
            settings["sasl_plain_password"] = self.sasl_password.reveal()
        return settings

    def environment(self) -> dict[str, str]:
        """The same as environment variables, for a child process."""
        return as_environment({name: getattr(self, name) for name in self.__slots__})


_SECURITY = (
    "security_protocol",
    "sasl_mechanism",
    "sasl_username",
    "sasl_password_file",
    "ssl_cafile",
    "ssl_certfile",
    "ssl_keyfile",
    "allow_plaintext_credentials",
)


def kafka_security_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the settings for secure Kafka; it receives them as one argument, `security: KafkaSecurity`."""

    @functools.wraps(command)
    def with_security(**given: Any) -> Any:
        chosen = {name: given.pop(name) for name in _SECURITY}
        password = read_password(chosen.pop("sasl_password_file"))
        return command(security=KafkaSecurity(**chosen, sasl_password=password), **given)

    return options(*_SECURITY)(with_security)


def read_password(path: Path | None) -> Secret | None:
    """The password for Kafka out of a file (its first line), else out of the environment, else None.

    Errors: UsageError when the file cannot be read or is empty.
    """
    if path is None:
        from_environment = os.environ.get(TABLE["sasl_password"].env)
        return Secret(from_environment) if from_environment else None
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise UsageError(f"--sasl-password-file {path}: {reason}.") from error
    if not lines or not lines[0]:
        raise UsageError(f"--sasl-password-file {path}: its first line is empty.")
    return Secret(lines[0])


def markdown_table() -> str:
    """The settings as a Markdown table, the one in README.md (`make docs` puts it there)."""
    rows = ["| Option | Environment | Default | Meaning |", "|---|---|---|---|"]
    for setting in SETTINGS:
        flag = f"`{setting.flag}`" if setting.flag else "(environment only)"
        meaning = setting.help.replace("|", "\\|")
        rows.append(f"| {flag} | `{setting.env}` | {_default_text(setting)} | {meaning} |")
    return "\n".join(rows)


def _default_text(setting: Setting) -> str:
    match setting.default:
        case None | "":
            return ""
        case bool():
            return "`on`" if setting.default else "`off`"
        case value:
            return f"`{value}`".replace("|", "\\|")
