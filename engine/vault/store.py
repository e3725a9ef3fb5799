"""The key store: a small database file beside the logs, shared by every process of a deployment on one machine or volume.

SQLite in its rollback-journal mode with ``secure_delete``: what is destroyed is written over with zeros in the file itself,
and the journal that held it for the length of the transaction is deleted with it. A write-ahead log would keep it for longer.
Keys stand here wrapped by the master key; nothing here is needed to decide points.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from engine.ledger.member import ProfileUnavailable
from engine.settings import UsageError
from engine.vault.sealing import KEY_BYTES, DoesNotOpen, unwrap, wrap

#: Longest wait for another process that writes.
BUSY_SECONDS = 10.0
_MARK = "-- statement:"
# EXTRA also syncs the folder after the journal is gone: a power cut must not bring a destroyed key back.
_PRAGMAS = (
    "pragma journal_mode = delete",
    "pragma secure_delete = on",
    "pragma synchronous = extra",
    "pragma temp_store = memory",
)


class KeysUnavailable(ProfileUnavailable):
    """The key store does not answer, or a key that was never destroyed is not in it."""


class Forgotten(Exception):
    """This member was forgotten after the event happened."""


@cache
def _statements() -> dict[str, str]:
    text = Path(__file__).with_name("store.sql").read_text(encoding="utf-8")
    parts = [part.split("\n", 1) for part in text.split(_MARK)[1:]]
    return {name.strip(): body.strip() for name, body in parts}


class KeyStore:
    """The file. Every call is one transaction; it may be used from one thread of each process."""

    def __init__(
        self,
        path: Path,
        master: bytes | None,
        *,
        create: bool = False,
        reread: Callable[[], bytes] | None = None,
    ) -> None:
        """Open the file, or make it.

        Args:
            master: None where keys are only destroyed or counted.
            create: make the file where there is none.
            reread: reads the master key again: it may be rotated while this is open.

        Errors: UsageError: no file, open to others, no key store, or of another master key.
        """
        self.path = path
        self._master, self._reread = master, reread
        _own_file(path, create)
        try:
            self._db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            for pragma in _PRAGMAS:
                self._db.execute(pragma)
            with self._writing():
                self._ask("schema")
                self._ask("one_live_key")
        except sqlite3.Error as error:
            raise UsageError(f"--profile-keys {path}: this is no key store, or it cannot be read ({error}).") from error
        self._check_master()

    def close(self) -> None:
        """Let the file go."""
        self._db.close()

    def key_for(self, member: str, event_us: int, now_us: int) -> tuple[str, bytes]:
        """Return a member's key and its name; the first one who asks makes it.

        Args:
            event_us: when the event happened that is to be sealed.

        Errors: Forgotten, KeysUnavailable.
        """
        found = self._live(member)
        if found is None:
            with self._trouble(), self._writing():
                found = self._live(member) or self._new(member, event_us, now_us)
        key_id, wrapped = found
        return key_id, self._unwrap(wrapped, member, key_id)

    def key(self, member: str, key_id: str) -> bytes | None:
        """Return a key by its name; None where it was destroyed. Errors: KeysUnavailable."""
        with self._trouble():
            found = self._ask("by_id", key_id, member).fetchone()
        if found is None:
            raise KeysUnavailable(
                f"the key store {self.path} has never heard of key {key_id}: is it the one of this deployment? "
                "Restore it from its backup"
            )
        return None if found[0] is None else self._unwrap(found[0], member, key_id)

    def destroy(self, member: str, now_us: int) -> bool:
        """Destroy a member's key and note that he was forgotten; tells whether there was one. Errors: KeysUnavailable."""
        with self._trouble(), self._writing():
            gone = self._ask("destroy", now_us, member).rowcount > 0
            if not gone:
                self._ask("mark", os.urandom(16).hex(), member, now_us, now_us)
        return gone

    def destroy_again(self, member: str, until_us: int) -> bool:
        """Destroy a key that a restored backup brought back: one that was made before its member was forgotten."""
        with self._trouble(), self._writing():
            return self._ask("destroy_before", until_us, member, until_us).rowcount > 0

    def rewrap(self, new_master: bytes, before_commit: Callable[[], None] = lambda: None) -> int:
        """Wrap every key with another master key, in one transaction; returns how many. Errors: KeysUnavailable."""
        with self._trouble(), self._writing():
            rows = self._ask("all_live").fetchall()
            for key_id, member, wrapped in rows:
                key = self._unwrap(wrapped, member, key_id)
                self._ask("rewrap", wrap(new_master, key, member=member, key_id=key_id), key_id)
            before_commit()
        self._master = new_master
        return len(rows)

    def knows(self, member: str) -> bool:
        """Tell whether there is or was a key of a member, or he was forgotten before."""
        with self._trouble():
            return bool(self._ask("knows", member).fetchone()[0])

    def check(self) -> tuple[int, int]:
        """Open every key; return how many there are, and how many were destroyed. Errors: KeysUnavailable."""
        with self._trouble():
            for key_id, member, wrapped in self._ask("all_live").fetchall():
                self._unwrap(wrapped, member, key_id)
            live, destroyed = self._ask("count").fetchone()
        return int(live), int(destroyed)

    def _live(self, member: str) -> tuple[str, bytes] | None:
        with self._trouble():
            found: tuple[str, bytes] | None = self._ask("live", member).fetchone()
        return found

    def _new(self, member: str, event_us: int, now_us: int) -> tuple[str, bytes]:
        forgotten_us = self._ask("forgotten", member).fetchone()[0]
        if forgotten_us is not None and event_us <= forgotten_us:
            raise Forgotten
        if self._master is None:
            raise KeysUnavailable("no master key is given, so no key can be made")
        key_id = os.urandom(16).hex()
        wrapped = wrap(self._master, os.urandom(KEY_BYTES), member=member, key_id=key_id)
        self._ask("add", key_id, member, wrapped, now_us)
        return key_id, wrapped

    def _unwrap(self, wrapped: bytes, member: str, key_id: str) -> bytes:
        if self._master is None:
            raise KeysUnavailable("no master key is given")
        try:
            return unwrap(self._master, wrapped, member=member, key_id=key_id)
        except DoesNotOpen as error:
            if self._reread is None or (master := self._reread()) == self._master:
                raise KeysUnavailable(str(error)) from error
            self._master = master
        return self._unwrap(wrapped, member, key_id)

    def _check_master(self) -> None:
        if self._master is None:
            return
        try:
            found = self._ask("any_live").fetchone()
            if found is not None:
                self._unwrap(found[2], found[1], found[0])
        except (KeysUnavailable, sqlite3.Error) as error:
            raise UsageError(
                f"--profile-key-file does not open the keys in {self.path}: it is another master key ({error})."
            ) from error

    def _ask(self, name: str, *values: Any) -> sqlite3.Cursor:
        return self._db.execute(_statements()[name], values)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Alone until the end of the block: two processes that want a member's first key make one."""
        self._db.execute("begin immediate")
        try:
            yield
        except BaseException:
            self._db.execute("rollback")
            raise
        self._db.execute("commit")

    @contextmanager
    def _trouble(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise KeysUnavailable(f"the key store {self.path} does not answer: {error}") from error


def _own_file(path: Path, create: bool) -> None:
    """See to it that there is a file which nobody else may read. Errors: UsageError."""
    try:
        if create:
            with suppress(FileExistsError):
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise UsageError(f"--profile-keys {path}: {error.strerror}; name the key store of this deployment.") from error
    if mode & 0o077:
        raise UsageError(f"--profile-keys {path}: others may read it (mode {mode:04o}): chmod 600 {path}")
