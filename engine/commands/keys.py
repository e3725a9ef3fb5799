"""`stammgast keys`: the master key that opens the profiles' key store."""

from __future__ import annotations

import json
from pathlib import Path

import click

from engine.settings import No, option


@click.group()
def keys() -> None:
    """Make, rotate and check the keys that profiles are sealed with (docs/privacy.md)."""


@keys.command("new")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def new(file: Path) -> None:
    """Write a new master key into FILE, readable by its owner alone; one that exists is never written over.

    Keep a copy where the logs and the key store are not: without it no profile opens. Exit codes: 0 done, 2 wrong usage.
    """
    from engine.vault.master import new_master

    new_master(file)
    click.echo(f"a new master key stands in {file}: give it to workers with --profile-key-file, and keep a copy apart.")


@keys.command("rotate")
@option("profile_key_file", required=True)
@option("profile_keys", required=True)
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
def rotate(*, profile_key_file: Path, profile_keys: Path, as_json: bool) -> None:
    """Put a new master key into its file and wrap all keys with it; nothing is sealed anew, running workers go on.

    Afterwards the old master key opens nothing but old copies of the key store. An interrupted rotation is taken up when it
    is said again. Exit codes: 0 done, 1 the key store does not answer, 2 wrong usage.
    """
    from engine.ledger.member import ProfileUnavailable
    from engine.vault.rotating import rotate as turn

    try:
        count = turn(profile_key_file, profile_keys)
    except ProfileUnavailable as error:
        raise No(f"{error}.") from error
    if as_json:
        click.echo(json.dumps({"rewrapped": count}))
    else:
        click.echo(f"{count:,} keys are wrapped with a new master key. Keep a copy of {profile_key_file} apart.")


@keys.command("check")
@option("profile_key_file", required=True)
@option("profile_keys", required=True)
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
def check(*, profile_key_file: Path, profile_keys: Path, as_json: bool) -> None:
    """Open every key of the store with the master key: what a restored backup must pass.

    Exit codes: 0 every key opens, 1 one does not, 2 wrong usage.
    """
    from engine.ledger.member import ProfileUnavailable
    from engine.vault.master import read_master
    from engine.vault.store import KeyStore

    store = KeyStore(profile_keys, read_master(profile_key_file))
    try:
        live, destroyed = store.check()
    except ProfileUnavailable as error:
        raise No(f"{error}.") from error
    finally:
        store.close()
    if as_json:
        click.echo(json.dumps({"keys": live, "destroyed": destroyed}))
    else:
        click.echo(f"{live:,} keys open, {destroyed:,} were destroyed.")
