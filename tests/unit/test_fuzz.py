"""Whatever bytes come in, every parser says what is wrong in its own words, and nothing else is ever raised.

Bounded here; STAMMGAST_FUZZ=100000 tries that many inputs per parser, other ones each time.
"""

from __future__ import annotations

import copy
import json
import os
import stat
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.gateway.keys import KeyFileBroken, read_keys
from engine.imports.account import Account
from engine.imports.errors import ExportError
from engine.imports.online_retail import convert
from engine.ledger.packing import UnknownStateFormat, pack, unpack
from engine.ledger.partition import Partition
from engine.settings import UsageError
from engine.stream.attempts import Attempt
from engine.stream.restoring import RestoreRefused, read_dump
from engine.stream.snapshots import Checkpoint, Unusable
from engine.vault.master import read_master
from rules.book import from_json, load_directory
from rules.errors import ProgrammeErrors
from schemas.decisions import encode_decision, parse_decision
from schemas.envelope import encode_fact, readable
from schemas.normalise import normalise
from schemas.rejects import INTAKE_REASONS, Rejected
from schemas.times import to_us

ROOT = Path(__file__).parents[2]
ASKED = int(os.environ.get("STAMMGAST_FUZZ", "0"))
FUZZ = settings(
    max_examples=ASKED or 80,
    derandomize=not ASKED,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
NOW = "2026-02-02T09:20:00.000000Z"
EVENT = {
    "specversion": "1.0",
    "id": "p1",
    "source": "urn:test",
    "type": "stammgast.purchase.v1",
    "subject": "m1",
    "time": "2026-02-02T10:00:00+01:00",
    "data": {
        "order_id": "p1",
        "lines": [{"sku": "ESP", "category": "coffee", "quantity": "1", "unit_price": "12.00"}],
        "total": "12.00",
        "currency": "EUR",
        "channel": "pos",
    },
}
PROGRAMME = min((ROOT / "rules" / "programmes" / "coffee-bar").glob("*.yaml")).read_text(encoding="utf-8")
EXPORT = """InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country
536366,22633,HAND WARMER UNION JACK,6,2010-12-01 08:28:00,1.85,17850.0,United Kingdom
C536379,22633,HAND WARMER UNION JACK,-1,2010-12-01 09:41:00,1.85,17850.0,United Kingdom
"""
#: What breaks parsers that trust: numbers at the edges, texts that are nearly something, containers in the wrong place.
ODD: list[Any] = [
    None, True, -1, 0, 2**63, 10**400, 1.5, 1e308, "", "0", "-0.00", "1e9", "NaN", "\u0000", "\ud83d\ude00" * 9, "x" * 5_000,
    "2026-02-30T25:61:00Z", "2026-02-02T10:00:00", "9999-12-31T23:59:59Z", "EUR\n", [], {}, [[[[]]]], {"": {"": ""}},
]  # fmt: skip


@st.composite
def cut(draw: st.DrawFn, whole: bytes) -> bytes:
    """Bytes with up to four places deleted, doubled, overwritten or filled with something else."""
    value = whole
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(value)))
        end = draw(st.integers(start, min(len(value), start + 40)))
        middle = draw(st.one_of(st.just(b""), st.just(value[start:end] * 2), st.binary(max_size=12)))
        value = value[:start] + middle + value[end:]
    return value


@st.composite
def bent(draw: st.DrawFn, whole: Any) -> Any:
    """A JSON value with one to three of its parts replaced by something odd, taken out, or put elsewhere."""
    value = json.loads(json.dumps(whole))
    for _ in range(draw(st.integers(1, 3))):
        place: Any = value
        while isinstance(place, dict | list) and place:
            key = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else list(range(len(place)))))
            inner = place[key]
            if not isinstance(inner, dict | list) or not inner or draw(st.integers(0, 3)) == 0:
                if draw(st.booleans()):
                    place[key] = copy.deepcopy(draw(st.sampled_from(ODD)))
                elif isinstance(place, dict):
                    place[draw(st.sampled_from(["id", "data", "total", "entries", "extra"]))] = place.pop(key)
                else:
                    place.pop(key)
                break
            place = inner
    return value


def broken(whole: Any) -> st.SearchStrategy[bytes]:
    """Bytes that are nearly this JSON value, or nothing like it."""
    text = json.dumps(whole).encode()
    return st.one_of(cut(text), bent(whole).map(lambda value: json.dumps(value).encode()), st.binary(max_size=60))


def a_decision() -> tuple[bytes, bytes, bytes]:
    """A fact, the decision on it, and its member's packed state, as the logs hold them."""
    version = next(iter(load_directory(ROOT / "rules" / "programmes" / "coffee-bar")))
    ledger = Partition(0, {version.hash: version})
    from engine.ledger.engine_facts import programme_fact

    ledger.answer(programme_fact(version, NOW), 0)
    fact = normalise(json.dumps(EVENT).encode(), NOW, to_us(NOW))
    (decision,) = ledger.answer(fact, 1).decisions
    assert decision.entries
    return encode_fact(fact), encode_decision(decision), pack(ledger.members["m1"])


FACT, DECISION, STATE = a_decision()


def survives(parse: Callable[[], Any], *expected: type[BaseException]) -> None:
    """Nothing but these errors is raised, and they have words."""
    refusal: BaseException | None = None
    try:
        parse()
    except expected as error:
        refusal = error
    assert refusal is None or str(refusal)


@FUZZ
@given(broken(EVENT))
def test_intake_takes_a_record_or_says_why_not(raw: bytes) -> None:
    """A fact that reads back, or one of the reasons."""
    refusal: Rejected | None = None
    try:
        fact = normalise(raw, NOW, to_us(NOW))
    except Rejected as rejected:
        refusal = rejected
    else:
        assert readable(encode_fact(fact)) == fact
    assert refusal is None or (refusal.reason in INTAKE_REASONS and refusal.message)


@FUZZ
@given(broken(json.loads(FACT)))
def test_a_record_of_facts_is_a_fact_or_none(raw: bytes) -> None:
    """The keeper quarantines what is none; nothing is raised."""
    readable(raw)


@FUZZ
@given(broken(json.loads(DECISION)))
def test_a_decision_reads_or_is_refused(raw: bytes) -> None:
    """pydantic's error, which is a ValueError, and no other."""
    survives(lambda: parse_decision(raw), ValueError)


@FUZZ
@given(st.one_of(cut(STATE), st.binary(max_size=80)), st.booleans())
def test_a_packed_member_opens_or_is_of_no_known_form(packed: bytes, mend_sum: bool) -> None:
    """Also when the checksum fits the damage."""
    if mend_sum and len(packed) > 5:
        packed = STATE[:1] + struct.pack(">I", zlib.crc32(packed[5:])) + packed[5:]
    survives(lambda: unpack("m1", packed), UnknownStateFormat)


@FUZZ
@given(st.one_of(cut(PROGRAMME.encode()), st.binary(max_size=60)))
def test_a_programme_file_compiles_or_lists_its_mistakes(tmp_path_factory: pytest.TempPathFactory, text: bytes) -> None:
    """Broken YAML, unknown keys, wrong values: ProgrammeErrors, with file and line."""
    path = tmp_path_factory.mktemp("fuzz") / "2026-01-01.yaml"
    path.write_bytes(text)
    survives(lambda: load_directory(path), ProgrammeErrors)


@FUZZ
@given(broken(json.loads(next(iter(load_directory(ROOT / "rules" / "programmes" / "coffee-bar"))).canonical_json())))
def test_a_published_version_compiles_or_lists_its_mistakes(raw: bytes) -> None:
    """What stands in the topic `programmes`, by whoever put it there."""
    survives(lambda: from_json(raw), ProgrammeErrors)


@FUZZ
@given(st.one_of(cut(EXPORT.encode()), st.binary(max_size=80)))
def test_a_till_export_converts_or_names_the_line(tmp_path_factory: pytest.TempPathFactory, text: bytes) -> None:
    """ExportError, whatever is in the file."""
    path = tmp_path_factory.mktemp("fuzz") / "export.csv"
    path.write_bytes(text)
    survives(lambda: list(convert(path, Account("GBP"))), ExportError)


@FUZZ
@given(st.binary(max_size=80))
def test_a_master_key_is_one_or_is_refused(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    """UsageError that says how to make one."""
    path = tmp_path_factory.mktemp("fuzz") / "master.key"
    path.write_bytes(raw)
    path.chmod(stat.S_IRUSR | stat.S_IWUSR)
    survives(lambda: read_master(path), UsageError)


KEYS = b"""keys:
  - id: till
    secrets:
      - sha256: "0000000000000000000000000000000000000000000000000000000000000000"
    sources: ["urn:till:*"]
    may: [publish, read]
"""


@FUZZ
@given(st.one_of(cut(KEYS), st.binary(max_size=60)))
def test_a_file_of_api_keys_reads_or_says_what_is_wrong(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    """KeyFileBroken, which names the file."""
    path = tmp_path_factory.mktemp("fuzz") / "keys.yaml"
    path.write_bytes(raw)
    survives(lambda: read_keys(path), KeyFileBroken)


@FUZZ
@given(broken({"partition": 0, "offset": 3, "timestamp_ms": 1_770_000_000_000, "fact": json.loads(FACT)}))
def test_a_line_of_a_dump_reads_or_is_refused(raw: bytes) -> None:
    """RestoreRefused, with the line."""
    survives(lambda: list(read_dump([raw], "facts.jsonl")), RestoreRefused)


CHECKPOINT = json.loads(
    Checkpoint(3, 5, b"0" * 16, 7, 0, {"next_offset": 3, "newest_us": 1, "book": [], "members": 1}).encode()
)


@FUZZ
@given(broken(CHECKPOINT))
def test_a_checkpoint_reads_or_is_ignored(raw: bytes) -> None:
    """A recovery without it folds the log from its beginning."""
    survives(lambda: Checkpoint.parse(raw), Unusable)


@FUZZ
@given(broken({"offset": 3, "tries": 1, "kind": "one"}))
def test_an_attempt_marker_reads_or_is_none(raw: bytes) -> None:
    """Nothing is raised."""
    Attempt.parse(raw)
