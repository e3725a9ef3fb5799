"""Values on their way between the processes of a replay: many of them in one run of bytes, through a pipe.

A list of values that is pickled costs an object each on both sides, and a queue a thread besides that waits for the
interpreter. A run of bytes is written as it lies, and Arrow reads it as it lies.
"""

from __future__ import annotations

import fcntl
import pickle
import struct
from array import array
from collections.abc import Sequence
from contextlib import suppress
from io import FileIO
from itertools import accumulate, pairwise
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

# What an unprivileged process may have under Linux: a message or two fit, so that neither side waits for the other one often.
PIPE_BYTES = 1024 * 1024
_HEAD = struct.Struct("<Q")


class Run(NamedTuple):
    """Values one behind the other: value n lies from ``ends[n]`` to ``ends[n + 1]``, so there is one end more than values."""

    ends: array[int]
    data: bytes | bytearray

    def values(self) -> list[bytes]:
        """Return the values, each by itself."""
        data = bytes(self.data)
        return [data[start:end] for start, end in pairwise(self.ends)]


def run_of(values: Sequence[bytes]) -> Run:
    """Put values one behind the other. Errors: OverflowError from 2 GiB on."""
    return Run(array("i", accumulate(map(len, values), initial=0)), b"".join(values))


class Outlet:
    """The end of a pipe that messages go into. It waits while the pipe is full."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            with suppress(OSError):  # no more is allowed here: then the pipe stays as small as it is
                fcntl.fcntl(connection.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._file = FileIO(connection.fileno(), "wb", closefd=False)

    def put(self, head: object, *runs: Run) -> None:
        """Send a message.

        Args:
            head: whatever can be pickled.

        Raises:
            BrokenPipeError: nobody is left to read it.
        """
        said = pickle.dumps((head, [run.ends for run in runs]), pickle.HIGHEST_PROTOCOL)
        self._write(_HEAD.pack(len(said)) + said)
        for run in runs:
            self._write(run.data)

    def _write(self, data: bytes | bytearray) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]

    def close(self) -> None:
        """Let the pipe go: the other side reads what is in it, then its end."""
        self._file.close()
        self._connection.close()


class Inlet:
    """The end of a pipe that messages come out of."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._file = FileIO(connection.fileno(), "rb", closefd=False)

    def ready(self) -> bool:
        """Tell whether a message has begun to come, or nobody is left to send one."""
        return self._connection.poll()

    def get(self) -> tuple[Any, list[Run]]:
        """Wait for a message; return its head and its runs.

        Raises:
            EOFError: whoever sent has gone, perhaps amid a message.
        """
        (size,) = _HEAD.unpack(self._read(_HEAD.size))
        head, ends = pickle.loads(self._read(size))  # noqa: S301 - from a process of this replay, by a pipe that only it has
        return head, [Run(one, self._read(one[-1])) for one in ends]

    def _read(self, size: int) -> bytearray:
        data = bytearray(size)
        rest = memoryview(data)
        while rest:
            count = self._file.readinto(rest)
            if not count:
                raise EOFError
            rest = rest[count:]
        return data

    def close(self) -> None:
        """Let the pipe go: whoever writes into it learns that nobody reads."""
        self._file.close()
        self._connection.close()
