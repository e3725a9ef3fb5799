"""Who seals and opens: with the keys of a store, or for the length of an offline replay with a secret of its own."""

from __future__ import annotations

import hmac
import os
import time
from pathlib import Path
from typing import Protocol

from engine.ledger.member import CLOSED, Sealed
from engine.ledger.profiles import Opens, profile_of
from engine.settings import UsageError
from engine.vault.master import read_master
from engine.vault.sealing import KEY_BYTES, seal, unseal
from engine.vault.store import Forgotten, KeyStore
from rules.book import Profile
from schemas.envelope import Fact
from schemas.rejects import Rejected

_EPHEMERAL = "ephemeral"


class Vault(Protocol):
    """Seals profiles at the door and opens them for the moment in which a fact is decided."""

    def seal(self, fact: Fact) -> Fact:
        """Return a profile fact sealed. Raises Rejected where it may not or cannot be sealed."""
        ...

    def opens(self, gone: Profile | None) -> Opens:
        """Return what opens sealed profiles; ``gone`` stands for those whose key was destroyed.

        What it returns raises KeysUnavailable where the keys do not answer.
        """
        ...


class NoVault:
    """Without keys: profiles are refused, and none is opened."""

    def seal(self, fact: Fact) -> Fact:
        """Refuse it."""
        raise Rejected(
            "no_profile_keys",
            f"{fact.type} is taken only where the worker has keys for it: start it with --profile-key-file and "
            "--profile-keys (docs/privacy.md), then send the event again",
            "type",
        )

    def opens(self, gone: Profile | None) -> Opens:
        """Open nothing."""
        return lambda _sealed: CLOSED


class StoreVault:
    """With the keys of a store."""

    def __init__(self, store: KeyStore) -> None:
        self._store = store

    def seal(self, fact: Fact) -> Fact:
        """Return it sealed with the member's key, a new one for the first. Raises Rejected (``forgotten``), KeysUnavailable."""
        try:
            key_id, key = self._store.key_for(fact.subject or "", fact.time_us, time.time_ns() // 1_000)
        except Forgotten:
            raise Rejected(
                "forgotten",
                "this member was forgotten after this event happened: what is told of him from then on is taken",
                "time",
            ) from None
        return seal(fact, key_id, key)

    def opens(self, gone: Profile | None) -> Opens:
        """Open with the keys of the store as they are at that moment: nothing is kept here."""

        def open_one(sealed: Sealed) -> Profile | None:
            key = self._store.key(sealed.subject, sealed.key)
            return gone if key is None else _opened(sealed, key)

        return open_one


class EphemeralVault:
    """With keys that are made of a secret and are gone with it: for a replay of events, which keeps no profile anyhow."""

    def __init__(self, secret: bytes | None = None) -> None:
        self.secret = secret or os.urandom(KEY_BYTES)

    def seal(self, fact: Fact) -> Fact:
        """Return it sealed."""
        return seal(fact, _EPHEMERAL, self._key(fact.subject or ""))

    def opens(self, gone: Profile | None) -> Opens:
        """Open what was sealed with the same secret; what comes from a log, sealed otherwise, stays closed."""

        def open_one(sealed: Sealed) -> Profile | None:
            return _opened(sealed, self._key(sealed.subject)) if sealed.key == _EPHEMERAL else CLOSED

        return open_one

    def _key(self, member: str) -> bytes:
        return hmac.digest(self.secret, member.encode(), "sha256")


class Rehearsal:
    """For a look at what profiles would do: new ones are sealed for the length of the look, those of the log are opened by the
    deployment's own keys, and no key is made."""

    def __init__(self, vault: Vault) -> None:
        self._vault, self._own = vault, EphemeralVault()

    def seal(self, fact: Fact) -> Fact:
        """Return it sealed."""
        return self._own.seal(fact)

    def opens(self, gone: Profile | None) -> Opens:
        """Open what was sealed here, and what the deployment can open."""
        own, other = self._own.opens(gone), self._vault.opens(gone)

        def open_one(sealed: Sealed) -> Profile | None:
            return own(sealed) if sealed.key == _EPHEMERAL else other(sealed)

        return open_one


def _opened(sealed: Sealed, key: bytes) -> Profile:
    about = {"member": sealed.subject, "source": sealed.source, "fact_id": sealed.fact_id, "key_id": sealed.key}
    return profile_of(unseal(sealed.text, key, **about))


def vault_of(key_file: Path | None, keys: Path | None, *, create: bool = False) -> Vault:
    """The vault of a deployment's settings; without any, `NoVault`.

    Errors: UsageError: only one of the two is given, or they cannot be used.
    """
    if key_file is None and keys is None:
        return NoVault()
    if key_file is None or keys is None:
        missing = "--profile-key-file" if key_file is None else "--profile-keys"
        raise UsageError(f"profiles need the master key and the key store: {missing} is missing.")
    store = KeyStore(keys, read_master(key_file), create=create, reread=lambda: read_master(key_file))
    return StoreVault(store)
