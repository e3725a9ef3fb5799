"""`stammgast gateway`: events in by HTTP, answers for the till; and the keys that open it."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import click

from engine.settings import (
    KafkaSecurity,
    No,
    UsageError,
    kafka_security_options,
    option,
    options,
    sentence,
    telemetry_options,
)

KEYS_FILE = "gateway-keys.yaml"


@click.group(invoke_without_command=True)
@option("bootstrap")
@click.option(
    "--keys", type=click.Path(dir_okay=False, path_type=Path), default=KEYS_FILE, show_default=True,
    envvar="STAMMGAST_KEYS", show_envvar=True, help="File with the API keys' hashes and scopes.",
)  # fmt: skip
@click.option("--host", default="127.0.0.1", show_default=True, envvar="STAMMGAST_HOST", help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(1, 65_535), default=8080, show_default=True, envvar="STAMMGAST_PORT", help="Its port."
)
@click.option(
    "--decision-seconds", type=click.FloatRange(0.1, 30), default=5.0, show_default=True,
    help="How long a redemption waits for its decision.",
)  # fmt: skip
@click.option(
    "--tls-certfile", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Serve HTTPS with it."
)
@click.option("--tls-keyfile", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Its key.")
@options("profile_key_file", "profile_keys")
@options("topic_prefix", "inbound", "clock", "max_clock_skew", "max_event_bytes", "live_members")
@telemetry_options
@kafka_security_options
def gateway(*, bootstrap: str | None, security: KafkaSecurity, **chosen: Any) -> None:
    """Take events by HTTP and answer tills: points, quotes, redemptions. Until SIGTERM or Ctrl-C.

    POST /events is answered 202 once all copies of the log have the event. What it tells of members comes from the logs and
    says how fresh it is. /docs shows every address. Make a first key with `stammgast gateway key new`.
    """
    if click.get_current_context().invoked_subcommand is not None:
        return
    if bootstrap is None:
        raise UsageError("--bootstrap HOST:PORT is missing: which Kafka shall it write to?")
    _serve(bootstrap=bootstrap, security=security, **chosen)


def _serve(
    *, bootstrap: str, keys: Path, host: str, port: int, decision_seconds: float, tls_certfile: Path | None,
    tls_keyfile: Path | None, topic_prefix: str, inbound: str, clock: str, max_clock_skew: float, max_event_bytes: int,
    live_members: int, profile_key_file: Path | None, profile_keys: Path | None,
    log_format: Any, log_level: str, metrics_host: str, metrics_port: int, security: KafkaSecurity,
) -> None:  # fmt: skip
    from engine.gateway.keys import KeyFileBroken
    from engine.gateway.serving import GatewaySettings, serve
    from engine.stream.clients import Cluster, KafkaTrouble
    from engine.stream.topics import parse_inbound
    from engine.telemetry import METRICS, Health, TelemetryServer, set_up_logging
    from engine.vault.vault import vault_of

    if (tls_certfile is None) != (tls_keyfile is None):
        raise UsageError("--tls-certfile and --tls-keyfile go together.")
    try:
        carried = parse_inbound(inbound)
    except ValueError as error:
        raise UsageError(f"--inbound: {error}.") from error
    settings = GatewaySettings(
        Cluster(bootstrap, security), keys, host, port, topic_prefix, carried, clock, round(max_clock_skew * 1_000_000),
        max_event_bytes, live_members, decision_seconds, tls_certfile, tls_keyfile,
        vault_of(profile_key_file, profile_keys),
    )  # fmt: skip
    set_up_logging(log_format, log_level)
    health = Health()
    with TelemetryServer(metrics_host, metrics_port, METRICS, health):
        try:
            asyncio.run(serve(settings, METRICS, health))
        except (KeyFileBroken, KafkaTrouble) as error:
            raise UsageError(sentence(error)) from error
        except SystemExit as error:  # uvicorn leaves so when the address cannot be had, and has said it
            raise UsageError(f"{host}:{port} cannot be listened on: choose others with --host and --port.") from error


@gateway.group()
def key() -> None:
    """Make, change and list the keys that open the gateway."""


@key.command("new")
@click.argument("key_id", metavar="ID")
@click.option(
    "--source", "sources", multiple=True, metavar="SOURCE", help="What its events name as source; may end in *."
)
@click.option(
    "--type", "types", multiple=True, metavar="TYPE", help="What it may send: purchase, *, staff. Default: *."
)
@click.option("--may", multiple=True, metavar="RIGHT", help="publish, quote, redeem, read, rejects. Default: publish.")
@click.option("--topic", default="shop-events", show_default=True, help="Inbound topic, without --topic-prefix.")
@click.option("--events-per-second", type=click.FloatRange(0, min_open=True), default=200.0, show_default=True)
@click.option("--signed", is_flag=True, help="Its requests must be signed (Standard Webhooks); makes the secret, too.")
@click.option(
    "--rotate", type=click.FloatRange(0), metavar="DAYS", help="A new secret for this key; the old ones end then."
)
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def key_new(key_id: str, as_json: bool, rotate: float | None, **scopes: Any) -> None:
    """Make the key ID, or with --rotate a second secret for it. It is shown once; the file holds its hash alone."""
    from engine.gateway.keyfile import KeyRefused, add_key, rotate_key
    from engine.gateway.keys import KeyFileBroken

    path = _keys_path()
    try:
        made = add_key(path, key_id, **scopes) if rotate is None else rotate_key(path, key_id, rotate)
    except (KeyFileBroken, KeyRefused) as error:
        raise UsageError(sentence(error)) from error
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}.") from error
    if as_json:
        click.echo(json.dumps(made))
        return
    click.echo(made["secret"])
    click.echo(f"Written to {os.fspath(path)} as a hash: this is the only time you see it.", err=True)
    if made["signing_secret_file"]:
        click.echo(f"Requests are signed with the secret in {made['signing_secret_file']}.", err=True)


@key.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
def key_list(as_json: bool) -> None:
    """List the keys: what each may do, and until when its secrets hold."""
    from engine.gateway.keys import KeyFileBroken, read_entries, read_keys

    path = _keys_path()
    try:
        read_keys(path)
        entries = read_entries(path)
    except KeyFileBroken as error:
        raise No(str(error)) from error
    if as_json:
        click.echo(
            json.dumps([one.model_dump(mode="json", exclude={"secrets": {"__all__": {"sha256"}}}) for one in entries])
        )
        return
    for one in entries:
        ends = ", ".join(
            "for good" if held.until is None else f"until {held.until.isoformat()}" for held in one.secrets
        )
        what = f"{', '.join(one.may)} for {', '.join(one.sources)} ({', '.join(one.types)}) by {one.topic}"
        click.echo(f"{one.id}: {what}; {len(one.secrets)} secrets, {ends}")


def _keys_path() -> Path:
    """--keys, as it was given before the word `key`."""
    context: click.Context | None = click.get_current_context()
    while context is not None:
        if "keys" in context.params:
            return Path(context.params["keys"])
        context = context.parent
    return Path(KEYS_FILE)
