"""Where a command listens, and that no token crosses a network readable."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from engine.settings import No, UsageError

Command = TypeVar("Command", bound=Callable[..., Any])
_PEM = click.Path(exists=True, dir_okay=False, path_type=Path)
_OPTIONS = (
    click.option(
        "--host", default="127.0.0.1", show_default=True,
        help="Address to listen on; any other than this machine's wants a certificate, or --behind-tls.",
    ),
    click.option("--tls-certfile", type=_PEM, help="Certificate, PEM."),
    click.option("--tls-keyfile", type=_PEM, help="Its private key, PEM."),
    click.option(
        "--behind-tls", is_flag=True,
        help="What is in front encrypts (a proxy, an ingress), or the network ends on this machine (a container's).",
    ),
)  # fmt: skip


def listening_options(command: Command) -> Command:
    """--host, --tls-certfile, --tls-keyfile, --behind-tls; hold them with `require_encryption`."""
    for add in reversed(_OPTIONS):
        command = add(command)
    return command


def is_loopback(host: str) -> bool:
    """Is this an address that nobody else reaches?"""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def require_encryption(host: str, certfile: Path | None, keyfile: Path | None, *, behind_tls: bool) -> None:
    """A token crosses a network encrypted or not at all. Errors: UsageError."""
    if (certfile is None) != (keyfile is None):
        raise UsageError("--tls-certfile and --tls-keyfile go together.")
    if not is_loopback(host) and certfile is None and not behind_tls:
        raise UsageError(
            f"--host {host} can be reached from elsewhere, and tokens would cross the network readable: give "
            "--tls-certfile and --tls-keyfile, or listen on 127.0.0.1 behind a proxy that encrypts; where something in "
            "front of this address encrypts already, say --behind-tls."
        )


def listen(host: str, port: int, flag: str) -> socket.socket:
    """A socket that takes connections at once; who comes before the first answer is ready waits for it.

    Args:
        port: 0 takes a free one. flag: the option that names another.

    Errors: No where the address cannot be had.
    """
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise No(
            f"port {port} of {host} cannot be had ({error.strerror}): name another with {flag}, or 0 for a free one."
        ) from error
    return listener
