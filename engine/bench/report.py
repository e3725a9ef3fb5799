"""A report as tables for people; scripts take `--json`."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from engine.bench import data
from engine.bench.figures import Goal, Report
from engine.bench.jobs import PARTITIONS
from engine.bench.offline import FEW_FACTS

STEPS = ("whole", "whole_cpu", "json", "parse", "decide", "evolve", "encode", "normalise", "encode_fact")
#: measurement -> (what its records are, the measurement it is compared with)
RATES = {
    "rewards product": ("facts/s", None),
    "rewards product, interpreted": ("facts/s", "rewards product"),
    "rewards bare": ("facts/s", "rewards product"),
    "rewards idiomatic": ("facts/s", "rewards product"),
    "intake product": ("events/s", None),
    "intake bare": ("events/s", "intake product"),
    "replay": ("facts/s", None),
    "replay, interpreted": ("facts/s", "replay"),
    "projector": ("decisions/s", None),
    "cost none": ("facts/s", None),
    "cost chain": ("facts/s", "cost none"),
    "cost all": ("facts/s", "cost none"),
    "peers worker": ("facts/s", None),
    "quix exactly-once": ("facts/s", "peers worker"),
    "quix exactly-once, state kept": ("facts/s", "peers worker"),
    "quix at-least-once": ("facts/s", "peers worker"),
    "bytewax": ("facts/s", "peers worker"),
}
CORES = {
    "core": "two lines",
    "core, every feature": "two lines, every feature",
    "core, gift shop": "gift shop, 20 lines",
}
TITLES = {
    "rewards product": "rewards: worker",
    "rewards product, interpreted": "  with the core interpreted",
    "rewards bare": "  bare aiokafka loop",
    "rewards idiomatic": "  idiomatic Faust",
    "intake product": "intake: worker",
    "intake bare": "  bare aiokafka loop",
    "replay": "replay of a file",
    "replay, interpreted": "  with the core interpreted",
    "projector": "projector",
    "cost none": "no chain, no snapshots",
    "cost chain": "  with the chain",
    "cost all": "  and with snapshots",
    "peers worker": "rewards: worker",
    "quix exactly-once": "  Quix, exactly-once",
    "quix exactly-once, state kept": "  ... and state kept",
    "quix at-least-once": "  Quix, at-least-once",
    "bytewax": "  Bytewax",
}


def show(report: Report, console: Console) -> None:
    """Print everything that was measured."""
    for table in _tables(report):
        console.print(table)
    for line in _remarks(report):
        console.print(line, highlight=False)


def _tables(report: Report) -> Iterator[Table]:
    if "core" in report.runs:
        yield _core(report)
    if any(name in report.runs for name in RATES):
        yield _rates(report)
    if "latency" in report.runs:
        yield _latency(report)
    if "gateway product" in report.runs:
        yield _gateway(report)
    if "memory" in report.runs:
        yield _memory(report)
    if "moments" in report.runs:
        yield _moments(report)
    if "recovery" in report.runs:
        yield _recovery(report)
    if "scale 1" in report.runs:
        yield _scale(report)
    if profile := report.conditions.get("profile"):
        yield _profile(profile)
    if goals := report.goals():
        yield _goals(goals)


def _table(title: str, first: str, *others: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right")
    return table


def _core(report: Report) -> Table:
    table = _table("Core, microseconds per fact", "purchases", *STEPS)
    for name, title in CORES.items():
        for run, how in ((name, report.conditions.get("core")), (f"{name}, interpreted", "interpreted")):
            if run in report.runs:
                table.add_row(f"{title}, {how}", *(f"{report.figure(run, step):.1f}" for step in STEPS))
    return table


def _rates(report: Report) -> Table:
    table = _table("Rates, medians", "", "per second", "slowest", "fastest", "CPU us each", "ratio")
    for name, (unit, other) in RATES.items():
        if name in report.runs:
            rates = [run.rate for run in report.runs[name]]
            ratio = f"{report.ratio(other, name):.2f}" if other in report.runs and other else ""
            median = f"{statistics.median(rates):,.0f} {unit}"
            cpu = f"{report.figure(name, 'cpu_us'):.0f}" if "cpu_us" in report.runs[name][0].figures else ""
            table.add_row(TITLES[name], median, f"{min(rates):,.0f}", f"{max(rates):,.0f}", cpu, ratio)
    if "replay" in report.runs and "steady" in report.runs["replay"][0].figures:
        rates = [run.figures["steady"] for run in report.runs["replay"]]
        median = f"{statistics.median(rates):,.0f} facts/s"
        table.add_row("  beyond its first facts", median, f"{min(rates):,.0f}", f"{max(rates):,.0f}", "", "")
    if "projector" in report.runs:
        rates = [run.figures["with_facts"] for run in report.runs["projector"]]
        median = f"{statistics.median(rates):,.0f} decisions/s"
        table.add_row("  facts loaded beside", median, f"{min(rates):,.0f}", f"{max(rates):,.0f}", "", "")
    return table


def _latency(report: Report) -> Table:
    title = f"Purchase acknowledged by Kafka -> visible in DuckDB, at {report.rate('latency'):,.0f} events/s"
    table = _table(title, "", "p50", "p99", "slowest", "p50 to intake", "to projector", "to DuckDB")
    names = ("p50_ms", "p99_ms", "max_ms", "until_taken_ms", "until_applied_ms", "until_shown_ms")
    table.add_row("milliseconds", *(f"{report.figure('latency', name):,.0f}" for name in names))
    return table


def _gateway(report: Report) -> Table:
    table = _table(
        "Over HTTP, 32 publishers at once or 4 tills; milliseconds", "", "per second", "p50", "p99", "slowest", "ratio"
    )
    titles = {
        "gateway product": "POST /events, gateway",
        "gateway bare": "POST /events, bare Starlette handler",
        "gateway members": "GET /members/KEY, gateway",
    }
    for name, title in titles.items():
        waits = [f"{report.figure(name, figure):.1f}" for figure in ("p50_ms", "p99_ms", "max_ms")]
        ratio = f"{report.ratio('gateway product', name):.2f}" if name == "gateway bare" else ""
        table.add_row(title, f"{report.rate(name):,.0f}", *waits, ratio)
    return table


def _moments(report: Report) -> Table:
    columns = (
        "off",
        "on",
        "ratio",
        "off, profiles",
        "on, profiles",
        "ratio",
        "bytes, shared moment",
        "bytes, own moment",
    )
    table = _table(
        "Moments of the coffee bar, CPU microseconds a purchase; bytes more a member who waits", "core", *columns
    )
    for name, how in (("moments", str(report.conditions.get("core"))), ("moments, interpreted", "interpreted")):
        if name in report.runs:
            told = [report.figure(name, key) for key in ("off", "on", "ratio")]
            told += [report.figure(name, f"{key}_profiles") for key in ("off", "on", "ratio")]
            sizes = [report.figure(name, key) for key in ("bytes_shared", "bytes_own")]
            figures = [f"{one:.2f}" if place % 3 == 2 else f"{one:.1f}" for place, one in enumerate(told)]
            table.add_row(how, *figures, *(f"{size:,.0f}" for size in sizes))
    return table


def _memory(report: Report) -> Table:
    members = report.runs["memory"][0].records
    title = f"Memory of {members:,} members with {data.FACTS_PER_MEMBER} facts each"
    table = _table(title, "", "bytes a member", "packed state", "unpacked members", "taken in")
    figures = [f"{report.figure('memory', name):,.0f}" for name in ("bytes", "packed", "live")]
    table.add_row("growth of the process", *figures, f"{report.rate('memory'):,.0f}/s")
    return table


def _recovery(report: Report) -> Table:
    decisions = report.runs["recovery"][0].records
    table = _table(
        f"A worker opens {PARTITIONS} partitions of {decisions:,} decisions", "", "seconds", "slowest", "folded"
    )
    for name, title in (("recovery", "from checkpoints"), ("recovery from the start", "from the logs alone")):
        seconds = [run.seconds for run in report.runs[name]]
        folded = f"{report.figure(name, 'folded'):,.0f}"
        table.add_row(title, f"{statistics.median(seconds):.2f}", f"{max(seconds):.2f}", folded)
    return table


def _scale(report: Report) -> Table:
    """The last column says what limits it: with all cores busy, more workers have nothing to run on."""
    table = _table(
        f"Rewards hop with several workers on {PARTITIONS} partitions",
        "workers",
        "facts/s",
        "speed-up",
        "CPU us each",
        "cores busy",
    )
    for name in (name for name in report.runs if name.startswith("scale ")):
        ratio, busy = report.ratio(name, "scale 1"), report.figure(name, "busy")
        workers, cpu = f"{report.figure(name, 'workers'):.0f}", f"{report.figure(name, 'cpu_us'):.0f}"
        table.add_row(workers, f"{report.rate(name):,.0f}", f"{ratio:.2f}", cpu, f"{busy:.0%}")
    return table


def _profile(profile: dict[str, float]) -> Table:
    table = _table("Where the worker's main thread is during the rewards hop", "step", "share")
    for step, share in sorted(profile.items(), key=lambda pair: -pair[1]):
        table.add_row(step, f"{share:.1%}")
    return table


def _goals(goals: list[Goal]) -> Table:
    table = _table("Goals", "", "measured", "goal", "")
    for goal in goals:
        sign = ">=" if goal.at_least else "<="
        digits = ",.0f" if goal.value >= 1_000 else ".2f"
        measured = f"{goal.value:{digits}} {goal.unit}"
        table.add_row(goal.name, measured, f"{sign} {goal.goal:,g}", "reached" if goal.met else "missed")
    return table


def _remarks(report: Report) -> Iterator[str]:
    conditions = report.conditions
    packages = ", ".join(f"{name} {number}" for name, number in conditions["packages"].items())
    yield (
        f"{conditions['runs']} runs each on {conditions['cores']} cores ({conditions['machine']}), Python "
        f"{conditions['python']}, core {conditions['core']}, {packages}."
    )
    yield (
        f"{conditions['facts']:,} purchases of invented members ({conditions['facts_offline']:,} for replay and projector), "
        f"seed {conditions['seed']}, programme "
        f"{conditions['programme']}, {conditions['partitions']} partitions."
    )
    if "cost all" in report.runs:
        written = report.figure("cost all", "snapshots") / report.runs["cost all"][0].records
        yield f"While cost was measured, {written:.2f} snapshots were written per decision."
    if "replay" in report.runs and "few_s" in report.runs["replay"][0].figures:
        yield (
            f"A replay of a short file ({FEW_FACTS:,} facts at most) took {report.figure('replay', 'few_s'):.2f} s: processes, "
            "tables and views. The line below replay is the rate of all facts beyond it."
        )
    if "peers" in conditions:
        yield ", ".join(f"{name} {number}" for name, number in conditions["peers"].items()) + "."
    if "broker" in conditions:
        yield f"On {conditions['broker']['says']}."
    yield (
        "A ratio is the first line's rate over this one's: the median of the runs' own ratios, because what is compared ran "
        "right after one another. CPU is the measured process's own, all its threads; replay includes DuckDB."
    )
