"""Readers of a served file: every way out is refused by the real server, while it writes, asked from another process."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

from engine.commands.projector import projector
from projections import sql
from projections.server import Endpoint, Server, endpoint_path, load_extensions, read_endpoint
from projections.warehouse import Warehouse
from tests.projections import given

PATIENCE_S = 120.0
LONG = "select sum(hash(range)) from range({rows})"
ALLOWED = (
    "select count(*) from facts",
    "from balances",
    "describe balances",
    "show tables",
    "summarize facts",
    "with x as (select 1 as a) from x",
    "with recursive x(a) as (select 1 union all select a + 1 from x where a < 5) from x",
    "with facts as (select 1 as a) from facts",
    "with orders as (from purchases) select count(*) from orders",
    "with clock as (select 1 as a), settings as (select 2 as a) from clock union all from settings",
    "select list_transform([1, 2], lambda x: x + 1), [y * 2 for y in [1, 2]]",
    "select rank() over w, count(*) over w from facts window w as (order by position) limit 1",
    "values (1), (2)",
    "from facts using sample 3",
    "select * replace (1 as partition) from facts",
    "select * from main.facts",
    "select payload ->> '$.store', date_trunc('month', occurred_at), occurred_at at time zone 'Europe/London' from facts",
    "select log(10), round(avg(position), 2), sum(position) filter (where position > 0), 'a' like 'b' from facts",
    "select 1 where exists (from facts) union all select 2 order by 1 limit 1",
    "select extract(year from occurred_at), occurred_at + interval 1 day, {'a': 1}.a from facts",
    "from information_schema.tables",
    "from log_positions",
    "from meta",
    "from balances_as_of(now())",
    "from tiers_as_of(now())",
    "from rfm_as_of(current_date)",
    "from churn_as_of(date '2026-03-01', 30)",
    "from liability_as_of(timestamptz '2026-03-01')",
    "from retention_as_of(date '2026-03-01', window_days := 30, known_at := now())",
    "from range(3)",
)
REFUSED = (
    # not a SELECT, or more than one
    "insert into log_positions values ('facts', 9, 9)",
    "update log_positions set position = 0",
    "delete from log_positions",
    "drop view facts",
    "create table mine (a integer)",
    "create or replace macro stammgast_authorise(c, q) as (q)",
    "select 1; select 2",
    "select 1; drop view facts",
    "copy facts to '{folder}/stolen.csv'",
    "export database '{folder}/stolen'",
    "set threads = 1",
    "reset enable_external_access",
    "pragma database_list",
    "attach ':memory:' as other",
    "detach memory",
    "load httpfs",
    "install httpfs",
    "create secret (type quack, token 'mine')",
    "call quack_stop('quack:127.0.0.1:1')",
    "checkpoint",
    "vacuum",
    "begin",
    "prepare p as select 1",
    "explain analyze select 1",
    "nonsense",
    # functions
    "from quack_serve('quack:127.0.0.1:0', token = 'abcdefgh')",
    "from quack_stop('quack:127.0.0.1:1')",
    "from quack_query('quack:127.0.0.1:1', 'select 1')",
    "from quack_active_connections()",
    "select quack_check_token('a', 'b', 'c')",
    "from checkpoint()",
    "from force_checkpoint()",
    "from enable_logging()",
    "from disable_logging()",
    "from truncate_duckdb_logs()",
    "from duckdb_logs()",
    "from duckdb_logs_parsed('x')",
    "select write_log('mine')",
    "from enable_profiling()",
    "from duckdb_secrets()",
    "from which_secret('x', 'y')",
    "from duckdb_settings()",
    "from duckdb_databases()",
    "from duckdb_functions()",
    "from duckdb_extensions()",
    "from duckdb_temporary_files()",
    "from duckdb_variables()",
    "select current_setting('temp_directory')",
    "select getvariable('x')",
    "select getenv('HOME')",
    "from query('select 1')",
    "from query_table('facts')",
    "from json_execute_serialized_sql(json_serialize_sql('select 1'))",
    "select sleep_ms(100)",
    "select pg_sleep(1)",
    "from read_text('/etc/passwd')",
    "from system.main.read_text('/etc/passwd')",
    "from \"read_text\"('/etc/passwd')",
    "FROM READ_TEXT('/etc/passwd')",
    "from read_csv_auto('/etc/passwd')",
    "from read_blob('/etc/passwd')",
    "from parquet_scan('x.parquet')",
    "from parquet_metadata('x.parquet')",
    "from sniff_csv('/etc/passwd')",
    "from glob('/*')",
    "select (select content from read_text('/etc/passwd'))",
    "select 1 order by (select count(*) from read_text('/etc/passwd'))",
    "select 1 limit (select count(*) from read_text('/etc/passwd'))",
    "select count(*) filter (where (select true from read_text('/etc/passwd'))) from facts",
    "select * replace ((select content from read_text('/etc/passwd')) as source) from facts",
    "with x as (from read_text('/etc/passwd')) from x",
    "from stammgast_authorise('c', 'q')",
    "select stammgast_authorise('c', 'q')",
    "from seq_scan('facts')",
    "from pragma_storage_info('facts')",
    "from pragma_database_size()",
    "from test_all_types()",
    "from histogram('staging.facts', member_id)",
    "from histogram_values('staging.identity', log_id)",
    "select __internal_decompress_string(1)",
    # tables
    "from '/etc/passwd'",
    'from "/etc/passwd"',
    "from 'https://localhost/x.csv'",
    "from pragma_database_list",
    "from duckdb_settings",
    "from duckdb_logs",
    "from duckdb_secrets",
    "from sqlite_master",
    "from pg_catalog.pg_database",
    "from staging.facts",
    "from staging.identity",
    "from staging.allowed_functions",
    "from temp.information_schema.tables",
    "from other.main.facts",
    "show databases",
    "from information_schema.character_sets",
    # a step that borrows the name of what is forbidden
    "select (with pragma_database_list as (select 1) select 1), * from pragma_database_list",
    "with pragma_database_list as (select 1 as a) from pragma_database_list",
    'select (with "/etc/passwd" as (select 1) select 1), * from "/etc/passwd"',
    "with identity as (select 1 as a) from staging.identity",
    "with identity as (select 1 as a) from served.staging.identity",
    "with identity as (select 1 as a) from (describe staging.identity)",
    "with identity as (select 1 as a) from (summarize staging.identity)",
    'with "staging.identity" as (select 1 as a) from "staging.identity"',
    "with staging as (select 1 as a) from staging.identity",
    # objects of the serving process
    "from secret_table",
)
CLIENT = (
    "import json, sys, duckdb; from projections import sql; from projections.server import load_extensions\n"
    "given = json.load(sys.stdin); connection = duckdb.connect(); load_extensions(connection); answers = []\n"
    "for query in given['queries']:\n"
    "    try: answers.append([True, len(connection.execute(sql.statements('serving/authoriser')['ask'],\n"
    "        {'uri': given['uri'], 'token': given['token'], 'query': query}).fetchall())])\n"
    "    except duckdb.Error as error: answers.append([False, str(error)])\n"
    "json.dump(answers, sys.stdout)\n"
)


class Served:
    """A served file whose one writer thread goes on writing."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "served.duckdb"
        self.warehouse = Warehouse.open(self.path, log_id="test", threads=2)
        self.server = Server.start(self.warehouse.connection, self.path)
        self.written = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

    def _write(self) -> None:
        secret_table = given.records(())  # noqa: F841  a name in the serving process, for the attack on it
        notes = [
            {"type": "visit", "id": f"v{n}", "subject": f"m{n}", "time": "2026-03-01T10:00:00Z"} for n in range(5_000)
        ]
        facts, decisions = given.records(notes)
        for number in range(len(facts)):
            self.warehouse.apply(facts[number : number + 1], decisions[number : number + 1])
            self.written += 1
            if self._stop.is_set():
                return

    def ask(self, *queries: str, token: str | None = None) -> list[tuple[bool, int | str]]:
        """(allowed, rows or error) of each query, asked from another process."""
        token = token or Path(self.server.endpoint.token_file).read_text(encoding="utf-8")
        said = json.dumps({"uri": self.server.endpoint.uri, "token": token, "queries": queries})
        run = subprocess.run([sys.executable, "-c", CLIENT], input=said, capture_output=True, text=True, check=True)
        return [(bool(allowed), answer) for allowed, answer in json.loads(run.stdout)]

    def close(self) -> None:
        """Stop writing and serving."""
        self._stop.set()
        self._thread.join()
        self.server.close()
        self.warehouse.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One served file for all questions of this module."""
    one = Served(tmp_path_factory.mktemp("served"))
    yield one
    one.close()


def test_what_analysts_need_is_answered_while_the_file_is_written(served: Served) -> None:
    """SELECT in all its shapes over the marts and as-of questions."""
    before = served.written
    answers = dict(zip(ALLOWED, served.ask(*ALLOWED), strict=True))

    assert [query for query, (allowed, _) in answers.items() if not allowed] == []
    assert served.written > before


def test_every_way_out_is_refused(served: Served) -> None:
    """Writes, files, network, settings, logs, other readers' queries, the server's own functions and objects."""
    queries = [query.format(folder=served.path.parent) if "{folder}" in query else query for query in REFUSED]
    answers = dict(zip(queries, served.ask(*queries), strict=True))

    assert [query for query, (allowed, _) in answers.items() if allowed] == []
    assert {query for query, (_, error) in answers.items() if "refused: " not in str(error)} == set()
    assert list(served.path.parent.glob("stolen*")) == []
    assert served.ask("select count(*) from facts")[0][0]


def test_a_step_is_a_step_only_where_it_stands(served: Served) -> None:
    """Outside of its own part of a query its name is nobody's; a table of ours that readers may not see is not found by it."""
    ((allowed, error),) = served.ask("select (with identity as (select 1) select 1), * from identity")

    assert not allowed
    assert "Table with name identity does not exist" in str(error)


def test_a_wrong_token_is_refused(served: Served) -> None:
    """Nobody reads without the token."""
    ((allowed, error),) = served.ask("select 1", token="x" * 43)

    assert not allowed
    assert "Authentication failed" in str(error)


def test_a_client_may_attach_and_join(served: Served) -> None:
    """ATTACH works: the marts appear in the reader's own DuckDB, read-only."""
    with duckdb.connect() as reader:
        load_extensions(reader)
        token = Path(served.server.endpoint.token_file).read_text(encoding="utf-8")
        reader.execute(f"create secret (type quack, token '{token}')")
        reader.execute(f"attach '{served.server.endpoint.uri}' as shop")

        assert reader.execute("select count(*) > 0 from shop.facts where position >= 0").fetchone() == (True,)
        with pytest.raises(duckdb.Error):
            reader.execute("insert into shop.log_positions values ('facts', 9, 9)")


def test_the_projectors_own_server_is_this_machines_and_cannot_be_told_otherwise(served: Served) -> None:
    """It listens on 127.0.0.1 and no other address; the command has no option for one. People ask `stammgast readers`."""
    port = served.server.endpoint.port
    socket.create_connection(("127.0.0.1", port), timeout=60).close()

    with pytest.raises(OSError, match=r"refused|timed out|unreachable|address"):
        socket.create_connection(("127.0.0.2", port), timeout=5).close()
    said = {flag for option in projector.params for flag in option.opts}
    assert {flag for flag in said if "host" in flag} == {"--metrics-host"}
    assert "--readers" in said


def test_endpoint_and_token_live_as_long_as_the_server(tmp_path: Path) -> None:
    """FILE.endpoint says where; the token is readable by its owner alone; both go with the server."""
    path = tmp_path / "e.duckdb"
    with Warehouse.open(path) as warehouse:
        with Server.start(warehouse.connection, path) as server:
            endpoint = read_endpoint(path)
            mode = stat.S_IMODE(Path(server.endpoint.token_file).stat().st_mode)
            token = Path(server.endpoint.token_file).read_text(encoding="utf-8")
            assert token not in endpoint_path(path).read_text(encoding="utf-8")

        assert endpoint == Endpoint("127.0.0.1", server.endpoint.port, f"{path}.token", os.getpid())
        assert mode == 0o600
        assert sorted(tmp_path.iterdir()) == [path] or [p.name for p in tmp_path.iterdir() if "wal" not in p.name] == [
            "e.duckdb"
        ]


def test_the_list_of_functions_is_read_from_this_duckdb(served: Served) -> None:
    """No function of the list reaches files, network, settings or logs, whatever this DuckDB brings."""
    names = {
        row[0] for row in served.warehouse.connection.cursor().execute("from staging.allowed_functions").fetchall()
    }
    forbidden = (
        "read_",
        "write_",
        "quack",
        "checkpoint",
        "sleep_ms",
        "pg_sleep",
        "secret",
        "setting",
        "getenv",
        "glob",
        "scan",
        "execute",
    )

    assert {name for name in names if any(word in name for word in forbidden)} == set()
    assert {"sum", "count_star", "log", "date_trunc", "balances_as_of"} <= names
    assert sql.statements("serving/authoriser")["lock"]


@contextmanager
def given_up(folder: Path) -> Iterator[tuple[Warehouse, Server]]:
    """A served file whose next checkpoint ends in a FatalException of DuckDB's own: it has a setting for this."""
    with Warehouse.open(folder / "g.duckdb", threads=1) as warehouse:
        warehouse.connection.execute("set debug_checkpoint_abort = 'before_header'")
        yield warehouse, Server.start(warehouse.connection, folder / "g.duckdb")


class Asker:
    """A process that asks one question of so many rows; on return from here, this process is busy with the answer."""

    def __init__(self, server: Server, rows: int) -> None:
        self._run = subprocess.Popen(
            [sys.executable, "-c", CLIENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._run.stdin is not None
        token = Path(server.endpoint.token_file).read_text(encoding="utf-8")
        queries = [LONG.format(rows=rows)]
        json.dump({"uri": server.endpoint.uri, "token": token, "queries": queries}, self._run.stdin)
        self._run.stdin.close()
        deadline, before_s = time.monotonic() + PATIENCE_S, time.process_time()
        while time.process_time() < before_s + 0.5:
            assert time.monotonic() < deadline, "the question did not come"
            time.sleep(0.01)

    def told(self) -> tuple[bool, int | str]:
        """(answered, rows or error)."""
        assert self._run.stdout is not None
        assert self._run.wait(PATIENCE_S) == 0
        ((answered, told),) = json.load(self._run.stdout)
        return bool(answered), told


def give_up(warehouse: Warehouse, server: Server) -> None:
    """DuckDB gives up the database, and its projector lets go of it."""
    with pytest.raises(duckdb.FatalException):
        warehouse.connection.execute("checkpoint")
    server.close()
    warehouse.abandon()


def test_a_question_under_way_is_answered_when_duckdb_gives_up(tmp_path: Path) -> None:
    """Given a reader who waits for an answer, when the database is given up and let go of, then the reader gets it."""
    with given_up(tmp_path) as (warehouse, server):
        asker = Asker(server, 200_000_000)
        give_up(warehouse, server)

    assert asker.told() == (True, 1)


def test_a_question_that_takes_too_long_then_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a question that outlasts the patience, then the reader is told so, instead of waiting for ever."""
    monkeypatch.setattr("projections.server.LAST_ANSWERS_S", 0.1)
    with given_up(tmp_path) as (warehouse, server):
        asker = Asker(server, 400_000_000)
        give_up(warehouse, server)
        answered, told = asker.told()

    assert not answered
    assert "Failed to send message" in str(told)
