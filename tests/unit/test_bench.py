"""The bench without Kafka: what it measures on, how it counts, what it shows. No figure of this machine is asserted."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import FrameType
from typing import Any

import orjson
import pytest
from click.testing import CliRunner
from rich.console import Console

from engine import compiled
from engine.bench import brokers, core, data, latency, memory, moments, offline
from engine.bench.children import MeasurementFailed, measured
from engine.bench.figures import Goal, Report, Run
from engine.bench.jobs import Job, read_job
from engine.bench.report import CORES, show
from engine.bench.sampling import step_of
from engine.bench.stopwatch import Stopwatch
from engine.cli import main
from engine.ledger.partition import Partition
from engine.stream.clients import Cluster
from rules.book import load_directory

NOWHERE = Cluster("localhost:1")


# ---------------------------------------------------------------------------------------------------------------- data


def test_the_same_seed_gives_the_same_purchases() -> None:
    """Figures of two days can be compared: the bytes are the same, and another seed gives others."""
    # when
    one, two, other = (list(data.events(data.TWO_LINES, 50, seed)) for seed in (1, 1, 2))

    # then
    assert one == two
    assert one != other


@pytest.mark.parametrize("shape", [data.TWO_LINES, data.GIFT_SHOP], ids=lambda shape: str(shape.lines))
def test_the_purchases_are_what_they_say(shape: data.Shape) -> None:
    """So many lines each, twenty a member, oldest first, all valid, and nearly all earn points in the newest programme."""
    # given
    count = 400
    versions = data.programmes()
    ledger = data.fresh_ledger(versions)

    # when
    facts = list(data.facts(shape, count))
    decisions = [ledger.answer(fact, ledger.next_offset).decisions[0] for fact in facts]

    # then
    assert {len(fact.data["lines"]) for fact in facts} == {shape.lines}
    assert len({fact.subject for fact in facts}) == count // data.FACTS_PER_MEMBER
    assert [fact.time_us for fact in facts] == sorted(fact.time_us for fact in facts)
    assert Counter(decision.outcome for decision in decisions) == {"decided": count}
    newest = max(versions, key=lambda version: version.valid_from_us)
    assert {decision.programme for decision in decisions} == {newest.hash}
    assert sum(bool(decision.entries) for decision in decisions) > count * 0.9


def test_a_fresh_ledger_knows_every_version_and_nobody() -> None:
    """Two ledgers share nothing, and both begin behind the programme's facts."""
    # given
    versions = data.programmes()

    # when
    one, two = data.fresh_ledger(versions), data.fresh_ledger(versions)
    one.answer(next(data.facts(data.TWO_LINES, 1)), one.next_offset)

    # then
    assert (len(one.members), len(two.members)) == (1, 0)
    assert two.next_offset == len(versions)


# --------------------------------------------------------------------------------------------------------- measurements


def test_core_measures_every_step() -> None:
    """Microseconds of the whole and of each step, all positive; the members' state is thrown away."""
    # when
    run = core.measure(data.TWO_LINES, 200, data.programmes())

    # then
    assert run.records == 200
    assert set(run.figures) == {
        *("whole", "whole_cpu", "json", "parse", "decide", "evolve", "encode", "normalise", "encode_fact"),
    }
    assert all(figure > 0 for name, figure in run.figures.items() if name != "decide")


def test_moments_are_measured_on_and_off() -> None:
    """All of the coffee bar's moments on one side and none on the other; a member who waits for
    a moment of his own takes more bytes."""
    # when
    run, versions = moments.measure(200, 300), moments.programmes()

    # then
    assert (versions["off"].moments, versions["on"].hash) == (None, load_directory(moments.COFFEE_BAR)[0].hash)
    assert run.records == 200
    assert all(run.figures[name] > 0 for name in ("off", "on", "off_profiles", "on_profiles"))
    assert run.figures["ratio"] == run.figures["on"] / run.figures["off"]
    assert run.figures["bytes_own"] > max(50, run.figures["bytes_shared"]), run.figures


def test_replay_is_measured_end_to_end(tmp_path: Path) -> None:
    """Every event of the file comes out as a fact, with the programme's facts and a tick beside them."""
    # given
    file = tmp_path / "events.jsonl"
    offline.write_events(file, data.TWO_LINES, 100)

    # when
    run = offline.replayed(NOWHERE, Job("replay", file=str(file)), _say_nothing)

    # then
    assert run.records >= 100 + len(data.programmes())
    assert run.rate > 0


def test_the_projector_is_measured_with_and_without_facts() -> None:
    """As many decisions as facts are loaded, in two files of their own."""
    # when
    run = offline.projected(NOWHERE, Job("projector", expected=300), _say_nothing)

    # then
    assert run.records == 300
    assert run.figures["with_facts"] > 0


def test_memory_is_measured_in_a_process_that_folded_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """States of folded members are copied under keys of their own; what the process grew by is theirs."""
    # given
    monkeypatch.setattr(memory, "MODELS", 20)
    job = Job("memory", expected=3_000, file=str(tmp_path / "states"))

    # when
    folded = memory.fold(NOWHERE, job, _say_nothing)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
        run = fresh.submit(memory.hold, NOWHERE, job, _say_nothing).result()

    # then
    assert folded.records == 20 * data.FACTS_PER_MEMBER
    assert run.records == 3_000
    assert run.figures["packed"] > 0
    assert run.figures["bytes"] > run.figures["packed"] / 2
    assert 0 < run.figures["live"] <= 3_000


async def test_a_measurement_runs_in_a_process_of_its_own() -> None:
    """A job goes out, a run comes back."""
    # when
    run = await measured(Job("core", expected=100), NOWHERE)

    # then
    assert run.records == 100
    assert run.figures["whole"] > 0


async def test_a_measurement_that_fails_says_why() -> None:
    """The last words of the process are in the error."""
    # when
    with pytest.raises(MeasurementFailed) as failed:
        await measured(Job("core", shape="no such shape", expected=10), NOWHERE)

    # then
    assert "no such shape" in str(failed.value)


async def test_a_measurement_that_takes_too_long_ends_itself() -> None:
    """Nothing can hang: after its limit a process is gone, and the error says so."""
    # when
    with pytest.raises(MeasurementFailed) as failed:
        await measured(Job("core", expected=50_000_000, limit_s=0.2), NOWHERE)

    # then
    assert "out of time" in str(failed.value)


def _say_nothing(_what: dict[str, Any]) -> None:
    """Nobody listens."""


# -------------------------------------------------------------------------------------------------------------- figures


def report_of(**rates: list[float]) -> Report:
    """A report of runs with these rates; underscores stand for blanks."""
    report = Report({"packages": {}, "runs": 1, "cores": 2, "machine": "m", "python": "3", "facts": 1, "seed": 1})
    report.conditions |= {"programme": "p", "partitions": 4, "core": "interpreted", "facts_offline": 5}
    for name, values in rates.items():
        for rate in values:
            report.add(name.replace("_", " "), Run(round(rate * 10), 10.0, {"cpu_us": 1.0}))
    return report


def test_a_ratio_is_the_median_of_the_rounds() -> None:
    """A round in which the machine was slow is slow for both, and does not count against one of them."""
    # given
    report = report_of(rewards_product=[100.0, 20.0, 120.0], rewards_bare=[100.0, 10.0, 240.0])

    # then
    assert report.rate("rewards product") == 100.0
    assert report.ratio("rewards product", "rewards bare") == 1.0


def test_goals_are_those_of_what_was_measured() -> None:
    """At least, or at most; what was not measured has no goal."""
    # given
    report = report_of(
        rewards_product=[500.0],
        rewards_bare=[1000.0],
        rewards_idiomatic=[100.0],
        replay=[25_000.0],
        projector=[99_999.0],
    )
    report.add("core", Run(1, 1.0, {"whole": 25.1}))

    # when
    goals = {goal.name: goal.met for goal in report.goals()}

    # then
    assert goals == {
        "core: parse + decide + evolve + encode": False,
        "rewards: product over idiomatic Faust": True,
        "rewards: product over a bare aiokafka loop": False,
        "offline replay, DuckDB included": True,
        "projector": False,
    }
    assert Goal("x", 24.9, 25.0, at_least=False).met
    assert report_of().goals() == []


def test_what_every_replay_costs_is_told_apart_from_what_each_fact_costs() -> None:
    """Given 11,000 facts in 3 s and 1,000 in 1 s, then a second stands apart and 10,000 more took two."""
    # given
    whole, few = Run(11_000, 3.0), Run(1_000, 1.0)

    # when
    whole.figures |= offline.beyond(whole, few)

    # then
    assert whole.figures == {"few_s": 1.0, "steady": 5_000.0}
    assert offline.beyond(few, whole)["steady"] == 0.0
    console, report = Console(width=140, record=True, file=io.StringIO()), report_of()
    report.add("replay", whole)
    show(report, console)
    text = console.export_text()
    for word in (
        "3,667 facts/s",
        "beyond its first facts",
        "5,000 facts/s",
        "took 1.00 s",
        "(5 for replay and projector)",
    ):
        assert word in text, (word, text)


def test_a_report_travels_as_json() -> None:
    """Runs, medians and goals are plain data."""
    # given
    report = report_of(intake_product=[10.0, 30.0, 20.0], intake_bare=[10.0, 10.0, 10.0])

    # when
    told = json.loads(json.dumps(report.as_json()))

    # then
    assert told["medians"]["intake product"] == {"rate": 20.0, "cpu_us": 1.0}
    assert [run["rate"] for run in told["runs"]["intake product"]] == [10.0, 30.0, 20.0]
    assert told["goals"][0] | {"name": ""} == {
        "name": "",
        "value": 2.0,
        "goal": 0.8,
        "unit": "x",
        "at_least": True,
        "met": True,
    }


def test_the_tables_show_everything_that_was_measured() -> None:
    """Rates with their ratios, latency, profile, goals, conditions."""
    # given
    report = report_of(rewards_product=[8_000.0], rewards_bare=[10_000.0], rewards_idiomatic=[1_000.0])
    report.add("projector", Run(50, 10.0, {"with_facts": 4.0}))
    report.add("core", core.measure(data.TWO_LINES, 20, data.programmes()))
    report.add("latency", Run(1_000, 1.0, latency.percentiles({"a": 0.0}, {"a": (0.01, 0.1, 0.15)})))
    report.add("core, interpreted", core.measure(data.TWO_LINES, 20, data.programmes()))
    report.conditions |= {"profile": {"decide": 0.5, "waiting": 0.5}, "broker": {"says": "a broker of some kind"}}
    report.conditions["core"] = "compiled"
    console = Console(width=120, record=True, file=io.StringIO())

    # when
    show(report, console)

    # then
    text = console.export_text()
    wanted = ("8,000 facts/s", "0.80", "8.00", "150", "50.0%", "missed", "reached", "a broker of some kind")
    for word in (*wanted, "two lines, compiled", "two lines, interpreted"):
        assert word in text, word


def test_percentiles_are_of_the_time_between_acknowledged_and_shown() -> None:
    """p50, p99 and the slowest, in milliseconds."""
    # given
    acknowledged = {str(number): 100.0 for number in range(100)}
    shown = {str(number): (100.002, 100.002, 100.0 + number / 1_000) for number in range(101)}

    # when
    found = latency.percentiles(acknowledged, shown)

    # then
    assert {name: round(value) for name, value in found.items()} == {
        "p50_ms": 50,
        "p99_ms": 99,
        "max_ms": 99,
        "until_taken_ms": 2,
        "until_applied_ms": 0,
        "until_shown_ms": 48,
    }


def test_a_purchase_that_never_showed_is_no_latency() -> None:
    """It is an error that names it."""
    # when
    with pytest.raises(MeasurementFailed) as failed:
        latency.percentiles({"a": 1.0, "b": 1.0}, {"a": (1.0, 1.0, 2.0)})

    # then
    assert "b" in str(failed.value)


def test_a_job_travels_as_one_line() -> None:
    """What the parent writes is what the process reads."""
    # given
    job = Job("rewards bare", prefix="p-", output="p-log", expected=7, transactions=False)

    # then
    assert read_job(job.line()) == job
    assert job.line().count(b"\n") == 1


def test_a_stopwatch_counts_from_the_first_start_to_the_first_stop() -> None:
    """A second start or stop changes nothing; one that was never stopped says nothing."""
    # given
    watch, never = Stopwatch(), Stopwatch()

    # when
    watch.start()
    watch.stop()
    run = watch.run(10, points=3.0)
    watch.start()
    watch.stop()

    # then
    assert watch.run(10, points=3.0) == run
    assert set(run.figures) == {"points", "cpu_us", "thread_us"}
    assert never.run(0).rate == 0.0
    assert not never.stopped


# -------------------------------------------------------------------------------------------------------------- profile


def _frame_in(*names: tuple[str, str]) -> FrameType:
    """The innermost frame of a stack of functions in pretended files, outermost first."""
    found: list[FrameType] = []

    def innermost() -> None:
        found.append(sys._getframe().f_back or sys._getframe())

    call: Callable[[], None] = innermost
    for file, function in reversed(names):
        scope: dict[str, Any] = {"call": call}
        exec(compile(f"def {function}():\n    call()", file, "exec"), scope)  # noqa: S102  frames need code with a name
        call = scope[function]
    call()
    return found[0]


@pytest.mark.parametrize(
    ("stack", "step"),
    [
        ([("x/engine/stream/keeper.py", "_turn"), ("x/engine/ledger/partition.py", "answer")], "decide"),
        ([("x/engine/ledger/partition.py", "answer"), ("x/engine/ledger/partition.py", "recall")], "evolve"),
        ([("x/engine/ledger/partition.py", "answer"), ("x/schemas/money.py", "allot")], "decide"),
        ([("x/engine/stream/keeper.py", "_turn"), ("x/engine/stream/outbox.py", "add")], "append to batches"),
        ([("x/aiokafka/producer/sender.py", "send")], "send and commit"),
        ([("x/mode/services.py", "run"), ("x/aiokafka/consumer/fetcher.py", "fetch")], "Faust and fetching"),
        ([("x/python/selectors.py", "select")], "waiting"),
        ([("x/asyncio/events.py", "_run")], "event loop"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_sample_counts_for_its_innermost_step(stack: list[tuple[str, str]], step: str) -> None:
    """A function that no table names counts for whoever called it."""
    assert step_of(_frame_in(*stack)) == step


# -------------------------------------------------------------------------------------------------------------- brokers


def test_kafka_is_found_where_the_variable_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder must hold Kafka's jar; its version is read from the jar's name."""
    # given
    monkeypatch.setattr(shutil, "which", lambda _name: "java")
    monkeypatch.setenv(brokers.JARS_VARIABLE, str(tmp_path))

    # then
    with pytest.raises(brokers.NoRealKafka, match="holds none"):
        brokers.find_jars()
    (tmp_path / "kafka_2.13-4.1.0.jar").touch()
    assert brokers.find_jars() == tmp_path
    assert brokers.version_of(tmp_path) == "4.1.0"


def test_kafka_is_found_where_the_tests_keep_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the variable the tests' cache is looked at; without java nothing is."""
    # given
    monkeypatch.setattr(shutil, "which", lambda _name: "java")
    monkeypatch.delenv(brokers.JARS_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "stammgast-tests" / "kafka-4.1.0"
    folder.mkdir(parents=True)
    (folder / "kafka_2.13-4.1.0.jar").touch()

    # then
    assert brokers.find_jars() == folder
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    with pytest.raises(brokers.NoRealKafka, match="java"):
        brokers.find_jars()


# -------------------------------------------------------------------------------------------------------------- command


def test_the_command_prints_json_for_scripts() -> None:
    """Only what was asked for, as many runs as asked for, the conditions beside it; progress is not in the way."""
    # when
    result = CliRunner().invoke(main, ["bench", "--only", "core", "--runs", "2", "--facts", "100", "--json"])

    # then
    assert result.exit_code == 0, result.output
    told = orjson.loads(result.stdout)
    how = [""] if compiled.core() == "interpreted" else ["", ", interpreted"]
    kinds = [f"{kind}{suffix}" for kind in CORES for suffix in how]
    assert {name: len(runs) for name, runs in told["runs"].items()} == dict.fromkeys(kinds, 2)
    assert told["conditions"]["core"] == compiled.core()
    assert (told["conditions"]["facts"], told["conditions"]["facts_offline"]) == (100, 500)
    assert "broker" not in told["conditions"]
    assert "core, run 2 of 2" in result.stderr


@pytest.mark.parametrize("flags", [["--only", "nothing"], ["--runs", "0"], ["--facts", "5"], ["--bootstrap", "x"]])
def test_wrong_usage_is_refused(flags: list[str]) -> None:
    """Exit code 2 before anything is measured."""
    assert CliRunner().invoke(main, ["bench", *flags]).exit_code == 2


def test_the_ledger_measured_is_the_product_s() -> None:
    """No copy of the core is measured."""
    assert type(data.fresh_ledger(data.programmes())) is Partition
