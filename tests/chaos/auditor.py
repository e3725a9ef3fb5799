"""The auditor's process: follows the logs and the notices past the proxy from their beginning, and checks everything (audit.py).

`python -m tests.chaos.auditor BOOTSTRAP PREFIX PARTITIONS FOLDER SHOP`. It writes `audit-status.json` into the folder as it goes
on. Once `finish.json` appears there ({"journal": FILE, "db": FILE}) it reads to the end, compares the tables, and writes
`audit.json`. It keeps a file of tables of its own, built from the logs alone.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from hashlib import blake2b
from pathlib import Path
from typing import Any

import duckdb
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from engine.stream.clients import Cluster, KafkaTrouble
from engine.stream.topics import INCENTIVES
from projections.warehouse import DECISIONS, FACTS, REJECTS, Record, Reject, Warehouse, reject_of
from tests.chaos.audit import ZEROS, Across, Findings, PartitionAudit, Stored, chain_of
from tests.chaos.keys import opens_in
from tests.simulation.conservation import Conservation

TOPICS = (FACTS, DECISIONS, REJECTS, INCENTIVES)
APPLY_RECORDS = 20_000
STATUS_S = 2.0
#: The logs have ended when so many looks in a row brought nothing.
IDLE_LOOKS = 4
COMPARE = Path(__file__).with_name("compare.sql")


class Auditor:
    """Reads, checks, tells."""

    def __init__(self, bootstrap: str, prefix: str, partitions: int, folder: Path, shop: str) -> None:
        self.folder, self.prefix = folder, prefix
        self.cluster = Cluster(bootstrap)
        self.findings, self.across = Findings(), Across(partitions)
        self.conservation = Conservation() if shop == "business" else None
        opens = opens_in(folder)
        self.partitions = [
            PartitionAudit(number, self.findings, self.across, self.conservation, opens) for number in range(partitions)
        ]
        self.next = {TopicPartition(prefix + topic, number): 0 for topic in TOPICS for number in range(partitions)}
        self.facts: list[Record] = []
        self.decisions: list[Record] = []
        self.rejects: list[Reject] = []
        self.own = Warehouse.open(folder / "own.duckdb", log_id="audit", commit_records=200_000, threads=1)
        self.checked_tables = 0

    async def run(self) -> None:
        """Follow until told to finish, then judge."""
        idle, told = 0, 0.0
        while idle < IDLE_LOOKS:
            try:
                async with self.cluster.consumer(fetch_max_wait_ms=200) as consumer:
                    consumer.assign(list(self.next))
                    for place, offset in self.next.items():
                        consumer.seek(place, offset)
                    while idle < IDLE_LOOKS:
                        found = await self._step(consumer)
                        idle = 0 if found or not (self.folder / "finish.json").exists() else idle + 1
                        if time.monotonic() > told + STATUS_S:
                            told = time.monotonic()
                            self.tell("audit-status.json")
            except (KafkaError, KafkaTrouble, OSError, TimeoutError):
                await asyncio.sleep(0.5)
        self._judge(json.loads((self.folder / "finish.json").read_text(encoding="utf-8")))
        self.tell("audit.json")

    async def _step(self, consumer: AIOKafkaConsumer) -> int:
        found = 0
        for place, records in (await consumer.getmany(timeout_ms=500, max_records=5_000)).items():
            self.next[place] = records[-1].offset + 1
            found += len(records)
            self._take(str(place.topic).removeprefix(self.prefix), place.partition, records)
        for partition in self.partitions:
            partition.work()
        if len(self.facts) + len(self.decisions) >= APPLY_RECORDS:
            self._apply()
        return found

    def _take(self, topic: str, number: int, records: list[ConsumerRecord]) -> None:
        if topic == REJECTS:
            for record in records:
                self._reject(record)
            return
        if topic == INCENTIVES:
            for r in records:
                self.across.tell(Stored(r.partition, r.offset, r.timestamp, r.key, r.value))
            return
        partition = self.partitions[number]
        kept, side = (self.facts, partition.facts) if topic == FACTS else (self.decisions, partition.log)
        for r in records:
            kept.append(Record(r.partition, r.offset, r.timestamp, r.value))
            side.append(Stored(r.partition, r.offset, r.timestamp, r.key, r.value, chain_of(r.headers)))

    def _reject(self, record: ConsumerRecord) -> None:
        reject = reject_of(record.partition, record.offset, record.timestamp, record.headers)
        self.rejects.append(reject)
        if reject.topic == self.prefix + FACTS and reject.source_partition is not None:
            self.across.rejects[reject.source_partition, reject.source_position or 0] += 1
        self.across.refused_values.add(f"#{blake2b(record.value, digest_size=16).hexdigest()}")

    def _apply(self) -> None:
        self.own.apply(self.facts, self.decisions, self.rejects)
        self.facts, self.decisions, self.rejects = [], [], []

    # ------------------------------------------------------------------------------------------------------ the end

    def _judge(self, finish: dict[str, str]) -> None:
        for partition in self.partitions:
            partition.finish()
        self.across.finish(self.findings)
        self.across.missing(Path(finish["journal"]).read_text(encoding="utf-8").splitlines(), self.findings)
        if self.conservation is not None:
            for finding in self.conservation.findings(partition.ledger for partition in self.partitions):
                self.findings.add("points lost or made between members", finding)
        self._apply()
        while self.own.keep_month_if_due():
            pass
        self.own.close()
        db = Path(finish["db"])
        try:
            with (
                duckdb.connect(str(self.folder / "own.duckdb"), read_only=True) as own,
                duckdb.connect(str(db), read_only=True) as live,
            ):
                self._compare_tables(own, live)
                if self.conservation is None:
                    self._compare_members(live)
        except duckdb.Error as error:
            self.findings.add("tables unlike the log", f"{db.name} cannot be read: {error}")

    def _compare_tables(self, own: duckdb.DuckDBPyConnection, live: duckdb.DuckDBPyConnection) -> None:
        """Every table of the live file holds the same rows as the file that was built from the logs alone."""
        for schema, table in own.execute(statement("tables")).fetchall():
            name = f"{schema}.{table}"
            digest = statement("digest").format(table=name)
            self._compare(name, own.execute(digest).fetchone(), live.execute(digest).fetchone())
        kept = live.execute(statement("kept")).fetchall()
        own.execute(statement("make_kept"))
        for month in kept:
            own.execute(statement("add_kept"), month)
        for table in ("month_ends", "member_months", "month_turns", "points_ends", "member_points", "waiting_lots"):
            name = f"staging.{table}"
            mine = own.execute(statement("kept_digest").format(table=name)).fetchone()
            self._compare(name, mine, live.execute(statement("digest").format(table=name)).fetchone())

    def _compare(self, name: str, mine: object, its: object) -> None:
        self.checked_tables += 1
        if mine != its:
            self.findings.add("tables unlike the log", f"{name}: rows and hash {its}, must be {mine}")

    def _compare_members(self, live: duckdb.DuckDBPyConnection) -> None:
        """Balances, lots and tiers in the tables are those of the naive model."""
        must: dict[str, dict[Any, Any]] = {"balances": {}, "lots": {}, "tiers": {}}
        for partition in self.partitions:
            must["balances"].update(partition.balances())
            must["lots"].update(partition.lots())
            must["tiers"].update(partition.tiers())
        for name, wanted in must.items():
            rows = live.execute(statement(name)).fetchall()
            found = {row[0]: row[1] if len(row) == 2 else tuple(row[1:]) for row in rows}
            for key in wanted.keys() | found.keys():
                if wanted.get(key) != found.get(key):
                    what = f"{name} of {key}: {found.get(key)}, must be {wanted.get(key)}"
                    self.findings.add("members unlike the naive model", what)

    def tell(self, name: str) -> None:
        """Write what is known by now; the file appears whole."""
        report = {
            "facts": sum(partition.answered for partition in self.partitions),
            "behind": sum(len(partition.facts) for partition in self.partitions),
            "members": sum(partition.known for partition in self.partitions),
            "chained": sum(partition.chained for partition in self.partitions),
            "derived": sum(self.across.announced.values()),
            "rejects": len(self.across.refused_values),
            "told": sum(map(len, self.across.told)),
            "notices": dict(self.across.notices),
            "tables": self.checked_tables,
            "outcomes": dict(self.across.outcomes),
            "zeros": {kind: self.findings.counts[kind] for kind in ZEROS},
            "shown": self.findings.shown,
        }
        beside = self.folder / f"{name}.part"
        beside.write_text(json.dumps(report, indent=1), encoding="utf-8")
        beside.replace(self.folder / name)


def statement(name: str) -> str:
    """A statement of compare.sql."""
    text = COMPARE.read_text(encoding="utf-8").partition(f"-- statement: {name}\n")[2]
    return text.partition("\n-- statement:")[0].strip().rstrip(";")


def main() -> None:
    """Entry point."""
    # Millions of facts stay for good, in no cycles: going through them again and again would be most of the work.
    gc.disable()
    bootstrap, prefix, partitions, folder, shop = sys.argv[1:]
    asyncio.run(Auditor(bootstrap, prefix, int(partitions), Path(folder), shop).run())


if __name__ == "__main__":
    main()
