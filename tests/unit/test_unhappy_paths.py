"""What goes wrong at the command line: one clear message, the documented exit code, no traceback, nothing half-written."""

from __future__ import annotations

import gzip
import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from aiokafka.errors import NodeNotReadyError
from click.testing import CliRunner, Result

from engine.cli import main
from engine.processes import command_name

PROGRAMMES = Path(__file__).parents[2] / "rules" / "programmes"
COFFEE = str(PROGRAMMES / "coffee-bar")
NOBODY = "127.0.0.1:1"
SEED = 20260301
_START = "from engine.cli import main; main()"
#: A verb that finds no Kafka answers within this long, on a busy machine too: at load 30 it took more than 15 s.
UNREACHABLE_SECONDS = 90.0

BROKEN = """\
programme: broken
version: 1
currancy: EUR
time_zone: Europe/Berlin
valid: {from: 2026-01-01}
earn:
  - id: spend
    on: purchase
    award: {points: -1, per: 1.00 EUR}
  - id: spend
    on: visitt
    award: {points: 1}
"""


def visit(number: int) -> bytes:
    """One event, as a line of a file."""
    event = {
        "specversion": "1.0",
        "id": f"v{number}",
        "source": "urn:test",
        "type": "stammgast.visit.v1",
        "subject": f"m{number}",
        "time": f"2026-02-01T10:{number % 60:02d}:00+01:00",
        "data": {"store": "s1"},
    }
    return json.dumps(event).encode() + b"\n"


def stammgast(*arguments: object) -> Result:
    """Run it in this process."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def process(*arguments: object, seconds: float = UNREACHABLE_SECONDS) -> subprocess.CompletedProcess[str]:
    """Run it in a process of its own, as a user does."""
    command = [sys.executable, "-c", _START, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that can be wrong, and a few things that are right."""
    folder = tmp_path_factory.mktemp("unhappy")
    many = b"".join(visit(number) for number in range(3_000))
    packed, noise = gzip.compress(many, mtime=0), random.Random(SEED)
    garbled = bytearray(packed)
    garbled[2_000:2_400] = noise.randbytes(400)
    for name, content in {
        "good.jsonl": visit(1) + visit(2),
        "mixed.jsonl": visit(1) + b"no event\n" + visit(2) + b'{"id": "x"}\n',
        "empty.jsonl": b"",
        "binary.jsonl": b"\n".join(noise.randbytes(400).replace(b"\n", b"") for _ in range(5)),
        "cut.jsonl.gz": packed[: len(packed) // 2],
        "garbled.jsonl.gz": bytes(garbled),
        "no.duckdb": b"a shopping list " * 400,
        "latin.yaml": "programme: café".encode("latin-1"),
    }.items():
        (folder / name).write_bytes(content)
    for name in ("none", "broken"):
        (folder / name).mkdir()
    (folder / "broken" / "2026-01-01.yaml").write_text(BROKEN, encoding="utf-8")
    with duckdb.connect(str(folder / "foreign.duckdb")) as connection:
        connection.execute("create table theirs (a int)")
    made = stammgast("replay", folder / "good.jsonl", "--programme", COFFEE, "--db", folder / "made.duckdb")
    assert made.exit_code == 0, made.output
    (folder / "damaged.duckdb").write_bytes((folder / "made.duckdb").read_bytes()[:300_000])
    return folder


def standing(folder: Path) -> dict[str, int]:
    """Every file of a folder with its time of change."""
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*")}


def assert_plain(result: Result, code: int, *words: str) -> None:
    """One message with these words, the exit code, and no traceback."""
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    assert sum(line.startswith("Error: ") for line in result.output.splitlines()) == 1, result.output
    for word in words:
        assert word in result.output, result.output


REPLAY = ("replay", "{f}/good.jsonl", "--programme", COFFEE, "--db", "{f}/x.duckdb")
QUERY = ("query", "--db", "{f}/made.duckdb")
NO_KAFKA = ("--bootstrap", NOBODY)
MISTAKES = ("currancy", "currency", "2026-01-01.yaml:9", "2026-01-01.yaml:11", "visit")

TABLE: list[tuple[tuple[str, ...], int, tuple[str, ...]]] = [
    # verbs and options
    (("relpay",), 2, ("no verb `relpay`", "stammgast replay")),
    (("replay", "{f}/good.jsonl", "--programm", COFFEE), 2, ("--programme",)),
    (("replay", "{f}/good.jsonl", "--programme", COFFEE), 2, ("--db",)),
    (("replay",), 2, ("EVENTS",)),
    ((*REPLAY, "--churn-horizon-days", "soon"), 2, ("'soon'", "--churn-horizon-days")),
    ((*REPLAY, "--churn-threshold", "7"), 2, ("--churn-threshold", "0", "1")),
    ((*REPLAY, "--memory-limit", "much"), 2, ("'much'", "2GB")),
    (("worker", "--bootstrap", "localhost"), 2, ("'localhost'", "localhost:9092")),
    (("worker",), 2, ("--bootstrap",)),
    (("worker", *NO_KAFKA, "--partitions", "0"), 2, ("--partitions",)),
    (("worker", *NO_KAFKA, "--inbound", "shop-events=party"), 2, ("--inbound", "party")),
    (("worker", *NO_KAFKA, "--sasl-username", "me"), 2, ("--security-protocol", "SASL_SSL")),
    (("tick", *NO_KAFKA, "--at", "2026-03-01T00:00:00"), 2, ("--at", "2026-03-01T00:00:00+01:00")),
    (("tick", *NO_KAFKA, "--at", "tomorrow"), 2, ("--at", "2026-03-01T00:00:00+01:00")),
    (("verify", *NO_KAFKA, "--sample", "5%%"), 2, ("--sample", "5%")),
    (("verify", *NO_KAFKA, "--since", "yesterday"), 2, ("--since", "2026-03-01T00:00:00+01:00")),
    (("verify", *NO_KAFKA, "--anchor", "{f}/good.jsonl"), 2, ("--anchor", "verify --json")),
    (("rejects", "list", *NO_KAFKA, "--reason", "luck"), 2, ("luck", "id_reused")),
    (("rejects", "redrive", *NO_KAFKA), 2, ("say which records", "--all")),
    (("projector", *NO_KAFKA, "--db", "{f}/x.duckdb", "--lake", "s3://x"), 2, ("one of both", "--lake CATALOGUE")),
    (("import", "{f}/good.jsonl", "--preset", "till", "--out", "{f}/x.jsonl"), 2, ("'till'", "online-retail")),
    (("import", "{f}/good.jsonl", "--preset", "cdnow", "--out", "{f}/x.jsonl"), 2, ("good.jsonl:1", "CDNOW_master.txt")),
    (("import", "{f}/good.jsonl", "--preset", "online-retail", "--out", "{f}/x.jsonl"), 2, ("good.jsonl",)),
    # programmes
    (("rules", "check", "{f}/broken"), 1, (*MISTAKES, "mistakes in")),
    (("rules", "show", "{f}/broken"), 1, MISTAKES),
    (("rules", "publish", "{f}/broken", *NO_KAFKA), 1, (*MISTAKES, "nothing was done")),
    (("replay", "{f}/good.jsonl", "--programme", "{f}/broken", "--db", "{f}/x.duckdb"), 1, MISTAKES),
    (("worker", *NO_KAFKA, "--programme", "{f}/broken"), 1, MISTAKES),
    (("up", "--db", "{f}/x.duckdb", "--programme", "{f}/broken"), 1, MISTAKES),
    (("rules", "check", "{f}/latin.yaml"), 1, ("latin.yaml", "UTF-8")),
    (("rules", "check", "{f}/none"), 1, ("no programme files",)),
    (("rules", "check", "{f}/nowhere"), 2, ("nowhere", "there is no such")),
    (("replay", "{f}/good.jsonl", "--programme", "{f}/none", "--db", "{f}/x.duckdb"), 2, ("no programme in it", ".yaml")),
    (("up", "--db", "{f}/x.duckdb", "--programme", "{f}/nowhere"), 2, ("there is no such folder",)),
    (("up", "--db", "{f}/nowhere/x.duckdb"), 2, ("there is no folder", "--db")),
    # files of events
    (("replay", "{f}/gone.jsonl", *REPLAY[2:]), 2, ("gone.jsonl", "No such file")),
    (("replay", "{f}", *REPLAY[2:]), 2, ("is a directory",)),
    (("replay", "{f}/cut.jsonl.gz", *REPLAY[2:]), 2, ("cut.jsonl.gz", "cut off", "Nothing was made")),
    (("replay", "{f}/garbled.jsonl.gz", *REPLAY[2:]), 2, ("garbled.jsonl.gz", "damaged", "Nothing was made")),
    ((*REPLAY, "--facts"), 2, ("good.jsonl:1", "stammgast dump")),
    ((*REPLAY, "--until", "2026-03-01T00:00:00"), 2, ("--until", "offset", "2026-03-01T00:00:00+01:00")),
    ((*REPLAY, "--until", "2026-02-30T00:00:00Z"), 2, ("--until", "offset")),
    (("publish", "{f}/gone.jsonl", *NO_KAFKA), 2, ("gone.jsonl", "No such file")),
    (("publish", "{f}", *NO_KAFKA), 2, ("is a directory",)),
    (("publish", "{f}/good.jsonl", *NO_KAFKA, "--topic", "points-log"), 2, ("only the engine", "shop-events")),
    # DuckDB files
    ((*REPLAY[:-1], "{f}/made.duckdb"), 2, ("exists already", "--fresh")),
    ((*REPLAY[:-1], "{f}/nowhere/x.duckdb"), 1, ("nowhere/x.duckdb", "--db")),
    ((*REPLAY[:-1], "{f}/none"), 2, ("is a directory",)),
    (("query", "select 1"), 2, ("--db FILE",)),
    (("query", "select 1", "--db", "{f}/gone.duckdb"), 2, ("there is no", "--db")),
    (("query", "select 1", "--db", "{f}/no.duckdb"), 1, ("no DuckDB file", "--db")),
    (("query", "from balances", "--db", "{f}/damaged.duckdb"), 1, ("damaged.duckdb",)),
    (("query", "from balances", "--db", "{f}/foreign.duckdb"), 2, ("foreign.duckdb", "no tables of stammgast", "--db")),
    (("query", "select 1", "--db", "{f}/made.duckdb", "--format", "xml"), 2, ("'xml'", "parquet")),
    # questions
    ((*QUERY,), 2, ("SQL",)),
    ((*QUERY, ""), 2, ("no question",)),
    ((*QUERY, "-- nothing at all"), 2, ("no question",)),
    ((*QUERY, "select 1; select 2"), 2, ("2 statements",)),
    ((*QUERY, "selct 1"), 1, ("syntax error", "selct")),
    ((*QUERY, "from balance"), 1, ("balances",)),
    ((*QUERY, "select available / 'x' from balances"), 1, ("'x'",)),
    ((*QUERY, "delete from log_positions"), 1, ("refused", "DELETE")),
    ((*QUERY, "copy (select 1) to '{f}/stolen.csv'"), 1, ("refused", "COPY")),
    ((*QUERY, "attach '{f}/foreign.duckdb'"), 1, ("refused", "ATTACH")),
    ((*QUERY, "--select 1"), 2, ("no question",)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "code", "words"), TABLE, ids=[" ".join(row[0]).replace(COFFEE, "P") for row in TABLE]
)
def test_what_goes_wrong_is_told_plainly(
    files: Path, arguments: tuple[str, ...], code: int, words: tuple[str, ...]
) -> None:
    """Each row of the table ends in one message with what, where and how to mend it, and leaves every file as it was."""
    # given
    before = standing(files)

    # when
    result = stammgast(*(argument.replace("{f}", str(files)) for argument in arguments))

    # then
    assert_plain(result, code, *words)
    assert standing(files) == before


def test_all_mistakes_of_a_programme_are_told_at_once(files: Path) -> None:
    """A file with several mistakes is mended in one go: each has its line, its field and a proposal."""
    # when
    result = stammgast("rules", "check", files / "broken", "--json")

    # then
    problems = json.loads(result.stdout)["problems"]
    assert result.exit_code == 1
    assert len(problems) >= 4
    assert {problem["line"] for problem in problems} >= {3, 9, 11}
    assert all(problem["proposal"] for problem in problems)


def rejects(db: Path) -> list[tuple[str, int]]:
    """(reason, line) of every reject in a file."""
    result = stammgast(
        "query", "--db", db, "--format", "json", "select reason, position from rejects order by position"
    )
    return [(row["reason"], row["position"]) for row in json.loads(result.stdout)]


def test_bad_lines_are_rejected_with_their_number_and_the_good_ones_decided(files: Path, tmp_path: Path) -> None:
    """Replay of a file with two bad lines: both in rejects, the visits between them have their decisions, exit code 0."""
    # when
    db = tmp_path / "x.duckdb"
    result = stammgast("replay", files / "mixed.jsonl", "--programme", COFFEE, "--db", db, "--json")

    # then
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert (summary["events"], summary["rejects"]) == (4, 2)
    assert rejects(db) == [("not_json", 2), ("not_a_cloudevent", 4)]
    members = stammgast("query", "--db", db, "--format", "csv", "select member_id from visits order by all").stdout
    assert members.split() == ["member_id", "m1", "m2"]


@pytest.mark.parametrize(("name", "events", "bad"), [("empty.jsonl", 0, 0), ("binary.jsonl", 5, 5)])
def test_a_file_without_events_makes_empty_tables(
    files: Path, tmp_path: Path, name: str, events: int, bad: int
) -> None:
    """Nothing in it, or nothing but noise: done, with every line accounted for."""
    # when
    db = tmp_path / "x.duckdb"
    result = stammgast("replay", files / name, "--programme", COFFEE, "--db", db, "--json")

    # then
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert (summary["events"], summary["rejects"]) == (events, bad)
    assert len(rejects(db)) == bad


def test_a_replay_that_breaks_off_leaves_the_old_file_where_it_is(files: Path, tmp_path: Path) -> None:
    """--fresh sets the old file aside only when the new one is whole."""
    # given
    db = tmp_path / "x.duckdb"
    shutil.copy(files / "made.duckdb", db)
    before = standing(tmp_path)

    # when
    result = stammgast("replay", files / "cut.jsonl.gz", "--programme", COFFEE, "--db", db, "--fresh")

    # then
    assert_plain(result, 2, "cut off")
    assert standing(tmp_path) == before


UNREACHABLE = [
    ("worker", *NO_KAFKA, "--programme", COFFEE),
    ("projector", *NO_KAFKA, "--db", "{f}/x.duckdb"),
    ("up", *NO_KAFKA, "--programme", COFFEE, "--db", "{f}/x.duckdb"),
    ("bench", *NO_KAFKA),
]
UNREACHABLE_QUICK = [
    ("publish", "{f}/good.jsonl", *NO_KAFKA),
    ("tick", *NO_KAFKA, "--at", "2026-03-01T00:00:00Z"),
    ("dump", *NO_KAFKA, "--out", "{f}/x.jsonl"),
    ("topics", "create", *NO_KAFKA),
    ("rules", "publish", COFFEE, *NO_KAFKA),
    ("verify", *NO_KAFKA),
    ("rejects", "list", *NO_KAFKA),
    ("rejects", "show", "0:0", *NO_KAFKA),
    ("rejects", "redrive", "0:0", *NO_KAFKA),
]


@pytest.mark.parametrize("arguments", UNREACHABLE_QUICK, ids=[" ".join(row[:2]) for row in UNREACHABLE_QUICK])
def test_a_kafka_that_is_not_there_is_told_by_every_verb(files: Path, arguments: tuple[str, ...]) -> None:
    """The message names the address and the option; nothing is written."""
    # given
    before = standing(files)

    # when
    result = stammgast(*(argument.replace("{f}", str(files)) for argument in arguments))

    # then
    assert_plain(result, 2, f"no Kafka answers at {NOBODY}", "--bootstrap")
    assert not result.output.rstrip().endswith("?.")
    assert standing(files) == before


@pytest.mark.parametrize("arguments", UNREACHABLE, ids=[row[0] for row in UNREACHABLE])
def test_a_role_without_a_kafka_ends_soon(files: Path, arguments: tuple[str, ...]) -> None:
    """Worker, projector, `up` and bench as processes: the same message once, exit code 2, in bounded time, no file left."""
    # given
    before = standing(files)

    # when
    ended = process(*(argument.replace("{f}", str(files)) for argument in arguments))

    # then
    said = ended.stdout + ended.stderr
    assert ended.returncode == 2, said
    assert said.count(f"no Kafka answers at {NOBODY}") == 1
    assert "Traceback" not in said
    assert standing(files) == before


@pytest.fixture
def held(files: Path, tmp_path: Path) -> Iterator[Path]:
    """A DuckDB file that another process writes."""
    path = tmp_path / "held.duckdb"
    shutil.copy(files / "made.duckdb", path)
    program = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"\n"
        yield path
        holder.kill()


def test_a_held_file_stays_with_its_holder(files: Path, held: Path) -> None:
    """Neither query nor replay --fresh touches a file that another process writes; both say what to do."""
    # given
    before = standing(held.parent)

    # when
    asked = stammgast("query", "--db", held, "from balances")
    replayed = stammgast("replay", files / "good.jsonl", "--programme", COFFEE, "--db", held, "--fresh")

    # then
    assert_plain(asked, 1, "held by another process", "when it has finished")
    assert_plain(replayed, 1, "held by another process", "stammgast query")
    assert standing(held.parent) == before


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    mounted = subprocess.run(command, check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no small file system here: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_stops_a_replay_and_leaves_nothing(small_disk: Path, tmp_path: Path) -> None:
    """The message names the file and says to make room; the half of a file is gone."""
    # given
    events = tmp_path / "many.jsonl"
    events.write_bytes(b"".join(visit(number) for number in range(30_000)))

    # when
    result = stammgast("replay", events, "--programme", COFFEE, "--db", small_disk / "x.duckdb")

    # then
    assert_plain(result, 1, "x.duckdb is full", "Make room")
    assert ".part" not in result.output
    assert list(small_disk.iterdir()) == []


def test_a_read_only_place_is_told_and_can_still_be_asked(files: Path, small_disk: Path) -> None:
    """Replay cannot write there and says so; query needs no right to write."""
    # given
    shutil.copy(files / "made.duckdb", small_disk / "made.duckdb")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)

    # when
    replayed = stammgast("replay", files / "good.jsonl", "--programme", COFFEE, "--db", small_disk / "x.duckdb")
    asked = stammgast(
        "query", "--db", small_disk / "made.duckdb", "--format", "csv", "select count(*) as n from visits"
    )

    # then
    assert replayed.exit_code in {1, 2}
    assert_plain(replayed, replayed.exit_code, "x.duckdb", "cannot be written", "--db")
    assert (asked.exit_code, asked.stdout) == (0, "n\n2\n")


def test_sql_may_begin_with_a_comment(files: Path) -> None:
    """What begins with two dashes and holds blanks is SQL, as it comes out of a file."""
    # when
    result = stammgast("query", "--db", files / "made.duckdb", "--format", "csv", "-- how many\nselect 1 as one")

    # then
    assert (result.exit_code, result.stdout) == (0, "one\n1\n")


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="only the Linux kernel tells children of a parent's death"
)
def test_children_end_with_a_killed_parent() -> None:
    """SIGKILL of the parent, which can clean up nothing, ends what it started."""
    # given
    program = (
        "import subprocess, sys\nfrom engine.processes import ends_with_parent\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import sys; sys.stdin.read()'], stdin=subprocess.PIPE, "
        "start_new_session=True, preexec_fn=ends_with_parent())\n"
        "print(child.pid, flush=True)\nsys.stdin.read()\n"
    )
    # The child's input stays open here, so that only the kernel can end it.
    parent = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = os.pidfd_open(int(parent.stdout.readline()))

    # when
    parent.send_signal(signal.SIGKILL)
    parent.wait(10)

    # then
    watch = select.poll()
    watch.register(child, select.POLLIN)
    ended = watch.poll(10_000)
    os.close(child)
    assert ended


def test_the_command_to_copy_is_one_that_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`stammgast` where the PATH leads to this one, else its path, short where it lies below the current folder."""
    # given
    command = tmp_path / "venv" / "bin" / "stammgast"
    command.parent.mkdir(parents=True)
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(command), "demo"])
    monkeypatch.setenv("PATH", "")

    # then
    assert command_name() == str(command)
    monkeypatch.chdir(tmp_path)
    assert command_name() == "venv/bin/stammgast"
    monkeypatch.setenv("PATH", str(command.parent))
    assert command_name() == "stammgast"
    monkeypatch.setattr(sys, "argv", ["-c", "demo"])
    assert command_name() == "stammgast"


@pytest.mark.parametrize(
    ("verb", "where"),
    [("worker", "engine.stream.app.capabilities"), ("projector", "engine.commands.projector.logs_id")],
)
def test_a_broker_that_goes_away_during_a_start(
    verb: str, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a broker that answered once, when it is gone at the next question, then a sentence says so and code 1 is given."""

    async def gone(*_: object) -> None:
        raise NodeNotReadyError("node 2 is not ready")

    monkeypatch.setattr(where, gone)
    more = ["--db", str(tmp_path / "x.duckdb")] if verb == "projector" else []
    result = CliRunner().invoke(main, [verb, "--bootstrap", NOBODY, *more])

    assert_plain(result, 1, "stopped answering", "node 2 is not ready")
