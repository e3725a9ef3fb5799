"""The chain of `points-log`: every record carries a hash of its value and of the link before it.

Kafka promises order and no gaps to whoever has the log; the chain lets somebody who has it later show that nothing in it
was changed, taken out or put in since a link was written down elsewhere. It is a header, not part of the value: an offline
replay decides the same bytes and has no log to chain. `stammgast verify` names the first broken link.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

CHAIN_HEADER = "stammgast-chain"
LINK_BYTES = 16
#: The link before the first one of a partition. A log that was begun before there was a chain starts it in its middle.
GENESIS = bytes(LINK_BYTES)


def link(previous: bytes, value: bytes) -> bytes:
    """The link of a record: BLAKE2b-128 over the link before it and the record's value."""
    return blake2b(previous + value, digest_size=LINK_BYTES).digest()


def link_of(headers: Iterable[tuple[str, bytes]]) -> bytes | None:
    """The link that a record carries, None for one without."""
    for name, value in headers:
        if name == CHAIN_HEADER:
            return value
    return None
