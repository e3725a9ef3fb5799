"""End a server of this process that can no longer be told to stop, without leaving anybody on the line.

DuckDB's remote protocol is stopped by a statement, and a database that DuckDB has given up takes none. Its server then ends when
the last reference to the database goes. Is that the one of a question under way, the thread that answers it waits for itself, and
whoever asked waits for ever (seen in quack 1.5.5). So: no new questions, let those under way end, and only then let go.
"""

from __future__ import annotations

import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

LOOK_S = 0.02


def hang_up(host: str, port: int, patience_s: float) -> bool:
    """Take no more connections on an address of this process, and wait for those that are open.

    Args:
        host, port: where this process listens.
        patience_s: whoever is still connected then is cut off.

    Returns:
        Whether everybody had hung up by then.
    """
    deadline = time.monotonic() + patience_s
    while True:
        with ExitStack() as stack:
            own = [stack.enter_context(one) for one in _sockets_at(host, port)]
            connected = [one for one in own if not one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)]
            late = time.monotonic() > deadline
            for one in own:
                if late or one not in connected:
                    with suppress(OSError):
                        one.shutdown(socket.SHUT_RDWR)
        if not connected or late:
            return not connected
        time.sleep(LOOK_S)


def _sockets_at(host: str, port: int) -> Iterator[socket.socket]:
    """Second handles of this process's sockets that are bound here: what they stand for cannot change under us."""
    for entry in tuple(Path("/dev/fd").iterdir()):
        try:
            handle = os.dup(int(entry.name))
        except OSError:  # it was closed meanwhile
            continue
        if not stat.S_ISSOCK(os.fstat(handle).st_mode):
            os.close(handle)
            continue
        one = socket.socket(fileno=handle)
        if one.getsockname() == (host, port):
            yield one
        else:
            one.close()
