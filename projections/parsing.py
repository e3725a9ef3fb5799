"""Parse records of a log in a DuckDB of its own, which has no file, so that one thread parses while another one writes.

It runs those statements of a staging script that make the tables `parsed_*`, and hands these over as Arrow: the writer
is left with the rows. One thread of the writer's DuckDB cannot do both at once, and the GIL is held by neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import duckdb
import pyarrow as pa

from projections import sql

#: Beside the writer's own limit. A batch is at most 64 MiB of records, and takes some 200 MB parsed.
MEMORY_LIMIT = "1GB"
#: DuckDB parses an Arrow table chunk by chunk; chunks of its own vector size are three times as fast as one chunk of
#: 50,000 (measured).
CHUNK_ROWS = 2048


@dataclass(frozen=True, slots=True)
class Parsed:
    """A batch of one log, parsed: the tables that its script's other statements read, and what is present in it."""

    tables: dict[str, pa.Table]
    present: frozenset[str]


class Parser:
    """One connection, for one thread at a time."""

    def __init__(self) -> None:
        self._connection = duckdb.connect(":memory:", config={"memory_limit": MEMORY_LIMIT, "threads": 1})
        self._connection.execute(sql.statements("staging/session")["utc"])

    def parse(self, script: str, name: str, records: pa.Table) -> Parsed:
        """Run the parsing statements of a script, such as ``staging/facts``, over the records it reads by a name.

        Raises:
            duckdb.Error: no room, or a record that cannot be parsed; the writer then meets the same.
        """
        read, several = {name: in_chunks(records)}, len(sql.parsing(script).keys() - {sql.PRESENT}) > 1
        self._connection.register(name, read[name])
        try:
            made, present = dict[str, pa.Table](), frozenset[str]()
            for statement, text in sql.parsing(script).items():
                wanted = sql.conditions(script).get(statement)
                if wanted is not None and wanted not in present:
                    continue
                if statement == sql.PRESENT:
                    present = frozenset(thing for (thing,) in self._connection.execute(text).fetchall())
                    continue
                table = sql.parsed_table(script, statement)
                if statement == sql.PARSE and several:
                    self._connection.execute(text)
                    made[table] = self._connection.table(table).to_arrow_table()
                    continue
                # Nothing else is parsed from it: straight to Arrow, for to fill a table and read it takes a tenth longer.
                made[table] = self._connection.execute(sql.query(text)).to_arrow_table()
                read[table] = in_chunks(made[table])
                self._connection.register(table, read[table])
            return Parsed(made, present)
        finally:
            for known in read:
                self._connection.unregister(known)

    def close(self) -> None:
        """Let the memory go."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def in_chunks(table: pa.Table) -> pa.Table:
    """The same rows in chunks that DuckDB parses fast."""
    return pa.Table.from_batches(table.to_batches(max_chunksize=CHUNK_ROWS), table.schema)
