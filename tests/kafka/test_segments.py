"""Segments back into rules on a real Kafka: told by the command, told again, and asked for by a rule."""

from __future__ import annotations

import asyncio
import json
from datetime import date
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from engine.cli import main
from engine.stream.clients import Cluster
from projections import segments
from projections.reading import ask_file
from projections.segments import changes, publish
from tests.kafka.deployment import Deployment, purchase, until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

PROGRAMME = Path(__file__).parent / "programmes" / "segments"
ASKED = "select rule_id from points_entries where fact_id = 'back' order by rule_id"


async def test_a_rule_wins_back_who_is_about_to_leave(cluster: Cluster, prefix: str, tmp_path: Path) -> None:
    """Given a regular who fell silent, when segments are told twice over, then every change is one fact, the second time there
    is nothing to tell, and a rule that asks for churn-risk answers his next purchase."""
    db = tmp_path / "t.duckdb"
    past = [purchase(f"p{n}", "anna", when=f"2026-01-{1 + 3 * n:02}T10:00:00+01:00") for n in range(8)]
    past += [purchase("q", "bert", when="2026-07-02T10:00:00+02:00")]
    back = purchase("back", "anna", when="2026-07-02T12:00:00+02:00")
    with Deployment(cluster, prefix, partitions=2, programme=PROGRAMME) as shop:
        worker = shop.start()
        await shop.ready(worker)
        await shop.publish(past)
        await shop.everything_decided(past)
        projector = shop.project(db)
        await until("the tables hold the past", lambda: asyncio.to_thread(_holds, db, "from purchases", len(past)))
        wanted = await asyncio.to_thread(changes, db, _day(), 90)
        first = await told(shop, db)
        await until("they are facts", lambda: asyncio.to_thread(_holds, db, _SEGMENTS, len(wanted)))
        second = await told(shop, db)
        await publish(cluster, shop.topic("shop-events"), wanted)
        await until("they are duplicates", lambda: asyncio.to_thread(_holds, db, _DUPLICATES, len(wanted)))
        await shop.publish([back])
        await shop.everything_decided([back])
        await until("the tables hold the answer", lambda: asyncio.to_thread(_holds, db, ASKED, 2))
        projector.end()
        worker.end()

    assert json.loads(first.stdout)["changes"]
    assert json.loads(second.stdout)["changes"] == []
    assert [row[0] for row in ask_file(db, ASKED).all_rows()] == ["spend", "win-back"]


_SEGMENTS = "from facts where type = 'stammgast.segment.v1'"
_WHO = "select member_id, fact_id from facts where type = 'stammgast.segment.v1'"
_DUPLICATES = "from decisions where type = 'stammgast.segment.v1' and outcome = 'duplicate'"


def _day() -> date:

    return date(2026, 7, 1)


async def told(shop: Deployment, db: Path) -> Result:
    """Run `stammgast segments` against the deployment."""
    where = ["--bootstrap", shop.cluster.bootstrap, "--topic-prefix", shop.prefix, "--db", str(db), "--json"]
    result = await asyncio.to_thread(CliRunner().invoke, main, ["segments", *where])
    assert result.exit_code == 0, result.output
    return result


def _holds(db: Path, question: str, rows: int) -> bool:
    if not db.with_name(f"{db.name}.endpoint").exists():
        return False
    return len(list(ask_file(db, question).all_rows())) == rows


async def test_the_loop_tells_each_day_that_is_due_and_outlives_trouble(
    cluster: Cluster, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given what `projector --segments-every-days 1` runs beside itself, when there is no file yet, then it waits; when a day is
    over, then its changes are facts, once; when a later day is over, then what has changed since."""
    monkeypatch.setattr(segments, "LOOK_S", 0.3)
    db, stop = tmp_path / "t.duckdb", asyncio.Event()
    first = [purchase(f"p{n}", "anna", when=f"2026-01-{1 + 3 * n:02}T10:00:00+01:00") for n in range(8)]
    first += [purchase("q", "bert", when="2026-01-28T10:00:00+01:00")]
    later = [purchase("r", "bert", when="2026-07-02T10:00:00+02:00")]  # anna has been silent for five months
    with Deployment(cluster, prefix, partitions=2, programme=PROGRAMME) as shop:
        topic = shop.topic("shop-events")
        loop = asyncio.create_task(segments.keep_publishing(cluster, db, topic, 1, 90, stop))
        worker = shop.start()
        await shop.ready(worker)
        await shop.publish(first)
        await shop.everything_decided(first)
        projector = shop.project(db)
        await until("the first day is told", lambda: asyncio.to_thread(_told_of, db, "anna"), 120)
        before = await asyncio.to_thread(_told_of, db, "anna")
        await shop.publish(later)
        await until("the later day is told", lambda: asyncio.to_thread(_is_at_risk, db, "anna"), 120)
        after = await asyncio.to_thread(_told_of, db, "anna")
        running = not loop.done()
        stop.set()
        await loop
        projector.end()
        worker.end()

    assert running, "the loop ended by itself"
    assert set(before) < set(after)
    assert len(after) == len(set(after)), f"a change was told twice: {after}"
    assert not list(ask_file(db, _DUPLICATES).all_rows())


def _told_of(db: Path, member: str) -> list[str]:
    """Ids of the segment facts of a member; none as long as nobody can be asked."""
    if not db.with_name(f"{db.name}.endpoint").exists():
        return []
    return [fact_id for who, fact_id in ask_file(db, _WHO).all_rows() if who == member]


def _is_at_risk(db: Path, member: str) -> bool:
    return any("churn-risk" in fact_id for fact_id in _told_of(db, member))
