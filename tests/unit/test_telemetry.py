"""Telemetry: logs without persons, metrics by Prometheus' conventions, readiness that proves progress."""

import io
import json
import logging
import shutil
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
import structlog

from engine.settings import UsageError
from engine.telemetry import WITHHELD, Health, Hearing, Metrics, Progress, Tally, TelemetryServer, set_up_logging
from schemas.decisions import Decision, Entry


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Always."""
        return True


class HandClock:
    """A clock that a test turns by hand."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        """The time now."""
        return self.seconds


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    """Leave logging as it was found."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def make_decision(*points: int, outcome: str = "decided", last: bool = True) -> Decision:
    """A decision with one entry per number of points."""
    entries = [
        Entry(f"e{n}", "m", "earn" if p > 0 else "clawback", p, "goods", 1, "urn:s", "f", "2026-01-01T00:00:00.000000Z")
        for n, p in enumerate(points)
    ]
    return Decision(
        source="urn:s",
        fact_id="f",
        type="stammgast.purchase.v1",
        member_id="m",
        outcome=outcome,  # type: ignore[arg-type]
        reason=None,
        programme=None,
        occurred_at="2026-01-01T00:00:00.000000Z",
        offset=0,
        last=last,
        entries=entries,
    )


def fetch(url: str) -> tuple[int, str, str]:
    """(status, content type, body) of a GET."""
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310  our own loopback server
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["Content-Type"], error.read().decode()


def test_logs_are_json_lines_away_from_a_terminal() -> None:
    """Each line is one JSON object with event, level, logger, UTC time and its fields."""
    # given
    stream = io.StringIO()
    set_up_logging("auto", "info", stream)

    # when
    structlog.get_logger("stammgast.rewards").info("batch decided", fact_id="536365", decisions=12)
    logging.getLogger("some.library").warning("slow: %s s", 3)

    # then
    ours, theirs = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (ours["event"], ours["level"], ours["logger"]) == ("batch decided", "info", "stammgast.rewards")
    assert (ours["fact_id"], ours["decisions"]) == ("536365", 12)
    assert ours["timestamp"].endswith("Z")
    assert theirs["event"] == "slow: 3 s"


def test_logs_are_for_people_on_a_terminal() -> None:
    """On a terminal a line is text; asked for, JSON comes there too."""
    # given
    people, machine = Terminal(), Terminal()

    # when
    set_up_logging("auto", "info", people)
    structlog.get_logger().info("ready")
    set_up_logging("json", "info", machine)
    structlog.get_logger().info("ready")

    # then
    assert "ready" in people.getvalue()
    assert not people.getvalue().startswith("{")
    assert json.loads(machine.getvalue())["event"] == "ready"


def test_what_is_below_the_level_is_not_logged_and_libraries_stay_quiet() -> None:
    """`info` hides debug lines, and the info lines of aiokafka and Faust."""
    # given
    stream = io.StringIO()
    set_up_logging("json", "info", stream)

    # when
    structlog.get_logger().debug("detail")
    logging.getLogger("aiokafka.consumer").info("joined group")

    # then
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    "key", ["subject", "member_id", "email", "first_name", "billing_address", "key", "sasl_password"]
)
def test_a_field_that_names_a_person_is_withheld(key: str) -> None:
    """The field stays, its content does not."""
    # given
    stream = io.StringIO()
    set_up_logging("json", "info", stream)

    # when
    structlog.get_logger().info("decided", **{key: "17850"})

    # then
    assert json.loads(stream.getvalue())[key] == WITHHELD
    assert "17850" not in stream.getvalue()


@pytest.mark.parametrize("text", ["anna.berg@example.org", "+491701234567", "00491701234567"])
def test_a_mail_address_or_phone_number_is_withheld_wherever_it_stands(text: str) -> None:
    """In the event, in a field, in a library's line and in a traceback."""
    # given
    stream = io.StringIO()
    set_up_logging("json", "info", stream)

    # when
    structlog.get_logger().info(f"from {text}", detail=f"by {text}.", parts=[{"line": text}], error=OSError(text))
    logging.getLogger("some.library").error("bad record %s", text)
    try:
        raise ValueError(text)
    except ValueError:
        structlog.get_logger().exception("quarantined", fact_id="f1")

    # then
    assert text not in stream.getvalue()
    assert stream.getvalue().count(WITHHELD) >= 6


@pytest.mark.parametrize(
    "text", ["2010-12-01T08:26:00.000000Z", "536365", "127.0.0.1:9092", "20101201082600", "0.00123456789"]
)
def test_times_ids_and_addresses_of_machines_stay_readable(text: str) -> None:
    """What only looks a little like a phone number is left alone."""
    # given
    stream = io.StringIO()
    set_up_logging("json", "info", stream)

    # when
    structlog.get_logger().info("fact", detail=text)

    # then
    assert json.loads(stream.getvalue())["detail"] == text


def test_decisions_are_counted_by_outcome_and_their_entries_by_kind_and_rule() -> None:
    """A decision in parts counts once; points count as magnitudes."""
    # given
    metrics = Metrics(with_process=False)

    # when
    tally = Tally()
    tally.take([make_decision(10, 5), make_decision(-4)])
    tally.take([make_decision(1, last=False), make_decision(outcome="duplicate")])
    metrics.count_decisions(tally)

    # then
    text = metrics.text().decode()
    assert 'stammgast_decisions_total{outcome="decided"} 2.0' in text
    assert 'stammgast_decisions_total{outcome="duplicate"} 1.0' in text
    assert 'stammgast_entries_total{kind="earn",rule="goods"} 3.0' in text
    assert 'stammgast_points_total{kind="earn",rule="goods"} 16.0' in text
    assert 'stammgast_points_total{kind="clawback",rule="goods"} 4.0' in text


def test_the_oldest_undecided_fact_ages_between_scrapes() -> None:
    """The age is taken when asked, over all partitions; none waiting is 0."""
    # given
    clock = HandClock()
    metrics = Metrics(with_process=False, clock=clock)

    def age() -> float | None:
        return metrics.registry.get_sample_value("stammgast_oldest_undecided_fact_age_seconds")

    # when
    metrics.set_oldest_undecided(0, 990_000)
    metrics.set_oldest_undecided(1, 995_000)
    clock.seconds = 1_010.0

    # then
    assert age() == 20.0
    metrics.set_oldest_undecided(0, None)
    assert age() == 15.0
    metrics.set_oldest_undecided(1, None)
    assert age() == 0.0


def fill(metrics: Metrics) -> None:
    """Touch every metric once."""
    metrics.tell_members()
    metrics.tell_tables()
    metrics.count_facts({"stammgast.purchase.v1": 3})
    tally = Tally()
    tally.take([make_decision(1, -1)])
    metrics.count_decisions(tally)
    metrics.count_reject("not_json")
    metrics.set_lag("facts", 0, 5, 998_500)
    metrics.set_projector("points-log", 0, 17, 2, None)
    metrics.keepers.labels("open").set(4)
    metrics.table_violations.labels("lot_overdue").set(0)
    metrics.table_points.labels("lots").set(12)
    metrics.build.labels("0.1", "interpreted").set(1)
    with metrics.time_batch("rewards"):
        pass


def test_lag_in_seconds_is_an_age_and_grows_by_itself() -> None:
    """The age of the oldest record that waits is taken when asked, so that it grows although nobody reports any more."""
    # given
    clock = HandClock()
    metrics = Metrics(with_process=False, clock=clock)
    place = {"topic": "facts", "partition": "3"}

    def seconds(name: str = "lag_seconds") -> float | None:
        return metrics.registry.get_sample_value(f"stammgast_{name}", place)

    # when
    metrics.set_lag("facts", 3, 5, 998_500)
    metrics.set_projector("facts", 3, 17, 2, 999_000)

    # then
    assert (seconds(), seconds("projector_lag_seconds")) == (1.5, 1.0)
    clock.seconds += 10
    assert (seconds(), seconds("projector_lag_seconds")) == (11.5, 11.0)
    metrics.set_lag("facts", 3, 0, None)
    metrics.set_projector("facts", 3, 19, 0, None)
    assert (seconds(), seconds("projector_lag_seconds")) == (0.0, 0.0)


def test_a_partition_given_away_leaves_the_metrics() -> None:
    """After a rebalance no stale lag is reported."""
    # given
    metrics = Metrics(with_process=False)
    fill(metrics)

    # when
    metrics.forget_partition("facts", 0)
    metrics.forget_partition("facts", 9)

    # then
    assert "stammgast_lag_records{" not in metrics.text().decode()


def test_no_label_can_hold_a_member() -> None:
    """Every label of every metric is one of a few known kinds."""
    # given
    metrics = Metrics(with_process=False)
    fill(metrics)

    # when
    labels = {label for family in metrics.registry.collect() for sample in family.samples for label in sample.labels}

    # then
    process = {"state", "version", "core", "check", "part"}
    assert labels <= {"type", "outcome", "kind", "rule", "reason", "stage", "topic", "partition", "le", *process}


def test_promtool_finds_nothing_to_say_about_our_metrics() -> None:
    """Names, types and help follow Prometheus' conventions."""
    # given
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian package prometheus)")
    metrics = Metrics()
    fill(metrics)

    # when
    checked = subprocess.run([promtool, "check", "metrics"], input=metrics.text(), capture_output=True, check=False)

    # then
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


def test_progress_is_ready_while_nothing_waits_or_work_was_done_lately() -> None:
    """Waiting without work for longer than the limit is not ready; work, or an empty queue, is."""
    # given
    clock = HandClock()
    progress = Progress(limit_seconds=30, clock=clock)

    def ready_after(seconds: float, waiting: int) -> bool:
        clock.seconds += seconds
        progress.waiting(waiting)
        return progress.probe()[0]

    # then
    assert progress.probe() == (False, "not begun")
    assert ready_after(0, 0)
    assert ready_after(1_000, 5)
    assert ready_after(30, 5)
    assert not ready_after(1, 5)
    progress.worked()
    assert ready_after(30, 3)
    assert not ready_after(1, 3)
    assert "3 waiting" in progress.probe()[1]
    assert ready_after(0, 0)
    assert ready_after(1_000, 0)


def test_a_place_that_stands_still_is_not_hidden_by_others_that_move() -> None:
    """Progress is asked of every place that has work; one that was given away is asked no longer."""
    # given
    clock = HandClock()
    progress = Progress(limit_seconds=30, clock=clock)
    for place in ("facts/0", "facts/1"):
        progress.waiting(10, place)

    # when
    clock.seconds += 31
    progress.worked("facts/0")
    progress.waiting(9, "facts/0")

    # then
    ready, why = progress.probe()
    assert not ready
    assert "19 waiting" in why
    assert "facts/1" in why
    progress.forget("facts/1")
    assert progress.probe()[0]


def test_whoever_falls_silent_is_not_ready() -> None:
    """A loop that is stuck cannot say so: not being heard of is enough."""
    # given
    clock = HandClock()
    progress = Progress(limit_seconds=30, clock=clock)
    progress.waiting(0)

    # when
    clock.seconds += 31

    # then
    assert not progress.probe()[0]
    assert "stuck" in progress.probe()[1]


def test_a_broker_that_answers_no_longer_makes_it_not_ready() -> None:
    """ "Nothing waits" is known as long as a broker says where the logs end; the place that was heard least counts."""
    # given
    clock = HandClock()
    hearing = Hearing(limit_seconds=30, clock=clock)
    assert hearing.probe()[0]

    # when
    hearing.heard([(1_000_000, "facts/0"), (990_000, "facts/1")])

    # then
    assert hearing.probe()[0]
    clock.seconds += 21
    assert hearing.probe() == (False, "last answer about facts/1 31.0 s ago")


def test_the_server_answers_metrics_health_and_readiness() -> None:
    """/metrics in Prometheus' format, /healthz alive, /readyz 200 or 503 with every probe's reason."""
    # given
    health, metrics = Health(), Metrics(with_process=False)
    fill(metrics)
    ready = threading.Event()

    # when
    with TelemetryServer("127.0.0.1", 0, metrics, health) as server:
        silent = fetch(server.url + "/readyz")
        health.add("keepers", lambda: (ready.is_set(), "2 of 3 recovered"))
        early = fetch(server.url + "/readyz")
        ready.set()
        late = fetch(server.url + "/readyz?verbose")
        alive = fetch(server.url + "/healthz")
        numbers = fetch(server.url + "/metrics")
        nothing = fetch(server.url + "/table")

    # then
    assert (silent[0], early[0], late[0], alive[0], numbers[0], nothing[0]) == (503, 503, 200, 200, 200, 404)
    assert json.loads(early[2])["probes"]["keepers"] == {"ready": False, "detail": "2 of 3 recovered"}
    assert numbers[1].startswith("text/plain")
    assert 'stammgast_rejects_total{reason="not_json"} 1.0' in numbers[2]


def test_a_probe_that_fails_makes_the_process_not_ready() -> None:
    """An exception in a probe is an answer; its text, which may hold data, is not shown."""
    # given
    health = Health()

    def broken() -> tuple[bool, str]:
        raise RuntimeError("17850 has no keeper")

    # when
    health.add("broken", broken)

    # then
    assert health.ready() == (False, {"broken": {"ready": False, "detail": "the probe failed: RuntimeError"}})
    health.remove("broken")
    assert health.ready() == (False, {})


def test_a_taken_port_is_wrong_usage() -> None:
    """The message names the address and the settings that change it."""
    # given
    server = TelemetryServer("127.0.0.1", 0, Metrics(with_process=False), Health())

    # then
    with server, pytest.raises(UsageError, match="--metrics-port"):
        TelemetryServer("127.0.0.1", server.port, Metrics(with_process=False), Health())


def test_a_closed_server_frees_its_port() -> None:
    """The same port can be had again at once."""
    # given
    server = TelemetryServer("127.0.0.1", 0, Metrics(with_process=False), Health())

    # when
    server.close()

    # then
    TelemetryServer("127.0.0.1", server.port, Metrics(with_process=False), Health()).close()
