"""Everything that this DuckDB brings, tried through a reader: every kind of statement, every function, every view and table.

What passes is compared with lists that are written down here, so that a new version of DuckDB with new names is noticed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from pyarrow import ipc

from projections import snapshot, sql
from projections.desk import Question, answer, open_copy
from projections.warehouse import Warehouse
from tests.projections import given
from tests.projections.test_serving import REFUSED

# Kinds of statements that no text comes as: made by programs only, or told as another kind (PRAGMA as CALL or SELECT).
NO_TEXT = {
    "INVALID",
    "RELATION",
    "LOGICAL_PLAN",
    "EXTENSION",
    "MULTI",
    "CREATE_FUNC",
    "ANALYZE",
    "PRAGMA",
    "VARIABLE_SET",
}
MORE = (
    "alter table log_positions add column a integer",
    "analyze",
    "execute p",
    "deallocate p",
    "set variable x = 1",
    "use memory",
    "import database 'stolen'",
    "update extensions",
    "merge into log_positions as a using log_positions as b on a.topic = b.topic when matched then delete",
    "explain select 1",
    "begin",
    "vacuum",
    "call range(3)",
    "copy from database a to b",
)
TABLE_FUNCTIONS = set(
    "unnest range generate_series json_each json_tree duckdb_tables duckdb_views repeat version".split()
)
SYSTEM_TABLES = {("information_schema", name) for name in ("schemata", "tables", "columns")}


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    """A copy of a small file, opened as readers have it."""
    folder = tmp_path_factory.mktemp("catalogue")
    with Warehouse.open(folder / "c.duckdb", log_id="test") as warehouse:
        warehouse.apply(*given.records([{"type": "visit", "id": "v", "subject": "m", "time": "2026-03-01T10:00:00Z"}]))
    copy = snapshot.take(folder / "c.duckdb", folder, memory_limit="200MB")
    connection = open_copy(str(copy.path), "200MB", 1)
    yield connection
    connection.close()


def refused(connection: duckdb.DuckDBPyConnection, statement: str) -> bool:
    """Does a reader get no answer because he may not ask?"""
    said, _ = answer(connection, Question(statement, rows=10, reader=True))
    return str(said.get("refused", "")).startswith("refused: ")


def names(connection: duckdb.DuckDBPyConnection, query: str) -> set[str]:
    """One column of an answer."""
    return {str(name) for (name,) in connection.execute(query).fetchall()}


def test_every_kind_of_statement_but_a_select_is_refused(reader: duckdb.DuckDBPyConnection) -> None:
    """A sample of each kind that DuckDB knows: refused, and nothing is different afterwards."""
    tried = set()
    for statement in (*REFUSED, *MORE):
        try:
            kinds = {one.type.name for one in duckdb.extract_statements(statement)}
        except duckdb.Error:  # no statement at all
            continue
        if kinds - {"SELECT"}:
            tried |= kinds
            assert refused(reader, statement.format(folder="stolen")), statement
    known = {name for name in duckdb.StatementType.__members__ if name not in NO_TEXT}

    assert known - tried <= {"SELECT"}


def test_every_function_of_duckdb_is_on_the_list_or_refused(reader: duckdb.DuckDBPyConnection) -> None:
    """By name, as a value and as a table; those on the list answer or say what is wrong with what they were given."""
    allowed = names(reader, "from staging.allowed_functions")
    every = names(
        reader, "select distinct lower(function_name) from duckdb_functions() where database_name in ('system', 'temp')"
    )
    tables = names(
        reader,
        "select distinct lower(function_name) from duckdb_functions() where function_type in ('table', 'pragma', 'table_macro')",
    )
    passed = []
    for name in sorted(every - allowed):
        quoted = name.replace('"', '""')
        forms = [f'from "{quoted}"()', f"select \"{quoted}\"('x')"] if name in tables else [f'select "{quoted}"(1)']
        passed += [form for form in forms if not refused(reader, form)]

    assert len(every) > 800, "the catalogue was not read"
    assert passed == []
    ours = set(sql.names("macros")) | {name for name in allowed if name.endswith("_as_of")} | {"rfm_segment"}
    assert allowed & tables - ours == TABLE_FUNCTIONS
    assert {name for name in allowed if name.startswith(("__internal", "combine", "finalize"))} == set()


def test_no_function_on_the_list_takes_the_database_down(reader: duckdb.DuckDBPyConnection) -> None:
    """Each is called with what it may not expect; whatever it says, the next question is answered."""
    allowed = sorted(
        name
        for name in names(reader, "from staging.allowed_functions")
        if name.isidentifier() and not name.startswith("icu_")
    )
    for name in allowed:
        with contextlib.suppress(duckdb.Error):
            reader.execute(f"select \"{name}\"('x', -1) limit 1").fetchall()
        assert reader.execute("select 42").fetchall() == [(42,)], name


def test_every_view_and_table_of_duckdb_is_on_the_list_or_refused(reader: duckdb.DuckDBPyConnection) -> None:
    """Those of DuckDB itself are refused but for the three that tell a client what there is; of ours, what is not a mart."""
    query = (
        "select schema_name, view_name, internal from duckdb_views() union all "
        "select schema_name, table_name, internal from duckdb_tables()"
    )
    own = names(reader, "from staging.allowed_tables")
    passed, tried = set(), 0
    for schema, name, internal in reader.execute(query).fetchall():
        forms = [f'from "{schema}"."{name}"'] + ([f'from "{name}"'] if internal and name not in own else [])
        tried += len(forms)
        if any(not refused(reader, form) for form in forms):
            passed.add((schema, name))

    assert tried > 100, "the catalogue was not read"
    assert {one for one in passed if one[0] != "main"} == SYSTEM_TABLES
    assert {name for schema, name in passed if schema == "main"} <= own
    assert {"facts", "balances", "log_positions"} <= {name for _, name in passed}


def test_the_refusals_of_a_served_file_are_those_of_a_copy(reader: duckdb.DuckDBPyConnection) -> None:
    """Both are held to the same rules: what test_serving tries over the network is refused here too."""
    wrong = [one for one in REFUSED if not refused(reader, one.format(folder="stolen") if "{folder}" in one else one)]

    # A name that is no table of the copy is refused on the network, where it could be an object of the serving process.
    assert [one for one in wrong if one != "from secret_table"] == []
    assert not Path("stolen").exists()


def test_an_as_of_question_reads_our_tables_whatever_a_reader_calls_his_steps(
    reader: duckdb.DuckDBPyConnection,
) -> None:
    """A step named like a table of ours is seen inside a macro that names it without its schema: none does."""
    ours = names(reader, "select view_name from duckdb_views() where not internal") | names(
        reader, "select table_name from duckdb_tables() where not internal"
    )
    steps = ", ".join(f"{name} as (select 1 as nothing)" for name in sorted(ours))
    values = {"day": "date '2026-03-02'", "ts": "timestamptz '2026-03-02'", "horizon_days": "90"}
    macros = reader.execute(
        "select distinct function_name, parameters from duckdb_functions() where function_type = 'table_macro'"
        " and schema_name = 'main' and not internal and ends_with(function_name, '_as_of')"
    ).fetchall()
    assert len(macros) > 30
    for name, parameters in macros:
        asked = ", ".join(values[one] for one in parameters if one in values)
        call = f"select count(*), sum(hash(t)) from {name}({asked}) as t"  # noqa: S608  our own names
        plain, among_steps = (answer(reader, Question(one, rows=10)) for one in (call, f"with {steps} {call}"))
        assert "types" in plain[0], (name, plain)
        assert "types" in among_steps[0], (name, among_steps)
        assert ipc.open_stream(among_steps[1]).read_all() == ipc.open_stream(plain[1]).read_all(), name
