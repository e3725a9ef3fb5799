"""`stammgast verify` on a real Kafka: good logs are proven while the system runs, planted damage is found, exit code 1."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete
from click.testing import CliRunner, Result

from engine.cli import main
from engine.stream.clients import Cluster
from tests.kafka.deployment import Deployment, event, purchases, until
from tests.kafka.poured import pour
from tests.projections.test_verify_tables import EDITS, edit
from tests.unit import test_verify as damages
from tests.unit.verify_history import history, index_of
from tests.unit.written_logs import WrittenLogs

pytestmark = pytest.mark.timeout(300)


async def verified(cluster: Cluster, prefix: str, *arguments: object) -> tuple[Result, dict[str, Any]]:
    """Run the verb, in a thread because it starts an event loop of its own; returns its result and its report."""
    where = ["verify", "--bootstrap", cluster.bootstrap, "--topic-prefix", prefix, "--json"]
    result = await asyncio.to_thread(CliRunner().invoke, main, [*where, *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    return result, json.loads(result.stdout) if result.stdout.startswith("{") else {}


async def test_good_logs_are_proven_on_either_broker(any_cluster: Cluster, prefix: str, tmp_path: Path) -> None:
    """Given logs with everything in them, then all is counted, exit code 0, and the report serves as the next anchor."""
    # given
    logs = history(partitions=3, prefix=prefix)
    await pour(any_cluster, logs)

    # when
    result, report = await verified(any_cluster, prefix)
    anchor = tmp_path / "report.json"
    anchor.write_text(result.stdout)
    again, _ = await verified(
        any_cluster, prefix, "--anchor", anchor, "--sample", "50%", "--since", "2020-01-01T00:00:00Z"
    )

    # then
    assert (result.exit_code, again.exit_code) == (0, 0), result.output + again.output
    assert report["proven"]
    assert report["facts"] == report["compared"] == sum(map(len, logs.topics["facts"]))
    assert (report["refused"], report["quarantined"], report["errors"], report["warnings"]) == (4, 2, 0, 0)


def changed_byte(logs: WrittenLogs) -> None:
    """One byte of one value; its link was made from the right one."""
    partition, index = index_of(logs, "p3-emma")
    value = logs.values(partition)[index]
    logs.replace("points-log", partition, index, value=value.replace(b'"decided"', b'"decidec"'))


PLANTED = {
    "doubled": (damages.doubled, {"decision_doubled": 1}),
    "changed byte": (changed_byte, {"chain_broken": 1, "decision_differs": 1}),
    "wrong link": (damages.link_changed, {"chain_broken": 1}),
    "missing reject": (damages.reject_gone, {"reject_missing": 1}),
    "invented award": (damages.derived_invented, {"derived_unannounced": 1}),
}


@pytest.mark.kafka
@pytest.mark.parametrize("name", PLANTED)
async def test_planted_damage_is_found(cluster: Cluster, prefix: str, name: str) -> None:
    """Given one thing wrong in a real log, then it is named with its place, exit code 1."""
    # given
    plant, counts = PLANTED[name]
    logs = history(prefix=prefix)
    plant(logs)
    await pour(cluster, logs)

    # when
    result, report = await verified(cluster, prefix)

    # then
    assert result.exit_code == 1, result.output
    assert report["counts"] == counts
    assert {one["topic"] for one in report["findings"]} <= {f"{prefix}facts", f"{prefix}points-log"}


@pytest.mark.kafka
async def test_a_system_that_runs_is_proven_again_and_again(cluster: Cluster, prefix: str, tmp_path: Path) -> None:
    """Given worker and projector at work while verify reads, referrals across partitions included, then it is proven each
    time, and in the end the file that the projector holds has every row."""
    db = tmp_path / "t.duckdb"
    referrals = [event(f"r{n}", "referral", f"m{n:03d}", {"referrer": f"m{n + 25:03d}"}) for n in range(25)]
    with Deployment(cluster, prefix, partitions=3) as shop:
        await shop.ready(shop.start())
        projector = shop.project(db)
        await until("the file is served", lambda: asyncio.to_thread(db.with_name(f"{db.name}.endpoint").exists))
        told = referrals + purchases(1_000)
        publishing = asyncio.create_task(shop.publish(told))
        seen: list[int] = []
        while not seen or seen[-1] < len(told) + 25 + 6:
            result, report = await verified(cluster, prefix, "--db", db)
            assert result.exit_code == 0, result.output
            seen.append(min(report["compared"], report["tables"]["decisions"]))
        await publishing
        assert projector.process.poll() is None

    assert report["undecided"] == 0
    assert report["derived"] == 25
    assert report["unchained"] == 0
    assert report["linked"] == report["decisions"]


@pytest.mark.kafka
async def test_a_changed_row_of_a_real_file_is_found(cluster: Cluster, prefix: str, tmp_path: Path) -> None:
    """Given good logs and a file whose projector has ended, when one entry's points are changed in it, then the row and the
    member are shown with what was expected; a file of other logs is wrong usage."""
    # given
    db, logs = tmp_path / "t.duckdb", history(prefix=prefix)
    await pour(cluster, logs)
    with Deployment(cluster, prefix, partitions=2) as shop:
        projector = shop.project(db)

        async def loaded() -> bool:
            result, report = await verified(cluster, prefix, "--db", db)
            return result.exit_code == 0 and report["tables"]["decisions"] == report["decisions"]

        await until("the file is served", lambda: asyncio.to_thread(db.with_name(f"{db.name}.endpoint").exists))
        await until("everything loaded", loaded)
        assert projector.end() == 0
    edit(db, EDITS["an entry's points"][0])

    # when
    result, report = await verified(cluster, prefix, "--db", db)
    await pour(cluster, history(prefix=f"{prefix}other-"))
    other, _ = await verified(cluster, f"{prefix}other-", "--db", db)

    # then
    assert result.exit_code == 1, result.output
    assert report["counts"] == {"db_row_differs": 1, "db_member_differs": 1}
    row = next(one for one in report["findings"] if one["kind"] == "db_row_differs")
    assert json.loads(row["found"])["points"] == json.loads(row["expected"])["points"] + 1
    assert (row["member"], row["topic"]) == ("emma", f"{db} points_entries")
    assert other.exit_code == 2
    assert "other logs" in other.output


@pytest.mark.kafka
async def test_deleted_records_are_told_apart(cluster: Cluster, prefix: str) -> None:
    """Given that retention deleted refused records, then that is no finding; given that somebody deleted facts, then the
    answer is no, with the place."""
    # given
    logs = history(prefix=prefix)
    await pour(cluster, logs)
    refused = TopicPartition(f"{prefix}rejects", next(n for n, log in enumerate(logs.topics["rejects"]) if log))
    lost = TopicPartition(f"{prefix}facts", 0)

    # when
    async with cluster.admin() as admin:
        await admin.delete_records({refused: RecordsToDelete(before_offset=1)})
        forgotten, report = await verified(cluster, prefix)
        await admin.delete_records({lost: RecordsToDelete(before_offset=2)})
        broken, _ = await verified(cluster, prefix)

    # then
    assert forgotten.exit_code == 0, forgotten.output
    assert (report["refused"], report["refused_expired"]) == (3, 1)
    assert broken.exit_code == 1
    assert f"{lost.topic}/{lost.partition} does not hold offset 0: records were lost" in broken.output


async def test_no_logs_and_no_report_are_wrong_usage(embedded_cluster: Cluster, prefix: str, tmp_path: Path) -> None:
    """Exit code 2, and what to do about it."""
    other = tmp_path / "other.json"
    other.write_text("[]")

    nothing, _ = await verified(embedded_cluster, prefix)
    wrong, _ = await verified(embedded_cluster, prefix, "--anchor", other)
    sample, _ = await verified(embedded_cluster, prefix, "--sample", "0%")

    assert [one.exit_code for one in (nothing, wrong, sample)] == [2, 2, 2]
    assert "--topic-prefix" in nothing.output
    assert "--anchor" in wrong.output
    assert "5%" in sample.output
