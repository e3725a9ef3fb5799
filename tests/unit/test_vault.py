"""Profiles are sealed before any log sees them, and a destroyed key is gone from its file."""

from __future__ import annotations

import base64
import multiprocessing
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner

from engine.cli import main
from engine.gateway.quoting import quote
from engine.ledger.engine_facts import programme_fact
from engine.ledger.member import CLOSED, ProfileClosed, Sealed
from engine.ledger.packing import pack
from engine.ledger.partition import Partition, UndecidableInPrivate
from engine.settings import UsageError
from engine.vault import sealing
from engine.vault.master import new_master, read_master
from engine.vault.rotating import rotate
from engine.vault.store import Forgotten, KeyStore, KeysUnavailable
from engine.vault.vault import EphemeralVault, NoVault, StoreVault, vault_of
from schemas import facts
from schemas.envelope import Fact, encode_fact, make_fact
from schemas.normalise import normalise
from schemas.personal import is_personal, without_data
from schemas.rejects import Rejected
from schemas.times import to_us
from tests.interpreted import interpreted_only
from tests.unit.ledger import RECORDED, Stage, points, programme

SECRET = "Zebulon-Ypsilanti"
GERMAN = "earn: [{id: german, on: visit, when: {profile: {language: de}}, award: {points: 5}}]\n"
NOW_US = to_us("2026-03-05T10:00:00Z")


def said(
    member: str = "anna", event_id: str = "p1", time: str = "2026-03-01T10:00:00Z", **data: Any
) -> tuple[bytes, Fact]:
    """A profile as it is sent, and as intake understands it, in clear."""
    event = {
        "specversion": "1.0", "id": event_id, "source": "urn:crm", "type": facts.PROFILE, "subject": member, "time": time,
        "data": {"language": "de", "attributes": {"name": SECRET}} | data,
    }  # fmt: skip
    raw = orjson.dumps(event)
    return raw, normalise(raw, RECORDED, to_us(RECORDED))


@pytest.fixture
def master(tmp_path: Path) -> Path:
    """A master key in a file."""
    path = tmp_path / "master.key"
    new_master(path)
    return path


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """Where a key store may be made."""
    return tmp_path / "keys.db"


def store(keys: Path, master: Path | None) -> KeyStore:
    """The key store, made where it is not there."""
    return KeyStore(keys, None if master is None else read_master(master), create=True)


def sealed_of(fact: Fact) -> Sealed:
    """What a member keeps of a sealed fact."""
    data = fact.data
    return Sealed(fact.time_us, data["member"], fact.source, fact.id, data["key"], data["sealed"])


# ---------------------------------------------------------------------------------------------------------------- seal


def test_what_is_sealed_opens_with_its_key_for_its_event_alone() -> None:
    """Another key, member, source or id does not open it; neither does a byte changed."""
    key, other = b"k" * 32, b"o" * 32
    _, fact = said(birthday="1990-02-28")
    sealed = sealing.seal(fact, "k1", key)
    about = {"member": "anna", "source": "urn:crm", "fact_id": "p1", "key_id": "k1"}

    assert sealing.unseal(sealed.data["sealed"], key, **about) == fact.data
    for name in about:
        with pytest.raises(sealing.DoesNotOpen):
            sealing.unseal(sealed.data["sealed"], key, **about | {name: "x"})
    with pytest.raises(sealing.DoesNotOpen):
        sealing.unseal(sealed.data["sealed"], other, **about)
    raw = bytearray(base64.b64decode(sealed.data["sealed"]))
    raw[20] ^= 1
    with pytest.raises(sealing.DoesNotOpen):
        sealing.unseal(base64.b64encode(raw).decode(), key, **about)


def test_nothing_of_a_profile_shows_in_the_fact() -> None:
    """Neither its words nor its length; the same one sealed twice differs, and its hash does not."""
    key = b"k" * 32
    first, again = (sealing.seal(said()[1], "k1", key) for _ in range(2))
    longer = sealing.seal(said(region="a" * 40)[1], "k1", key)

    assert SECRET.encode() not in encode_fact(first)
    assert first.data["sealed"] != again.data["sealed"]
    assert first.body_hash == again.body_hash
    assert len(longer.data["sealed"]) == len(first.data["sealed"])


def test_the_body_hash_cannot_be_guessed_without_the_key() -> None:
    """A birthday has few values: a plain hash of them would tell which it is."""
    _, fact = said(birthday="1990-02-28")

    assert sealing.seal(fact, "k1", b"k" * 32).body_hash != sealing.seal(fact, "k1", b"o" * 32).body_hash
    assert sealing.seal(fact, "k1", b"k" * 32).body_hash != fact.body_hash


# --------------------------------------------------------------------------------------------------------------- store


def test_a_destroyed_key_is_gone_from_the_file(master: Path, keys: Path) -> None:
    """Neither it nor what it was wrapped to stands in the file or in any other beside it."""
    opened = store(keys, master)
    key_id, key = opened.key_for("anna", 0, 0)
    opened.key_for("ben", 0, 0)
    wrapped = opened._live("anna")[1]  # type: ignore[index]
    assert wrapped in keys.read_bytes()

    assert opened.destroy("anna", 5)

    for path in keys.parent.iterdir():
        text = path.read_bytes()
        for part in (key, wrapped, wrapped[12:28], wrapped[-16:]):
            assert part not in text, path
    assert opened.key("anna", key_id) is None
    assert opened.key_for("ben", 0, 0)[1]
    assert not opened.destroy("anna", 6)


def test_who_was_forgotten_is_not_brought_back_by_an_older_event(master: Path, keys: Path) -> None:
    """A copy that comes late is refused; what is told from then on is sealed with another key."""
    vault = StoreVault(store(keys, master))
    before, after = said()[1], said(event_id="p2", time="2026-04-01T00:00:00Z")[1]
    first = vault.seal(before)
    store(keys, None).destroy("anna", to_us("2026-03-15T00:00:00Z"))

    with pytest.raises(Rejected) as caught:
        vault.seal(before)
    assert caught.value.reason == "forgotten"
    assert vault.seal(after).data["key"] != first.data["key"]
    assert vault.opens(gone=None)(sealed_of(first)) is None
    assert vault.opens(gone=CLOSED)(sealed_of(first)) is CLOSED


def test_forgetting_somebody_without_a_profile_is_remembered(master: Path, keys: Path) -> None:
    """What is still on its way to intake then is refused."""
    opened = store(keys, master)

    assert not opened.knows("anna")
    assert not opened.destroy("anna", 100)
    assert opened.knows("anna")
    with pytest.raises(Forgotten):
        opened.key_for("anna", 100, 200)
    assert opened.key_for("anna", 101, 200)


def _ask(path: str, master: bytes, gate: Any, answers: Any) -> None:
    gate.wait()
    answers.put(KeyStore(Path(path), master).key_for("anna", 0, 0))


def test_processes_that_want_the_first_key_at_once_get_the_same(master: Path, keys: Path) -> None:
    """Two intakes must not seal a member's profiles with keys that overwrite each other."""
    store(keys, master).close()
    context = multiprocessing.get_context("spawn")
    gate, answers = context.Barrier(4), context.Queue()
    asking = [
        context.Process(target=_ask, args=(str(keys), read_master(master), gate, answers), daemon=True)
        for _ in range(4)
    ]
    for process in asking:
        process.start()
    got = {answers.get(timeout=60) for _ in asking}
    for process in asking:
        process.join(60)

    assert len(got) == 1


def test_a_key_that_was_never_destroyed_and_is_not_there_is_no_forgotten_one(master: Path, keys: Path) -> None:
    """A lost or wrong store must not look like people who asked to be forgotten."""
    fact = EphemeralVault().seal(said()[1])

    with pytest.raises(KeysUnavailable, match="never heard"):
        StoreVault(store(keys, master)).opens(gone=None)(sealed_of(fact))


# -------------------------------------------------------------------------------------------------------------- master


def test_files_that_others_may_read_are_refused(master: Path, keys: Path, tmp_path: Path) -> None:
    """The master key and the store are made for their owner alone, and stay so."""
    store(keys, master).close()
    assert {stat.S_IMODE(path.stat().st_mode) for path in (master, keys)} == {0o600}

    master.chmod(0o640)
    with pytest.raises(UsageError, match="chmod 600"):
        read_master(master)
    keys.chmod(0o604)
    with pytest.raises(UsageError, match="chmod 600"):
        KeyStore(keys, None)
    with pytest.raises(UsageError, match="keys new"):
        read_master(tmp_path / "none")
    wrong = tmp_path / "wrong"
    wrong.touch(0o600)
    with pytest.raises(UsageError, match="no master key"):
        read_master(wrong)
    with pytest.raises(UsageError, match="never written over"):
        new_master(master)


def test_another_master_key_is_told_at_once(master: Path, keys: Path, tmp_path: Path) -> None:
    """And not when the first profile comes."""
    store(keys, master).key_for("anna", 0, 0)
    new_master(tmp_path / "other")

    with pytest.raises(UsageError, match="another master key"):
        store(keys, tmp_path / "other")


def test_one_setting_without_the_other_is_refused(master: Path) -> None:
    """Half the settings would look like none."""
    assert isinstance(vault_of(None, None), NoVault)
    with pytest.raises(UsageError, match="--profile-keys is missing"):
        vault_of(master, None)


def test_a_rotation_keeps_every_profile_and_ends_the_old_master_key(master: Path, keys: Path) -> None:
    """A worker that runs reads the file again; what was wrapped before does not open with the new key."""
    old, running = read_master(master), vault_of(master, keys, create=True)
    sealed = sealed_of(running.seal(said()[1]))
    wrapped = store(keys, master)._live("anna")[1]  # type: ignore[index]

    assert rotate(master, keys) == 1

    opened = running.opens(gone=None)(sealed)
    assert opened is not None
    assert opened.language == "de"
    assert wrapped not in keys.read_bytes()
    assert read_master(master) != old
    with pytest.raises(UsageError):
        KeyStore(keys, old)
    assert [path.name for path in sorted(master.parent.iterdir())] == ["keys.db", "master.key"]


@pytest.mark.parametrize("committed", [False, True])
def test_an_interrupted_rotation_is_taken_up(master: Path, keys: Path, committed: bool) -> None:
    """Killed between the file and the store: the key that opens the store counts, whichever it is."""
    opened = store(keys, master)
    _, key = opened.key_for("anna", 0, 0)
    new_master(master.with_name("fresh"))
    if committed:
        opened.rewrap(read_master(master.with_name("fresh")))
    opened.close()
    master.rename(master.with_name("master.key.old"))
    master.with_name("fresh").rename(master)

    assert rotate(master, keys) == 1

    assert store(keys, master).key_for("anna", 0, 0)[1] == key
    assert not master.with_name("master.key.old").exists()


def test_the_commands_speak(tmp_path: Path) -> None:
    """`keys new`, `check` and `rotate`, with their JSON."""
    key, keys = tmp_path / "m", tmp_path / "k"
    options = ["--profile-key-file", str(key), "--profile-keys", str(keys)]
    run = CliRunner().invoke

    assert run(main, ["keys", "new", str(key)]).exit_code == 0
    assert run(main, ["keys", "new", str(key)]).exit_code == 2
    missing = run(main, ["keys", "check", *options])
    assert missing.exit_code == 2
    assert "name the key store" in missing.output
    store(keys, key).key_for("anna", 0, 0)
    assert orjson.loads(run(main, ["keys", "rotate", *options, "--json"]).output) == {"rewrapped": 1}
    assert orjson.loads(run(main, ["keys", "check", *options, "--json"]).output) == {"keys": 1, "destroyed": 0}
    asked = run(main, ["forget", "anna", "--bootstrap", "h:1", "--profile-keys", str(keys)])
    assert asked.exit_code == 1
    assert "--yes" in asked.output
    person = run(main, ["forget", "a@example.org", "--bootstrap", "h:1", "--profile-keys", str(keys), "--yes"])
    assert person.exit_code == 2
    assert "example" not in person.output
    assert run(main, ["forget", "--bootstrap", "h:1", "--profile-keys", str(keys)]).exit_code == 2


# -------------------------------------------------------------------------------------------------------------- ledger


class Private(Stage):
    """A stage whose profiles are sealed and opened."""

    def __init__(self, body: str, opens: Any) -> None:
        version = programme(body)
        super().__init__(version)
        self.partition = Partition(0, {version.hash: version}, opens=opens)
        self.decisions.clear()
        for fact, _ in self.heard[:1]:
            self.partition.answer(fact, 0)


def test_without_keys_an_answer_that_needs_a_profile_is_not_made_up() -> None:
    """It is not taken for somebody without a profile, and nothing is changed; other answers need no keys."""
    vault = EphemeralVault()
    stage = Private(GERMAN, NoVault().opens(None))
    stage.answer(vault.seal(said()[1]))
    before = pack(stage.partition.members["anna"])

    with pytest.raises(ProfileClosed):
        stage.say(facts.VISIT_V1, "anna", "2026-03-02T10:00:00Z", {})
    assert pack(stage.partition.members["anna"]) == before
    assert points(stage.say(facts.VISIT_V1, "ben", "2026-03-02T10:00:00Z", {})) == []
    assert stage.buy("2026-03-02T10:00:00Z", ("mug", "1.00")).outcome == "decided"


def test_a_quote_knows_the_profile_or_says_that_it_cannot(master: Path, keys: Path) -> None:
    """It never counts somebody as a stranger only because the gateway has no keys; the state keeps the profile sealed."""
    vault = vault_of(master, keys, create=True)
    version = programme(GERMAN.replace("on: visit", "on: purchase"))
    fact = vault.seal(said()[1])
    basket = make_fact(
        id="q1", source="urn:till", type=facts.PURCHASE, subject="anna", time_us=NOW_US, recorded_at=RECORDED,
        data={"order_source": "urn:till", "order_id": "q1", "lines": [], "total_minor": 0, "currency": "EUR", "channel": "pos",
              "store": None, "paid_with_points_minor": 0, "paid_with_voucher_minor": 0},
    )  # fmt: skip

    def asked(opens: Any) -> dict[str, Any]:
        partition = Partition(0, {version.hash: version}, opens=opens)
        partition.answer(programme_fact(version, RECORDED), 0)
        partition.answer(fact, 1)
        told = quote(partition, partition.members["anna"], basket, version)
        assert partition.members["anna"].opened is None
        return told

    told = asked(vault.opens(None))
    assert [(rule["rule"], rule["why"]) for rule in told["why"]] == [("german", "no line meets them all")]
    assert told["why"][0]["conditions"][0]["saw"] == "a profile, which is not shown"
    with pytest.raises(ProfileClosed):
        asked(NoVault().opens(None))


def test_a_state_holds_a_profile_as_the_log_does(master: Path, keys: Path) -> None:
    """Packed for a snapshot it shows nothing, and it is not open after a decision."""
    vault = vault_of(master, keys, create=True)
    stage = Private(GERMAN, vault.opens(None))
    stage.answer(vault.seal(said()[1]))

    assert points(stage.say(facts.VISIT_V1, "anna", "2026-03-02T10:00:00Z", {})) == [("german", 5)]
    member = stage.partition.members["anna"]
    assert member.opened is None
    assert member.sealed is not None
    assert SECRET.encode() not in pack(member)


@interpreted_only
def test_an_error_with_an_open_profile_says_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its text would stand in the decision, in `rejects` and in the log."""
    vault = EphemeralVault()
    stage = Private(GERMAN, vault.opens(None))
    stage.answer(vault.seal(said()[1]))

    def fail(*_: Any) -> Any:
        raise ValueError(f"it met {SECRET}")

    monkeypatch.setattr("engine.ledger.partition.decide", fail)
    with pytest.raises(UndecidableInPrivate) as caught:
        stage.say(facts.VISIT_V1, "anna", "2026-03-02T10:00:00Z", {})
    assert str(caught.value) == "ValueError"
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


# ------------------------------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    "data",
    [
        {"birthday": SECRET},
        {"birthday": "1990-02-31"},
        {"language": SECRET},
        {SECRET: 1},
        {"attributes": {SECRET: [1]}},
        {"attributes": {"language": SECRET}},
        {"consents": {SECRET: "yes"}},
        {"region": SECRET * 20},
        {"attributes": {"x" * 200: SECRET}},
    ],
)
def test_a_refusal_repeats_nothing_of_a_profile(data: dict[str, Any]) -> None:
    """Neither a value nor a name that somebody chose."""
    with pytest.raises(Rejected) as caught:
        said(**data)
    assert caught.value.reason == "invalid"
    assert SECRET not in str(caught.value)
    assert "1990" not in str(caught.value).replace("1990-06-30", "")


PROFILES, OPEN = frozenset({facts.PROFILE}), frozenset({facts.PURCHASE})


@pytest.mark.parametrize(
    ("raw", "types", "personal"),
    [
        (said()[0], OPEN, True),
        (said()[0][:-5], OPEN, True),
        (b'{"type":"stammgast.profile.v9","data":{}}', OPEN, True),
        (b'{"type":"com.crm.Profile","data":{}}', OPEN, True),
        (b"Zebulon Ypsilanti, born 1990", PROFILES, True),
        (b'["Zebulon"]', PROFILES, True),
        (b'{"type":"stammgast.visit.v1"}', PROFILES, False),
        (b'{"type":"stammgast.visit.v1"}', OPEN, False),
        (b"not json", OPEN, False),
        (b'{"type":"com.crm.visit"}', OPEN, False),
    ],
)
def test_what_may_describe_a_person_is_told_from_the_rest(raw: bytes, types: frozenset[str], personal: bool) -> None:
    """In doubt, and on a topic for profiles, it is taken for a profile."""
    assert is_personal(raw, types) is personal


def test_of_a_refused_profile_its_envelope_is_kept() -> None:
    """Nothing of its data, no attribute of its own, no key that is somebody's address."""
    raw, _ = said()
    event = orjson.loads(raw) | {"name": SECRET, "subject": "zebulon@example.org"}
    kept = without_data(orjson.dumps(event))

    assert SECRET.encode() not in kept
    assert b"example.org" not in kept
    assert orjson.loads(kept) == {
        "specversion": "1.0", "id": "p1", "source": "urn:crm", "type": facts.PROFILE, "time": "2026-03-01T10:00:00Z",
        "dataleftout": True, "databytes": len(orjson.dumps(event)),
    }  # fmt: skip
    assert orjson.loads(without_data(b"Zebulon")) == {"dataleftout": True, "databytes": 7}


def test_a_process_that_decides_needs_no_cryptography_until_a_profile_comes() -> None:
    """The pure core does not import it."""
    code = "import sys, engine.ledger.partition; sys.exit('cryptography' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
