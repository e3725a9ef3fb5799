"""`stammgast up`: broker, worker and projector in one process tree."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from engine.commands.programmes import load_programmes
from engine.commands.readers import SERVED_WITH
from engine.processes import command_name, ends_with_parent
from engine.settings import (
    KafkaSecurity,
    No,
    UsageError,
    as_environment,
    kafka_security_options,
    option,
    options,
)

#: A child that died is started again after this long, twice as long each time, at most so long.
BACKOFF_SECONDS, BACKOFF_MOST_SECONDS = 1.0, 30.0
#: A child that ran for so long has recovered: the next death waits the short time again.
HEALTHY_SECONDS = 60.0
LOOK_SECONDS = 0.2
#: More than the shutdown of the child itself; then it is killed.
STOP_GRACE_SECONDS = 5.0
_START = "from engine.cli import main; main()"
#: What opens profiles: for whoever decides or quotes.
_KEYS = ("profile_key_file", "profile_keys")


class Child:
    """One `stammgast <verb>`, started again when it dies, but not when its usage is wrong or it never came up.

    `ready_url` is its /readyz; `came_up` says whether that ever said yes.
    """

    def __init__(self, verb: str, arguments: list[str], environment: Mapping[str, str], ready_url: str) -> None:
        self.verb = verb
        self.came_up = False
        self._ready_url = ready_url
        self._arguments = arguments
        self._environment = os.environ | environment
        self._process: subprocess.Popen[bytes] | None = None
        self._started = self._again_at = 0.0
        self._backoff = BACKOFF_SECONDS

    def start(self) -> None:
        """Start it, in a session of its own: Ctrl-C reaches `up` alone, which ends its children in order."""
        self._started = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START, self.verb, *self._arguments],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=ends_with_parent(),  # noqa: PLW1509  it loads and locks nothing
        )
        self._arguments = []  # --fresh is for the first start alone

    def look(self) -> None:
        """Start it again when it died and the time has come.

        Errors: UsageError when it refused to start; No when it never came up, or ended in order, which nobody asked for.
        """
        self.came_up = self.came_up or self._is_ready()
        now = time.monotonic()
        if self._process is None:
            if now >= self._again_at:
                self.start()
            return
        code = self._process.poll()
        if code is None:
            return
        if code == 2:
            raise UsageError(f"the {self.verb} refused to start; what it said stands above.")
        if code == 0:
            raise No(f"the {self.verb} was stopped by somebody else.")
        if not self.came_up:
            raise No(f"the {self.verb} could not start (exit code {code}); what it said stands above.")
        if now - self._started > HEALTHY_SECONDS:
            self._backoff = BACKOFF_SECONDS
        click.echo(f"the {self.verb} ended with code {code}; started again in {self._backoff:.0f} s", err=True)
        self._process, self._again_at = None, now + self._backoff
        self._backoff = min(2 * self._backoff, BACKOFF_MOST_SECONDS)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(self._ready_url, timeout=1) as answer:  # noqa: S310  our own child, on the loopback
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    def ask_to_stop(self) -> None:
        """Send SIGTERM; returns at once."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def await_end(self, seconds: float) -> None:
        """Wait for its end; kill it when it takes longer."""
        if self._process is None:
            return
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@click.command()
@option("bootstrap")
@option("programme")
@option("db", default=Path("stammgast.duckdb"), show_default=True)
@options("app", "topic_prefix", "inbound", "partitions", "replication_factor", "rejects_days", "clock")
@options("max_clock_skew", "max_event_bytes", "shutdown_seconds", "profile_key_file", "profile_keys")
@options("readers", "readers_port", "audit_log", "audit_statements", "query_seconds", "refresh_seconds")
@options("memory_limit", "churn_horizon_days", "churn_threshold", "score_every_days", "log_format", "log_level")
@click.option(
    "--http", type=click.IntRange(1, 65_535), metavar="PORT", help="Also start the gateway, on 127.0.0.1:PORT."
)
@click.option(
    "--keys", type=click.Path(dir_okay=False, path_type=Path), default=Path("gateway-keys.yaml"), show_default=True,
    help="Its API keys; `stammgast gateway key new` makes one.",
)  # fmt: skip
@click.option("--fresh", is_flag=True, help="Set an existing DuckDB file aside and build a new one from the logs.")
@kafka_security_options
def up(
    *,
    bootstrap: str | None,
    db: Path,
    fresh: bool,
    http: int | None,
    keys: Path,
    security: KafkaSecurity,
    **chosen: Any,
) -> None:
    """Broker (embedded unless --bootstrap), worker and projector in one go, until Ctrl-C.

    The embedded broker forgets everything when it stops; the DuckDB file then belongs to logs that are gone, and the next
    `up` wants --fresh. A role that dies is started again. Exit codes: 0 stopped when asked to, 1 a role was stopped from
    outside or could not start, mistakes in the programme, 2 wrong usage.
    """
    from engine.broker import BrokerUnavailable

    if chosen["programme"] is not None:
        load_programmes(chosen["programme"])  # its mistakes are told before anything is started
    if not db.absolute().parent.is_dir():
        raise UsageError(f"--db {db}: there is no folder {db.absolute().parent}; make it, or name another file.")
    if chosen["readers"] is not None:
        from engine.readers.book import read

        read(chosen["readers"])
    if http is not None and not keys.is_file():
        raise UsageError(
            f"--keys {keys}: there is no such file; make a key with `stammgast gateway key new ID --source S`."
        )
    stop = _stop_on_signals()
    seconds = float(chosen["shutdown_seconds"])
    try:
        with _broker(bootstrap) as server:
            children = _children(server, db, fresh, security, chosen)
            if http is not None:
                children.append(_gateway(server, http, keys, security, chosen))
            try:
                _watch(list(children), stop, server, db)
            finally:
                for child in children:
                    child.ask_to_stop()
                for child in children:
                    child.await_end(seconds + STOP_GRACE_SECONDS)
    except BrokerUnavailable as error:
        raise UsageError(str(error)) from error


def _stop_on_signals() -> threading.Event:
    stop = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.set())
    return stop


@contextlib.contextmanager
def _broker(bootstrap: str | None) -> Iterator[str]:
    """The Kafka that was named, or an embedded one."""
    from engine.broker import MEMORY_ONLY, EmbeddedBroker

    if bootstrap is not None:
        yield bootstrap
        return
    with EmbeddedBroker() as broker:
        click.echo(f"embedded broker at {broker.bootstrap}; {MEMORY_ONLY}", err=True)
        yield broker.bootstrap


def _children(server: str, db: Path, fresh: bool, security: KafkaSecurity, chosen: Mapping[str, Any]) -> list[Child]:
    """The roles, in the order in which they start."""
    from engine.broker import free_port

    tables = ("memory_limit", "churn_horizon_days", "churn_threshold", "score_every_days", *SERVED_WITH)
    shared = {"bootstrap": server, "metrics_host": "127.0.0.1"}
    children = []
    for verb, own, arguments in (
        ("worker", {name: value for name, value in chosen.items() if name not in tables}, []),
        (
            "projector",
            {name: chosen[name] for name in (*tables, "topic_prefix", "log_format", "log_level")} | {"db": db},
            ["--fresh"] if fresh else [],
        ),
    ):
        port = free_port()
        environment = as_environment({**own, **shared, "metrics_port": port}) | security.environment()
        children.append(Child(verb, arguments, environment, f"http://127.0.0.1:{port}/readyz"))
    return children


def _gateway(server: str, port: int, keys: Path, security: KafkaSecurity, chosen: Mapping[str, Any]) -> Child:
    """The role that speaks HTTP; its port and keys are no settings of others, so they stand in its environment alone."""
    from engine.broker import free_port

    names = ("topic_prefix", "inbound", "clock", "max_clock_skew", "max_event_bytes", "log_format", "log_level", *_KEYS)
    metrics_port = free_port()
    told = {name: chosen[name] for name in names} | {"bootstrap": server, "metrics_host": "127.0.0.1"}
    environment = as_environment(told | {"metrics_port": metrics_port}) | security.environment()
    environment |= {"STAMMGAST_HOST": "127.0.0.1", "STAMMGAST_PORT": str(port), "STAMMGAST_KEYS": str(keys)}
    return Child("gateway", [], environment, f"http://127.0.0.1:{metrics_port}/readyz")


def _watch(waiting: list[Child], stop: threading.Event, server: str, db: Path) -> None:
    """Start the children in order, each when the one before is ready, then keep them going until told to stop."""
    running: list[Child] = []
    invited = False
    while not stop.wait(LOOK_SECONDS):
        for child in running:
            child.look()
        if waiting and all(child.came_up for child in running):
            running.append(waiting.pop(0))
            running[-1].start()
        elif not invited and all(child.came_up for child in running):
            invited = True
            _invite(server, db)


def _invite(server: str, db: Path) -> None:
    click.echo(
        f"ready. Send events:  {command_name()} publish EVENTS.jsonl --bootstrap {server}\n"
        f'       Ask:          {command_name()} query --db {db} "from balances order by available desc limit 10"\n'
        "       Stop:         Ctrl-C",
        err=True,
    )
