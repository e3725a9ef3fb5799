"""`stammgast verify`: prove on a running system that not one point was lost or doubled, or show what was."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.commands.tick import Moment
from engine.settings import KafkaSecurity, No, UsageError, kafka_security_options, option, options, sentence

if TYPE_CHECKING:
    from engine.ledger.profiles import Opens
    from engine.stream.clients import Cluster
    from engine.verify.audit import Progressed
    from engine.verify.findings import Finding, Severity
    from engine.verify.kafka import KafkaLogs
    from engine.verify.report import Report
    from engine.verify.scope import Scope
    from engine.verify.tables import FileTables

_SEVERITIES: tuple[Severity, ...] = ("error", "warning")
Anchors = dict[int, tuple[int, str]]
#: Compares with an older generation: given the logs, the scope, and the report to add to.
Older = Callable[["KafkaLogs", "Scope", "Report"], None]


class Sample(click.ParamType):
    """`5%` of the members, or so many partitions."""

    name = "sample"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, bool]:
        """(ten-thousandths of the members, True) or (partitions, False)."""
        if isinstance(value, tuple):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d{1,2})?)(%?)", str(value))
        if found and found[2] and 0 < float(found[1]) <= 100:
            return round(float(found[1]) * 100), True
        if found and not found[2] and found[1].isdigit() and int(found[1]) > 0:
            return int(found[1]), False
        return self.fail("write a share of the members, like 5%, or a number of partitions, like 2.", param, ctx)


@click.command()
@option("bootstrap", required=True)
@option("db", help="Also compare this DuckDB file with the logs; a projector may hold it.")
@option("topic_prefix")
@click.option(
    "--since",
    "since_us",
    type=Moment(),
    metavar="TIME",
    help="Compare what was recorded from then on; what is older is taken as given. Both logs are still read from their "
    "beginning, because every balance begins there.",
)
@click.option(
    "--sample",
    type=Sample(),
    metavar="PERCENT|N",
    help="Compute only a part again: 5% of the members of every partition, or N partitions; the same ones every time. "
    "Order, chain, rejects and derived facts are checked everywhere.",
)
@click.option(
    "--anchor",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="REPORT",
    help="An earlier --json report: the chain must still lead through its heads, which shows a log that was cut or "
    "written anew.",
)
@click.option(
    "--against",
    metavar="PREFIX",
    help="Also compare every member with the older topics of this prefix, from which `stammgast repartition` made these: facts, "
    "their order, answers, balance, lots, tier. For topics without a prefix write --against ''.",
)
@options("profile_key_file", "profile_keys")
@click.option("--strict", is_flag=True, help="Warnings (an id that members share, a referral loop) count as findings.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@kafka_security_options
def verify(
    *,
    bootstrap: str,
    db: Path | None,
    topic_prefix: str,
    since_us: int | None,
    sample: tuple[int, bool] | None,
    anchor: Path | None,
    against: str | None,
    profile_key_file: Path | None,
    profile_keys: Path | None,
    strict: bool,
    as_json: bool,
    security: KafkaSecurity,
) -> None:
    """Prove the promises of the logs, while the system runs.

    Every fact up to the end of points-log as it is now has one decision, in order, and that decision is byte for byte
    what the fact and the published programmes give. Sums and lots balance, refused records are in rejects, derived facts
    are there once, the chain of hashes holds, and with --db the tables are the fold of the logs. Nothing is written.

    A decision that depends on a profile is decided again where the keys are given and the member was not forgotten; else it
    is taken as it stands and counted.

    Exit codes: 0 proven, 1 something was found (the first findings of each kind are printed in full), 2 wrong usage.
    """
    from engine.ledger.member import CLOSED
    from engine.stream.clients import Cluster
    from engine.vault.vault import vault_of

    anchors = {} if anchor is None else _anchors(anchor)
    vault = vault_of(profile_key_file, profile_keys)
    older = None if against is None else partial(_compare, Cluster(bootstrap, security), against)
    opens = vault.opens(gone=CLOSED)
    report = _run(bootstrap, security, db, topic_prefix, _scope(since_us, sample), anchors, opens, older)
    click.echo(json.dumps(report.as_json(strict=strict), indent=2) if as_json else in_words(report, strict=strict))
    if not report.proven(strict=strict):
        raise SystemExit(1)


def _scope(since_us: int | None, sample: tuple[int, bool] | None) -> Scope:
    from engine.verify.scope import Scope

    since_ms = None if since_us is None else since_us // 1_000
    if sample is None:
        return Scope(since_ms=since_ms)
    number, of_members = sample
    return Scope(since_ms, share=number) if of_members else Scope(since_ms, sampled=number)


def _anchors(path: Path) -> Anchors:
    """The heads of an earlier report."""
    try:
        heads: Mapping[str, Mapping[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["heads"]
        return {int(number): (int(head["offset"]), str(head["link"])) for number, head in heads.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"--anchor {path}: this is no report of `stammgast verify --json` ({error}).") from error


def _run(
    bootstrap: str,
    security: KafkaSecurity,
    db: Path | None,
    prefix: str,
    scope: Scope,
    anchors: Anchors,
    opens: Opens,
    older: Older | None,
) -> Report:
    from aiokafka.errors import KafkaError

    from engine.stream.clients import Cluster, KafkaTrouble, LogEndsEarlier
    from engine.stream.programmes import UnreadableVersion
    from engine.tuning import expect_a_large_calm_heap
    from engine.verify.audit import verify as audit
    from engine.verify.kafka import KafkaLogs
    from engine.verify.report import Report

    began = time.monotonic()
    expect_a_large_calm_heap()
    try:
        with KafkaLogs(Cluster(bootstrap, security), prefix) as logs, _bar(logs.ends) as progressed:
            report = Report(logs.partitions)
            with _tables(db, logs, scope, report) as tables:
                audit(
                    logs,
                    logs.programmes(),
                    scope=scope,
                    anchors=anchors,
                    tables=tables,
                    report=report,
                    progressed=progressed,
                    opens=opens,
                )
            if older is not None:
                older(logs, scope, report)
    except (LogEndsEarlier, UnreadableVersion) as error:
        raise No(sentence(error)) from error
    except KafkaTrouble as error:
        raise UsageError(sentence(error)) from error
    except KafkaError as error:
        raise No(
            f"Kafka at {bootstrap} stopped answering: {error or type(error).__name__}. Nothing is proven."
        ) from error
    report.seconds = time.monotonic() - began
    return report


def _compare(cluster: Cluster, against: str, logs: KafkaLogs, scope: Scope, report: Report) -> None:
    """Hold these logs to the older ones they were copied from."""
    from dataclasses import asdict

    from engine.verify.generations import compare

    done = logs.run(compare(cluster, against, logs.prefix, logs.programmes(), scope, report.findings))
    report.against = asdict(done)


@contextmanager
def _tables(db: Path | None, logs: KafkaLogs, scope: Scope, report: Report) -> Iterator[FileTables | None]:
    """The file, if one is named. It is asked before the logs' ends are: a projector that goes on is never ahead of them."""
    if db is None:
        yield None
        return
    from engine.verify.tables import FileTables
    from projections import evidence

    known = evidence.log_id(db)
    if known != logs.log_id:
        raise UsageError(
            f"{db} was built from other logs (id {known}, these are {logs.log_id}): name the file of these logs with --db, "
            "or the right --topic-prefix."
        )
    with FileTables(db, logs.partitions, scope, report) as tables:
        logs.look()
        tables.check_ends(logs.ends)
        yield tables


@contextmanager
def _bar(ends: Mapping[int, tuple[int, int]]) -> Iterator[Progressed]:
    """A bar over the points log, on a terminal only."""
    if not sys.stderr.isatty():
        yield lambda _partition, _offset: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    before = {number: sum(ends[other][1] for other in ends if other < number) for number in ends}
    columns = (TextColumn("verify, partition {task.fields[partition]}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("verify", total=sum(end for _, end in ends.values()), partition=0)
        yield lambda partition, offset: bar.update(task, completed=before[partition] + offset, partition=partition)


# ------------------------------------------------------------------------------------------------------------ in words


def in_words(report: Report, *, strict: bool = False) -> str:
    """The report for people: findings first, then what was checked, the answer last."""
    parts = [_finding(number, one) for number, one in enumerate(report.findings.first, 1)]
    hidden = sum(report.findings.counts.values()) - len(report.findings.first)
    if hidden:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(report.findings.counts.items()))
        parts.append(f"... and {hidden:,} more; in all {kinds}.")
    return "\n\n".join([*parts, _checked(report), _answer(report, strict)])


def _finding(number: int, one: Finding) -> str:
    from engine.verify.findings import KINDS

    kind = KINDS[one.kind]
    place = one.topic
    if one.partition is not None:
        place += f"[{one.partition}]"
    if one.offset is not None:
        place += f" offset {one.offset}"
    rows = {
        "what": f"{kind.means}: {one.says}",
        "fact": one.fact,
        "member": one.member,
        "expected": one.expected,
        "found": one.found,
        "go on": kind.go_on,
    }
    told = [f"   {name:<9} {_indented(text)}" for name, text in rows.items() if text]
    return "\n".join([f"{number}. {kind.severity} {one.kind} at {place}", *told])


def _indented(text: str) -> str:
    return text.replace("\n", "\n" + " " * 13)


def _checked(report: Report) -> str:
    told = [
        f"{report.decisions:,} records of points-log in {report.partitions} partitions, {report.compared:,} decided again",
        f"{report.facts:,} facts, {report.undecided:,} of them undecided, {report.quarantined:,} quarantined",
        f"{report.members:,} members, {report.entries:,} entries, {report.points:,} points",
        f"{report.derived:,} facts that follow from decisions",
        f"{report.refused:,} refused records in rejects, {report.refused_expired:,} more expired there",
        f"{report.linked:,} links of the chain ({report.unchained:,} records from before it)",
    ]
    if report.as_given:
        told.insert(
            1,
            f"{report.as_given:,} decisions taken as they stand: they depend on profiles that do not open here, because the "
            "member was forgotten or this run has no keys; their place, chain and sums are checked all the same",
        )
    if report.tables is not None:
        told.append("DuckDB: " + ", ".join(f"{count:,} {table}" for table, count in report.tables.items()))
    if report.against is not None:
        one = report.against
        told.append(
            f"{one['members']:,} members with {one['points']:,} points and {one['facts']:,} facts held to the older topics"
        )
    return "Checked:\n" + "\n".join(f"   {line}" for line in told)


def _answer(report: Report, strict: bool) -> str:
    errors, warnings = (_count(report.findings.count(kind), kind) for kind in _SEVERITIES)
    took = f"in {report.seconds:.1f} s"
    if not report.proven(strict=strict):
        return f"Not proven: {errors}, {warnings}, {took}."
    return f"Proven {took}, with {warnings} to look at." if report.findings.counts else f"Proven {took}."


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
