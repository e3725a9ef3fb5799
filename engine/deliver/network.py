"""HTTP to the outside, guarded: no redirects, no proxies out of the environment, TLS checked, no private address unless allowed.

A name is looked up once per connection, every address found is judged, and exactly that address is connected to: a name that
points elsewhere a moment later (DNS rebinding) gains nothing. Source: OWASP, Server-Side Request Forgery Prevention Cheat Sheet;
address ranges as in the IANA special-purpose registries (RFC 6890), which `ipaddress` carries.
"""

from __future__ import annotations

import asyncio
import email.utils
import ipaddress
import socket
import ssl
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpcore

from engine.deliver.sending import Answer, ConfigBroken

#: Of an answer's body, which only an address lookup needs; the rest is left unread.
BODY_MOST = 65_536
#: The longest pause that another side may ask for. Too small: it is asked again although it said no. Too large: one wrong
#: header stops a channel.
ASKED_PAUSE_MOST_S = 6 * 3_600.0
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_PASSING = frozenset({408, 425, 429})


class AddressRefused(Exception):
    """A name leads to an address that must not be called."""


def is_public(address: str) -> bool:
    """May this address be called without `allow_private`? What is wrapped inside an IPv6 address is judged, too."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if ip.teredo is not None:
            return False
    return ip.is_global and not ip.is_multicast


async def addresses_of(host: str, port: int, *, allow_private: bool) -> list[str]:
    """The addresses of a host, every one of them allowed. Errors: AddressRefused; OSError when there is none."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(one[4][0]) for one in found))
    if not allow_private and not all(is_public(address) for address in addresses):
        raise AddressRefused
    return addresses


class _Guarded(httpcore.AsyncNetworkBackend):
    """Connects to the very addresses that were judged."""

    def __init__(self, *, allow_private: bool) -> None:
        self._inner, self._allow_private = httpcore.AnyIOBackend(), allow_private

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """As httpcore asks for it. Errors: AddressRefused; httpcore.ConnectError."""
        try:
            addresses = await addresses_of(host, port, allow_private=self._allow_private)
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        failed: Exception = httpcore.ConnectError("no address")
        for address in addresses:
            try:
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except httpcore.ConnectError as error:
                failed = error
        raise failed

    async def sleep(self, seconds: float) -> None:
        """As httpcore asks for it."""
        await asyncio.sleep(seconds)


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Caller:
    """Calls one address again and again, over kept connections."""

    def __init__(
        self, url: str, *, allow_private: bool, allow_http: bool, ca_file: Path | None, connections: int
    ) -> None:
        """Errors: ConfigBroken for an address that must not be called."""
        check_url(url, allow_http=allow_http)
        try:
            context = ssl.create_default_context(cafile=ca_file)
        except OSError as error:  # ssl.SSLError is one
            raise ConfigBroken(f"ca_file {ca_file}: {error}") from error
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=context,
            max_connections=connections,
            keepalive_expiry=30.0,
            network_backend=_Guarded(allow_private=allow_private),
        )

    async def call(self, method: str, url: str, headers: Sequence[tuple[str, str]], body: bytes = b"") -> Reply:
        """One request; the caller bounds its time. Errors: AddressRefused; httpcore's."""
        sent = [(name.encode(), value.encode()) for name, value in headers]
        async with self._pool.stream(method, url, headers=sent, content=body) as response:
            read = bytearray()
            async for chunk in response.aiter_stream():
                read += chunk
                if len(read) >= BODY_MOST:
                    break
            back = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
            return Reply(response.status, back, bytes(read))

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.aclose()


def check_url(url: str, *, allow_http: bool) -> None:
    """Errors: ConfigBroken for what is no URL to be called."""
    parts = urlsplit(url)
    if parts.scheme not in {"https", "http"} or not parts.hostname:
        raise ConfigBroken("url: write it like https://provider.example/notices")
    if parts.username is not None or parts.password is not None:
        raise ConfigBroken("url: no user and password in it: logs of others would show them; use bearer_token_file")
    if parts.scheme == "http" and not allow_http:
        raise ConfigBroken(
            "url: http:// sends members' keys readable; use https://, or accept it with allow_http: true"
        )


def answer_of(reply: Reply) -> Answer:
    """What a status means for a notice: 2xx it is there, 3xx is refused, 408, 425, 429 and 5xx pass, the rest does not."""
    status = reply.status
    if 200 <= status < 300:
        return Answer("sent")
    if 300 <= status < 400:
        return Answer("never", "redirected")
    if status in _PASSING or status >= 500:
        return Answer("later", f"status_{status}", retry_after(reply.headers.get("retry-after"), time.time()))
    return Answer("never", f"status_{status}")


def retry_after(said: str | None, now_s: float) -> float | None:
    """Seconds that a Retry-After header asks for, at most ASKED_PAUSE_MOST_S; None where it says nothing readable.

    Source: RFC 9110, section 10.2.3: whole seconds, or a date.
    """
    if said is None:
        return None
    said = said.strip()
    if said.isascii() and said.isdigit():
        seconds = float(said[:9])
    else:
        try:
            seconds = email.utils.parsedate_to_datetime(said).timestamp() - now_s
        except (ValueError, TypeError):
            return None
    return min(max(0.0, seconds), ASKED_PAUSE_MOST_S)


#: What a call that brought no answer may raise; `why_not` says what it means.
NO_ANSWER = (TimeoutError, AddressRefused, httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError)


def why_not(error: BaseException) -> Answer:
    """What an error of a call means. Errors: the error itself where it is none of a call."""
    match error:
        case AddressRefused():
            return Answer("never", "private_address")
        case TimeoutError() | httpcore.TimeoutException():
            return Answer("later", "timeout")
        case httpcore.ConnectError() if isinstance(error.__context__, ssl.SSLError) or "SSL" in str(error):
            return Answer("later", "tls_failed")
        case httpcore.ConnectError():
            return Answer("later", "no_connection")
        case httpcore.NetworkError() | httpcore.ProtocolError() | httpcore.UnsupportedProtocol():
            return Answer("later", "connection_broken")
        case _:
            raise error
