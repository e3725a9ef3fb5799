"""The last look: names gathered over all partitions, and for what seems to be missing, what the logs got meanwhile.

A system that runs goes on while it is read. A derived fact that was not there when its partition was read can be there
now; so before anything is called missing, the logs are read on from where they were left.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from engine.stream.topics import FACTS
from engine.verify.findings import Findings
from engine.verify.identities import Derived, Register, Row, derived, digest, reused
from engine.verify.logs import Logs, text_of
from engine.verify.pairing import raw_of
from schemas.envelope import readable

LATE = ("derived_missing", "derived_unannounced")


def settle_names(register: Register, logs: Logs, findings: Findings) -> None:
    """Report reused names and derived facts that are not there exactly once."""
    late: list[Derived] = []
    for rows in register.by_name():
        members = reused(rows)
        if members:
            _tell_reused(members, logs, findings)
        for wrong in derived(rows):
            if wrong.kind in LATE:
                late.append(wrong)
            else:
                _tell_derived(wrong, logs, findings)
    if late:
        came = set(_later_names(logs))
        for wrong in late:
            if wrong.row.name not in came:
                _tell_derived(wrong, logs, findings)


def _later_names(logs: Logs) -> Iterator[bytes]:
    """Names of facts, and of facts that decisions announce, behind what was read before."""
    for partition in range(logs.partitions):
        for record in logs.later_facts(partition):
            if (fact := readable(record.value)) is not None:
                yield digest(fact.source, fact.id)
        for record in logs.later_decisions(partition):
            for one in raw_of(record.value).get("derived", ()):
                yield digest(one["source"], one["id"])


def _tell_reused(rows: list[Row], logs: Logs, findings: Findings) -> None:
    first = rows[0]
    if not findings.wants("id_reused"):
        findings.add("id_reused", "")
        return
    places = ", ".join(_where(row, logs) for row in rows)
    about, fact = _about(first, logs), ""
    if (record := logs.fact_at(first.partition, first.offset)) and (told := readable(record.value)):
        fact = f"{told.source} {told.id}"
    about["fact"] = fact
    findings.add("id_reused", f"{fact} stands for {len(rows)} members: {places}", **about)


def _tell_derived(wrong: Derived, logs: Logs, findings: Findings) -> None:
    if not findings.wants(wrong.kind):
        findings.add(wrong.kind, "")
        return
    record = logs.fact_at(wrong.row.partition, wrong.row.offset)
    fact = None if record is None else readable(record.value)
    about: dict[str, Any] = _about(wrong.row, logs)
    if record is not None and fact is not None:
        about |= {"fact": f"{fact.source} {fact.id}", "member": fact.subject, "found": text_of(record.value)}
    says = {
        "derived_missing": "the decision on this fact announces another one that is in no partition of facts",
        "derived_unannounced": "no decision announces this fact",
        "derived_doubled": "this is one more copy of a fact that was decided already",
        "derived_repeated": "this is one more copy of a fact, answered as a duplicate",
        "derived_differs": "this is not what the decision it follows from gives",
        "derived_too_early": "this stands before the fact it follows from",
    }
    findings.add(wrong.kind, says[wrong.kind], **about)


def _where(row: Row, logs: Logs) -> str:
    return f"{logs.prefix}{FACTS}[{row.partition}] offset {row.offset}"


def _about(row: Row, logs: Logs) -> dict[str, Any]:
    return {"topic": logs.prefix + FACTS, "partition": row.partition, "offset": row.offset}
