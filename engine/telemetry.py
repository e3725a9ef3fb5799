"""What a running process tells about itself: logs with fields, Prometheus metrics, /healthz and /readyz.

Logs and metrics carry fact ids, topics, reasons and rule ids, never who a member is.
"""

import contextlib
import functools
import http.server
import importlib.metadata
import json
import logging
import re
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import IO, Any, Literal, Self, get_args

import prometheus_client
import structlog
from prometheus_client import CollectorRegistry

from engine.compiled import core
from engine.settings import UsageError
from schemas.decision_forms import Outcome
from schemas.decisions import Decision
from schemas.notices import Suppressed
from schemas.rejects import REASONS

LogFormat = Literal["auto", "console", "json"]
Probe = Callable[[], tuple[bool, str]]

WITHHELD = "(withheld)"
_PERSONAL_KEYS = re.compile(
    r"(?:^|_)(?:name|first_?name|last_?name|surname|e?mail|phone|mobile|address|street|city|zip|postcode|birth_?da(?:y|te)"
    r"|subject|member(?:_id)?|referrer|referred|customer|payload|body|value|password|token)(?:$|_)"
    r"|(?:^|_)key$"  # the key of a record is its subject
)
_MAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_PHONE = re.compile(r"(?<![\w.:+-])(?:\+|00)[1-9]\d{6,14}(?![\w:]|\.\d)")
#: Work that waits so long without any progress makes a process unready. Too small: a slow batch or a broker that starts
#: again takes a healthy process out. Too large: nobody learns that it stands still.
READY_SECONDS = 15.0
_RECOVERY_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_BATCH_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


#: What is asked of a member's state, again and again while a worker runs (`engine.stream.spot_check`).
LEDGER_CHECKS = ("balance", "lot_below_zero", "debt_below_zero", "unreadable")


def withhold_personal(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Blank fields whose name promises a person, and mail addresses and phone numbers in any text (a processor)."""
    for key, value in event.items():
        event[key] = WITHHELD if _PERSONAL_KEYS.search(key) else _withheld(value)
    return event


def _withheld(value: Any) -> Any:
    """The value, as deep as it goes, without what looks like a person; what is neither plain nor a container is text."""
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return _PHONE.sub(WITHHELD, _MAIL.sub(WITHHELD, value))
        case Mapping():
            return {k: WITHHELD if _PERSONAL_KEYS.search(str(k)) else _withheld(v) for k, v in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_withheld(part) for part in value]
        case _:
            return _withheld(str(value))


def raised_at(error: BaseException | None) -> str:
    """Where an error and those that led to it were raised: their names and lines of code, never their words, which may
    hold what a fact holds."""
    told = []
    while error is not None:
        told.append(f"{type(error).__name__}\n{''.join(traceback.format_tb(error.__traceback__))}")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "caused by ".join(told)


def set_up_logging(log_format: LogFormat = "auto", log_level: str = "info", stream: IO[str] | None = None) -> None:
    """Send the logs of this process, those of libraries included, to `stream` (default: standard error).

    `auto` is console on a terminal and JSON lines elsewhere. Times are UTC.
    """
    out = stream or sys.stderr
    console = log_format == "console" or (log_format == "auto" and out.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    handler = logging.StreamHandler(out)
    handler.setFormatter(_formatter(shared, console=console, colors=console and out.isatty()))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(log_level.upper())
    _quieten_libraries(log_level)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def _formatter(
    shared: list[structlog.typing.Processor], *, console: bool, colors: bool
) -> structlog.stdlib.ProcessorFormatter:
    """The last steps, for our lines and for those of libraries: tracebacks become text before anything is withheld."""
    ending: list[structlog.typing.Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.format_exc_info,
        withhold_personal,
        structlog.dev.ConsoleRenderer(colors=colors) if console else structlog.processors.JSONRenderer(),
    ]
    return structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=ending)


def _quieten_libraries(log_level: str) -> None:
    """Libraries below a warning speak only when somebody debugs."""
    level = logging.DEBUG if log_level == "debug" else logging.WARNING
    for name in ("aiokafka", "faust", "mode", "asyncio", "kafka"):
        logging.getLogger(name).setLevel(level)


class Tally:
    """Decisions, counted while they are at hand: a turn keeps these numbers, not the decisions.

    Attributes:
        outcomes: decisions by outcome; one in parts counts once, with its last part.
        entries, points: entries, and points as magnitudes, by (kind, rule).
        moved: the sum of all points with their sign.
        rejects: records for `rejects`, by reason.
        notices: notices that were made, and those that were suppressed, by the reason.
    """

    __slots__ = ("entries", "moved", "notices", "outcomes", "points", "rejects")

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.entries: Counter[tuple[str, str]] = Counter()
        self.points: Counter[tuple[str, str]] = Counter()
        self.moved = 0
        self.rejects: Counter[str] = Counter()
        self.notices: Counter[str] = Counter()

    def take(self, decisions: Iterable[Decision]) -> None:
        """Count the decisions on one fact."""
        for decision in decisions:
            if decision.last:
                self.outcomes[decision.outcome] += 1
            for entry in decision.entries:
                of = entry.kind, entry.rule_id
                self.entries[of] += 1
                self.points[of] += abs(entry.points)
                self.moved += entry.points
            for notice in decision.notices:
                self.notices[notice.reason or notice.state] += 1


class Metrics:
    """Every metric in one place, on a registry of its own. Labels come from bounded sets and never name a member."""

    def __init__(self, *, with_process: bool = True, clock: Callable[[], float] = time.time) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        self._clock = clock
        self._undecided: dict[int, float] = {}
        self._lock = threading.Lock()
        if with_process:
            prometheus_client.ProcessCollector(registry=self.registry)
        self._of_members: list[prometheus_client.Gauge] = []
        self._of_tables: list[prometheus_client.Gauge] = []
        self._counters()
        self._gauges()
        self._member_gauges()
        self._table_gauges()

    def _counters(self) -> None:
        def counter(name: str, help_text: str, *labels: str) -> prometheus_client.Counter:
            return prometheus_client.Counter(f"stammgast_{name}", help_text, labels, registry=self.registry)

        self.facts = counter("facts_total", "Facts written by intake.", "type")
        self.decisions = counter("decisions_total", "Decisions written, by outcome.", "outcome")
        self.entries = counter("entries_total", "Entries written.", "kind", "rule")
        self.points = counter("points_total", "Points moved, as a magnitude.", "kind", "rule")
        self.rejects = counter("rejects_total", "Records put into rejects.", "reason")
        self.notices = counter("notices_total", "Notices made, or suppressed with a reason.", "state")
        self.projector_rebuilds = counter("projector_rebuilds_total", "Files built anew from the logs.", "reason")
        self.projector_reopens = counter("projector_reopens_total", "Files opened again after trouble.", "reason")
        self.attempts = counter(
            "attempts_total", "Facts tried carefully after a worker died at them, or given up.", "kind"
        )
        self.snapshots = counter("snapshots_total", "Snapshots of members written.")
        self.checkpoints = counter("checkpoints_total", "Checkpoints written, each after the snapshots it stands for.")
        self.recovered_decisions = counter(
            "recovered_decisions_total", "Decisions folded when partitions opened.", "source"
        )
        self.recovery_seconds = prometheus_client.Histogram(
            "stammgast_recovery_seconds",
            "Time to open a partition, from a snapshot or from the start of its logs.",
            ["source"],
            buckets=_RECOVERY_SECONDS,
            registry=self.registry,
        )
        self.batch_seconds = prometheus_client.Histogram(
            "stammgast_batch_seconds",
            "Time from taking a batch to its commit.",
            ["stage"],
            buckets=_BATCH_SECONDS,
            registry=self.registry,
        )
        self.audited_members = counter("audited_members_total", "Members whose state was held against its invariants.")
        self.ledger_violations = counter(
            "ledger_violations_total", "Members whose state broke an invariant when it was looked at.", "check"
        )
        self.ledger_gap = counter(
            "ledger_gap_points_total", "Points by which lots minus debt missed the balance, as a magnitude."
        )
        # A series that begins with its first event looks to `increase` as if nothing had happened: these begin at 0.
        for check in LEDGER_CHECKS:
            self.ledger_violations.labels(check)
        for outcome in get_args(Outcome):
            self.decisions.labels(outcome)
        for reason in REASONS:
            self.rejects.labels(reason)
        for state in ("made", *get_args(Suppressed)):
            self.notices.labels(state)

    def _gauges(self) -> None:
        def gauge(name: str, help_text: str, *labels: str) -> prometheus_client.Gauge:
            return prometheus_client.Gauge(f"stammgast_{name}", help_text, labels, registry=self.registry)

        place = ("topic", "partition")
        self.lag_records = gauge(
            "lag_records", "Records of a partition not yet worked off (an offset distance).", *place
        )
        self.lag_seconds = gauge(
            "lag_seconds", "Age of the oldest record not yet worked off; 0 when none waits.", *place
        )
        self.projector_position = gauge("projector_position", "Next offset the tables will take.", *place)
        self.projector_lag_records = gauge("projector_lag_records", "Offsets the tables are behind a log.", *place)
        self.projector_lag_seconds = gauge(
            "projector_lag_seconds", "Age of the oldest record not yet in the tables; 0 when none waits.", *place
        )
        self.projector_waiting = gauge("projector_waiting", "1 while the tables wait for something to pass.", "cause")
        oldest = gauge(
            "oldest_undecided_fact_age_seconds", "Age of the oldest fact without a decision; 0 when none waits."
        )
        oldest.set_function(self._oldest_age)
        self.build = gauge("build_info", "1, and what runs here.", "version", "core")

    def _member_gauges(self) -> None:
        gauge = self._later(self._of_members)
        self.keepers = gauge("keepers", "Partitions of facts this worker owns, by what their keeper does.", "state")
        self.members = gauge("members", "Members, orders without a member and stocks that this worker holds.")
        self.overdue_members = gauge(
            "overdue_members",
            "Members to whom time should have done something by the newest tick; who came late waits for the next one.",
        )
        self.newest_tick = gauge(
            "newest_tick_timestamp_seconds",
            "Moment of the newest tick, of the partition that ticked longest ago; 0 unless the clock is `wall`.",
        )

    def _table_gauges(self) -> None:
        gauge = self._later(self._of_tables)
        self.table_points = gauge("table_points", "Points in the tables: sum of entries, left in lots, owed.", "part")
        self.table_gap = gauge("table_gap_points", "Points by which lots and entries disagree in the tables; always 0.")
        self.table_violations = gauge(
            "table_violations", "Rows of the tables that break an invariant; always 0.", "check"
        )
        self.tables_checked = gauge("tables_checked_timestamp_seconds", "When the tables were last held against them.")
        self.tables_check_seconds = gauge("tables_check_seconds", "How long that took.")
        self.tables_settled = gauge(
            "tables_settled_timestamp_seconds", "Event time up to which the tables know what happened."
        )
        self.file_bytes = gauge("projector_file_bytes", "Size of the DuckDB file, its write-ahead log included.")
        self.disk_free_bytes = gauge("projector_disk_free_bytes", "Free room where the DuckDB file is.")

    @staticmethod
    def _later(kept: list[prometheus_client.Gauge]) -> Callable[..., prometheus_client.Gauge]:
        """Make gauges that are told only by the role that sets them: from another one, a 0 would be a lie."""

        def gauge(name: str, help_text: str, *labels: str) -> prometheus_client.Gauge:
            kept.append(prometheus_client.Gauge(f"stammgast_{name}", help_text, labels, registry=None))
            return kept[-1]

        return gauge

    def tell_members(self) -> None:
        """From now on tell what a worker knows of its members and keepers."""
        self._register(self._of_members)

    def tell_tables(self) -> None:
        """From now on tell what a projector knows of its tables."""
        self._register(self._of_tables)

    def _register(self, kept: list[prometheus_client.Gauge]) -> None:
        while kept:
            self.registry.register(kept.pop())

    def count_facts(self, by_type: Mapping[str, int]) -> None:
        """Count facts that intake wrote: {type: number}."""
        for fact_type, number in by_type.items():
            self.facts.labels(fact_type).inc(number)

    def count_decisions(self, tally: Tally) -> None:
        """Count what was decided and committed, rejects included."""
        for outcome, number in tally.outcomes.items():
            self.decisions.labels(outcome).inc(number)
        for labels, number in tally.entries.items():
            self.entries.labels(*labels).inc(number)
            self.points.labels(*labels).inc(tally.points[labels])
        for reason, number in tally.rejects.items():
            self.rejects.labels(reason).inc(number)
        for state, number in tally.notices.items():
            self.notices.labels(state).inc(number)

    def count_reject(self, reason: str) -> None:
        """Count one record put into rejects."""
        self.rejects.labels(reason).inc()

    def time_batch(self, stage: str) -> contextlib.AbstractContextManager[object]:
        """Measure a batch: `with metrics.time_batch("rewards"): ...`; stages are intake, rewards, projector."""
        return self.batch_seconds.labels(stage).time()

    def set_lag(self, topic: str, partition: int, records: int, oldest_ms: int | None) -> None:
        """Say how far a partition's reader is behind, and when the oldest of those records was written (None: none waits).

        Its age is taken when somebody asks, so it grows although nothing moves.
        """
        labels = (topic, str(partition))
        self.lag_records.labels(*labels).set(records)
        self.lag_seconds.labels(*labels).set_function(functools.partial(self._age, oldest_ms))

    def set_projector(self, topic: str, partition: int, position: int, lag_records: int, oldest_ms: int | None) -> None:
        """Say where the tables are in one partition of a log, and when the oldest record they lack was written."""
        labels = (topic, str(partition))
        self.projector_position.labels(*labels).set(position)
        self.projector_lag_records.labels(*labels).set(lag_records)
        self.projector_lag_seconds.labels(*labels).set_function(functools.partial(self._age, oldest_ms))

    def _age(self, written_ms: int | None) -> float:
        return 0.0 if written_ms is None else max(0.0, self._clock() - written_ms / 1000)

    def set_oldest_undecided(self, partition: int, recorded_ms: int | None) -> None:
        """Note when the oldest fact of a partition that waits for its decision was recorded; None when none waits."""
        with self._lock:
            if recorded_ms is None:
                self._undecided.pop(partition, None)
            else:
                self._undecided[partition] = recorded_ms / 1000

    def forget_partition(self, topic: str, partition: int) -> None:
        """Drop the series of a partition that this process no longer reads."""
        self.set_oldest_undecided(partition, None)
        for gauge in (self.lag_records, self.lag_seconds):
            with contextlib.suppress(KeyError):
                gauge.remove(topic, str(partition))

    def _oldest_age(self) -> float:
        with self._lock:
            oldest = min(self._undecided.values(), default=None)
        return 0.0 if oldest is None else max(0.0, self._clock() - oldest)

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return prometheus_client.generate_latest(self.registry)


METRICS = Metrics()


class Progress:
    """Proof that work goes on: ready when nothing waits, or when of every place that has work some was done lately.

    It is told again and again, at least every few seconds: whoever falls silent is stuck and not ready, and so is who has
    not begun. May be told from any thread. `clock` is monotonic seconds.
    """

    def __init__(self, limit_seconds: float = READY_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit_seconds = limit_seconds
        self._clock = clock
        self._told: float | None = None
        #: What waits by place, and since when without progress.
        self._waiting: dict[str, tuple[int, float]] = {}
        self._lock = threading.Lock()

    def waiting(self, number: int, place: str = "") -> None:
        """Say how much waits now; the time without progress counts from the first that waited."""
        with self._lock:
            self._told = self._clock()
            _, since = self._waiting.pop(place, (0, self._told))
            if number:
                self._waiting[place] = (number, since)

    def worked(self, place: str = "") -> None:
        """Say that something was finished just now."""
        with self._lock:
            if place in self._waiting:
                self._waiting[place] = (self._waiting[place][0], self._clock())

    def forget(self, place: str) -> None:
        """A place is somebody else's now."""
        with self._lock:
            self._waiting.pop(place, None)

    def probe(self) -> tuple[bool, str]:
        """Ready or not, and why."""
        with self._lock:
            now, told, waiting = self._clock(), self._told, dict(self._waiting)
        if told is None:
            return False, "not begun"
        if now - told > self._limit_seconds:
            return False, f"stuck: nothing was heard of the work for {now - told:.1f} s"
        if not waiting:
            return True, "nothing waits"
        place, (_, since) = min(waiting.items(), key=lambda item: item[1][1])
        number = sum(count for count, _ in waiting.values())
        where = f" at {place}" if place else ""
        text = f"{number} waiting, last progress{where} {now - since:.1f} s ago"
        return now - since <= self._limit_seconds, text


class Hearing:
    """Proof that Kafka still answers: "nothing waits" is only known as long as brokers say where the logs end.

    May be told from any thread. `clock` is seconds since the epoch.
    """

    def __init__(self, limit_seconds: float = READY_SECONDS, clock: Callable[[], float] = time.time) -> None:
        self._limit_seconds = limit_seconds
        self._clock = clock
        self._oldest: tuple[int, str] | None = None

    def heard(self, answers: Iterable[tuple[int, str]]) -> None:
        """Say when brokers last answered (ms since the epoch, place), for all places that are asked all the time."""
        self._oldest = min(answers, default=None)

    def probe(self) -> tuple[bool, str]:
        """Ready or not, and why."""
        oldest = self._oldest
        if oldest is None:
            return True, "nothing is asked at the moment"
        seconds = max(0.0, self._clock() - oldest[0] / 1000)
        return seconds <= self._limit_seconds, f"last answer about {oldest[1]} {seconds:.1f} s ago"


class Health:
    """The questions behind /readyz: each probe has a name and says (ready, why). Without any, nothing is ready."""

    def __init__(self) -> None:
        self._probes: dict[str, Probe] = {}
        self._lock = threading.Lock()

    def add(self, name: str, probe: Probe) -> None:
        """Ask `probe` from now on; a second one of the same name replaces the first."""
        with self._lock:
            self._probes[name] = probe

    def remove(self, name: str) -> None:
        """Ask no longer."""
        with self._lock:
            self._probes.pop(name, None)

    def ready(self) -> tuple[bool, dict[str, dict[str, object]]]:
        """(every probe is content and there is one, {name: {ready, detail}})."""
        with self._lock:
            probes = dict(self._probes)
        answers = {name: self._ask(probe) for name, probe in probes.items()}
        told: dict[str, dict[str, object]] = {name: {"ready": ok, "detail": why} for name, (ok, why) in answers.items()}
        return bool(answers) and all(ok for ok, _ in answers.values()), told

    @staticmethod
    def _ask(probe: Probe) -> tuple[bool, str]:
        try:
            return probe()
        except Exception as error:  # noqa: BLE001  a probe that cannot answer is an answer
            return False, f"the probe failed: {type(error).__name__}"


class TelemetryServer:
    """A small HTTP server on a thread of its own, so that a stuck event loop is seen rather than hidden."""

    def __init__(self, host: str, port: int, metrics: Metrics, health: Health) -> None:
        """Listen at once; port 0 takes a free one. Errors: UsageError when the address cannot be had."""
        self._health = health
        self._metrics = metrics
        metrics.build.labels(importlib.metadata.version("stammgast"), core()).set(1)
        try:
            self._server = http.server.ThreadingHTTPServer((host, port), self._handler())
        except (OSError, OverflowError) as error:
            raise UsageError(
                f"metrics cannot listen on {host}:{port} ({getattr(error, 'strerror', None) or error}): "
                "choose others with --metrics-host and --metrics-port (0 takes a free port)."
            ) from error
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self.url = f"http://{host}:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="telemetry", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop answering and free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def answer(self, path: str) -> tuple[int, str, bytes]:
        """(status, content type, body) for a path."""
        match path.partition("?")[0]:
            case "/metrics":
                return 200, prometheus_client.CONTENT_TYPE_LATEST, self._metrics.text()
            case "/healthz":
                return 200, "text/plain; charset=utf-8", b"alive\n"
            case "/readyz":
                ready, probes = self._health.ready()
                body = json.dumps({"ready": ready, "probes": probes}, indent=2).encode() + b"\n"
                return (200 if ready else 503), "application/json", body
            case _:
                return 404, "text/plain; charset=utf-8", b"/metrics, /healthz and /readyz are here\n"

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        answer = self.answer

        class Handler(http.server.BaseHTTPRequestHandler):
            """Answers GET; says nothing on standard error."""

            server_version = "stammgast"
            sys_version = ""
            timeout = 10

            def do_GET(self) -> None:
                status, content_type, body = answer(self.path)
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                with contextlib.suppress(ConnectionError):  # whoever asked did not wait
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Requests are not worth a line."""

        return Handler
