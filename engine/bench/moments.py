"""What moments cost: the coffee bar's newest version with all of them and without, in the pure core; no Kafka, no DuckDB.

Both sides take the same purchases, in turn, and each is counted in processor time, so that what else the machine does falls out
of the ratio.
"""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import orjson

import rules
from engine.bench import data
from engine.bench.figures import Run
from engine.bench.jobs import Job, Tell
from engine.ledger.engine_facts import programme_fact
from engine.ledger.partition import Partition
from engine.stream.clients import Cluster
from engine.vault.vault import EphemeralVault
from rules.book import Programme, from_json, load_directory
from schemas.decisions import encode_decision
from schemas.envelope import Fact, encode_fact, parse_fact
from schemas.facts import ACTIVITY, PROFILE
from schemas.normalise import normalise
from schemas.times import DAY_US, SECOND_US, to_text, to_us

COFFEE_BAR = Path(rules.__file__).parent / "programmes" / "coffee-bar" / "2028-01-01.yaml"
#: Behind all that is told: no fact lies in its future.
RECORDED_US = to_us("2029-01-01T00:00:00Z")
BEGIN_US = to_us("2028-01-10T07:00:00Z")
#: Each side is taken so often; its best time counts.
ROUNDS = 3
#: Of whom memory is measured.
WAITING = 4_000


def programmes() -> dict[str, Programme]:
    """The version with all its moments, and the same without them."""
    (whole,) = load_directory(COFFEE_BAR)
    document = orjson.loads(whole.canonical_json())
    without = {key: value for key, value in document.items() if key not in ("moments", "quiet")}
    return {"off": from_json(orjson.dumps(without)), "on": whole}


def run(_cluster: Cluster, job: Job, _tell: Tell) -> Run:
    """One run of everything, on as many purchases as the job expects."""
    return measure(job.expected, WAITING)


def measure(count: int, waiting: int) -> Run:
    """One run.

    Args:
        count: purchases, by members who have `data.FACTS_PER_MEMBER` each on average.
        waiting: members of whom memory is measured.

    Returns:
        Processor time a fact, microseconds: `off`, `on`, and the same where every member has a profile; bytes that a member takes
        more than without moments: one who waits for a midnight as many others do, and one who waits for a moment of his own.
    """
    versions, figures, began = programmes(), dict[str, float](), time.perf_counter()
    values = [encode_fact(fact) for fact in purchases(count)]
    for suffix, vault in (("", None), ("_profiles", EphemeralVault())):
        best: dict[str, float] = {}
        for _ in range(ROUNDS):
            for name, version in versions.items():
                taken = _decided(version, values, vault) / count * 1e6
                best[name] = min(taken, best.get(name, taken))
        figures |= {f"{name}{suffix}": taken for name, taken in best.items()}
        figures[f"ratio{suffix}"] = best["on"] / best["off"]
    for side, name in (("off", "newsletter_read"), ("on", "cart_abandoned")):
        _taken(versions[side], waiting, name)  # once for the caches of texts and moments, which are no member's
    plain = _taken(versions["off"], waiting, "newsletter_read")
    figures["bytes_shared"] = (_taken(versions["on"], waiting, "newsletter_read") - plain) / waiting
    figures["bytes_own"] = (_taken(versions["on"], waiting, "cart_abandoned") - plain) / waiting
    return Run(count, time.perf_counter() - began, figures)


def purchases(count: int) -> Iterator[Fact]:
    """So many purchases of half a year, spread over members as `data.events` spreads them."""
    first_us, recorded_at = None, to_text(RECORDED_US)
    for raw in data.events(data.TWO_LINES, count):
        event = orjson.loads(raw)
        told_us = to_us(event["time"])
        first_us = told_us if first_us is None else first_us
        event["time"] = to_text(BEGIN_US + told_us - first_us)
        event["data"] |= {"currency": "EUR", "channel": "pos"}
        yield normalise(orjson.dumps(event), recorded_at, RECORDED_US)


def _ledger(version: Programme, vault: EphemeralVault | None, members: int) -> Partition:
    """A ledger that knows the version; with a vault, also who the members are."""
    recorded_at = to_text(RECORDED_US)
    if vault is None:
        ledger = Partition(0, {version.hash: version})
        ledger.answer(programme_fact(version, recorded_at), 0)
        return ledger
    ledger = Partition(0, {version.hash: version}, opens=vault.opens(gone=None))
    ledger.answer(programme_fact(version, recorded_at), 0)
    for number in range(members):
        said = {
            "birthday": f"1990-{1 + number % 12:02d}-{1 + number % 28:02d}",
            "consents": {"email": True, "push": True},
        }
        event = _event(f"who-{number}", PROFILE, f"member-{number:06d}", BEGIN_US - DAY_US, said)
        ledger.answer(vault.seal(event), ledger.next_offset)
    return ledger


def _event(event_id: str, kind: str, member: str, at_us: int, said: Mapping[str, object]) -> Fact:
    event = {"specversion": "1.0", "id": event_id, "source": data.SOURCE, "type": kind, "subject": member}
    text = orjson.dumps(event | {"time": to_text(at_us), "data": said})
    return normalise(text, to_text(RECORDED_US), RECORDED_US)


def _decided(version: Programme, values: Sequence[bytes], vault: EphemeralVault | None) -> float:
    """Seconds of processor time for the whole of each fact: parse, decide, take in, encode."""
    ledger = _ledger(version, vault, data.members_of(len(values)))
    gc.collect()
    began = time.process_time()
    for value in values:
        for decision in ledger.answer(parse_fact(value), ledger.next_offset).decisions:
            encode_decision(decision)
    return time.process_time() - began


def _taken(version: Programme, members: int, name: str) -> int:
    """Bytes of a ledger with so many members, packed, to each of whom one thing happened, in a second of his own.

    Counted by Python itself: what the process grows by depends on what it gave back before.
    """
    gc.collect()
    tracemalloc.start()
    ledger = Partition(0, {version.hash: version}, 2)
    ledger.answer(programme_fact(version, to_text(RECORDED_US)), 0)
    for number in range(members):
        said: dict[str, object] = {"name": name, "attributes": {"cart": "c"} if name == "cart_abandoned" else {}}
        at_us = BEGIN_US + number * SECOND_US
        ledger.answer(_event(f"a{number}", ACTIVITY, f"member-{number:06d}", at_us, said), ledger.next_offset)
    gc.collect()
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return taken
