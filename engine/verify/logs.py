"""What the checks read: records of three logs, by partition, in offset order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol


class Record(Protocol):
    """One record, as aiokafka hands it out."""

    @property
    def partition(self) -> int:
        """Its partition."""
        ...

    @property
    def offset(self) -> int:
        """Its offset."""
        ...

    @property
    def timestamp(self) -> int:
        """Milliseconds since the epoch."""
        ...

    @property
    def key(self) -> bytes | None:
        """Its key."""
        ...

    @property
    def value(self) -> bytes | None:
        """Its bytes."""
        ...

    @property
    def headers(self) -> Sequence[tuple[str, bytes]]:
        """Its headers."""
        ...


class Logs(Protocol):
    """The logs of one deployment, as far as they reached when the run began.

    ``facts`` may go on behind the last decided fact; ``decisions`` end where points-log ended at the start.
    """

    partitions: int
    prefix: str

    def facts(self, partition: int) -> Iterator[Any]:
        """Records of `facts`."""
        ...

    def decisions(self, partition: int) -> Iterator[Any]:
        """Records of `points-log`."""
        ...

    def rejects(self, partition: int) -> Iterator[Any]:
        """Records of `rejects`; what is written meanwhile may be among them."""
        ...

    def rejects_begin(self, partition: int) -> int:
        """The first offset that `rejects` still holds: above 0 when old records were deleted."""
        ...

    def fact_at(self, partition: int, offset: int) -> Any | None:
        """One record of `facts`, for a message."""
        ...

    def later_facts(self, partition: int) -> Iterator[Any]:
        """What `facts` got since `facts` was read to its end."""
        ...

    def later_decisions(self, partition: int) -> Iterator[Any]:
        """What `points-log` got since the start."""
        ...


def text_of(value: bytes | None) -> str:
    """A record's bytes as a message shows them, in full."""
    return "(nothing)" if value is None else value.decode("utf-8", "backslashreplace")
