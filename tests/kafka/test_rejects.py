"""`stammgast rejects` on a real Kafka with a real worker: listed, shown, sent back, and points moved once."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from engine.cli import main
from engine.stream.clients import Cluster
from schemas.decisions import Decision
from tests.kafka.deployment import Deployment, until
from tests.kafka.harness import read_all
from tests.kafka.poured import pour
from tests.kafka.test_verify import verified
from tests.unit.test_rejects import NAIVE
from tests.unit.verify_history import history

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]


async def asked(cluster: Cluster, prefix: str, *arguments: object) -> Result:
    """Run a verb of `rejects`, in a thread because it starts an event loop of its own."""
    verb, *rest = map(str, arguments)
    where = ["rejects", verb, "--bootstrap", cluster.bootstrap, "--topic-prefix", prefix]
    result = await asyncio.to_thread(CliRunner().invoke, main, [*where, *rest])
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    return result


async def answered(cluster: Cluster, prefix: str, *arguments: object) -> Any:
    """What a verb of `rejects` answers in JSON; it must succeed."""
    result = await asked(cluster, prefix, *arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


async def decisions_on(shop: Deployment, fact_id: str) -> list[Decision]:
    """Every decision on facts of this id."""
    return [decision for decision in await shop.decisions() if decision.fact_id == fact_id]


async def test_a_quarantined_fact_is_sent_back_and_moves_points_once(cluster: Cluster, prefix: str) -> None:
    """Given a fact that an older engine quarantined, when it is sent back twice, then the first moves points as foretold,
    the second is a duplicate, rejects says when it was sent, and the logs are proven all along."""
    # given
    await pour(cluster, history(prefix=prefix))
    with Deployment(cluster, prefix, partitions=2) as shop:
        await shop.ready(shop.start())
        listed = await answered(cluster, prefix, "list")
        counts = await answered(cluster, prefix, "list", "--by", "reason")
        shown = await asked(cluster, prefix, "show", "poison")

        # when
        looked = await asked(cluster, prefix, "redrive", "poison")
        before = await decisions_on(shop, "poison")
        foretold = await answered(cluster, prefix, "redrive", "poison", "--yes")
        await until("decided", lambda: _so_many(shop, "poison", 2))
        twice = await asked(cluster, prefix, "redrive", "poison", "--yes")
        again = await asked(cluster, prefix, "redrive", "poison", "--yes", "--again")
        await until("decided again", lambda: _so_many(shop, "poison", 3))
        proven, report = await verified(cluster, prefix)

        # then
        made = await decisions_on(shop, "poison")
    after = await answered(cluster, prefix, "list", "--reason", "quarantined")
    assert Counter(one["reason"] for one in listed) == counts
    assert counts == {"quarantined": 2, "id_reused": 1, "too_late_to_deduplicate": 1}
    assert '"id": "poison"' in shown.stdout
    assert "upgrade the engine" in shown.stdout
    assert [looked.exit_code, len(before)] == [0, 1]
    assert "--yes sends 1 of 1" in looked.output
    assert [one.outcome for one in made] == ["quarantined", "decided", "duplicate"]
    (effect,) = [one["effect"] for one in foretold]
    moved = [(entry.rule_id, entry.points) for one in made for entry in one.entries]
    assert [tuple(entry) for entry in effect["entries"]] == moved
    assert moved
    assert (twice.exit_code, "duplicate" in twice.output) == (1, True)
    assert (again.exit_code, "1 of 1 records sent back" in again.output) == (0, True), again.output
    assert proven.exit_code == 0, proven.output
    assert report["quarantined"] == 2
    assert [bool(one["redriven"]) for one in after if one["id"] == "poison"] == [True]


async def _so_many(shop: Deployment, fact_id: str, count: int) -> bool:
    return len(await decisions_on(shop, fact_id)) >= count


async def test_a_refused_event_is_mended_and_sent_back(cluster: Cluster, prefix: str, tmp_path: Path) -> None:
    """Given an event without an offset, when it is sent back as it is, then nothing is sent; mended, it is decided, with its
    own key and headers."""
    mended = tmp_path / "mended.jsonl"
    mended.write_text(json.dumps(NAIVE | {"time": "2026-02-02T10:00:00+01:00"}))
    short = tmp_path / "short.jsonl"
    short.write_text("")
    with Deployment(cluster, prefix, partitions=1) as shop:
        await shop.ready(shop.start())
        await shop.publish([json.dumps(NAIVE).encode()])

        async def refused() -> bool:
            return bool(await read_all(cluster, shop.topic("rejects")))

        await until("refused", refused)

        plain = await asked(cluster, prefix, "redrive", "--reason", "naive_time", "--yes")
        wrong = await asked(cluster, prefix, "redrive", "naive", "--yes", "--mended", short)
        sent = await asked(cluster, prefix, "redrive", "naive", "--yes", "--mended", mended)
        await until("decided", lambda: _so_many(shop, "naive", 1))
        (decision,) = await decisions_on(shop, "naive")
        inbound = await read_all(cluster, shop.topic("shop-events"))

    assert (plain.exit_code, "would be refused again: naive_time" in plain.output) == (1, True), plain.output
    assert (wrong.exit_code, "0 events and 1 records" in wrong.output) == (2, True)
    assert sent.exit_code == 0, sent.output
    assert "anna 0 -> " in sent.output
    assert (decision.outcome, decision.member_id) == ("decided", "anna")
    assert [record.key for record in inbound] == [b"till-7", b"till-7"]
    assert dict(inbound[1].headers) == {"trace": b"t1", "stammgast-redriven": b"0:0"}


WRONG: list[tuple[tuple[Any, ...], int, str]] = [
    (("redrive",), 2, "say which records"),
    (("redrive", "nobody"), 1, "no such record"),
    (("show", "9:9"), 1, "no record 9:9"),
    (("list", "--reason", "bad_luck"), 2, "no such reason"),
    (("redrive", "--all", "--inbound", "facts=*"), 2, "--inbound"),
]


async def test_wrong_usage_is_one_clear_message(cluster: Cluster, prefix: str) -> None:
    """Given nothing refused that fits, or conditions that cannot be, then the exit code is the documented one."""
    nothing = await asked(cluster, prefix, "list")
    await pour(cluster, history(prefix=prefix))

    answers = [await asked(cluster, prefix, *arguments) for arguments, _, _ in WRONG]

    assert nothing.exit_code == 2
    assert [one.exit_code for one in answers] == [code for _, code, _ in WRONG]
    for answer, (_, _, says) in zip(answers, WRONG, strict=True):
        assert says in answer.output
