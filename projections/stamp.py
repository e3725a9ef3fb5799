"""The stamp of an answer: how far each log was read, under which programmes, with which definitions of metrics."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from typing import Any

import duckdb

from projections import sql


@dataclass(frozen=True, slots=True)
class Stamp:
    """Two answers to the same question with the same stamp are the same.

    Attributes:
        log_id: names the logs the rows come from.
        as_of: the programme's day of `settled_at`, ISO 8601; None in an empty file, as are the next three.
        settled_at: the newest settled moment, ISO 8601 in UTC.
        time_zone, currency: of the programme.
        tables, views: hashes of the SQL that makes the tables, and the marts, macros and metrics.
        positions: topic -> partition -> offset of the last record in the rows.
        programmes: "name vN hash" of every version known, oldest first.
        metrics: name -> version of every metric.
    """

    log_id: str | None
    as_of: str | None
    settled_at: str | None
    time_zone: str | None
    currency: str | None
    tables: str
    views: str
    positions: dict[str, dict[str, int]]
    programmes: tuple[str, ...]
    metrics: dict[str, int]

    def as_json(self) -> str:
        """The stamp as one JSON object, keys in a fixed order."""
        return json.dumps(asdict(self), separators=(",", ":"))

    def short(self) -> str:
        """One line for people: the day, and how many records of each log the rows hold the end of."""
        logs = ", ".join(f"{topic} {'/'.join(map(str, ends.values()))}" for topic, ends in self.positions.items())
        return f"as of {self.as_of or 'no day yet'}; {logs or 'no record read yet'}"


def stamp_of(connection: duckdb.DuckDBPyConnection) -> Stamp:
    """Read the stamp of the rows that this connection sees."""
    cursor = connection.execute(sql.statements("serving/stamp")["stamp"])
    names = [str(column[0]) for column in cursor.description or ()]
    (row,) = cursor.fetchall()
    return stamp_from(dict(zip(names, row, strict=True)))


def stamp_from(row: dict[str, Any]) -> Stamp:
    """The stamp out of the one row of the view `stamp`."""
    positions: dict[str, dict[str, int]] = {}
    for one in row["positions"]:
        positions.setdefault(one["topic"], {})[str(one["partition"])] = one["position"]
    return Stamp(
        row["log_id"],
        _iso(row["as_of"]),
        _iso(row["settled_at"]),
        row["time_zone"],
        row["currency"],
        row["tables_hash"],
        row["views_hash"],
        positions,
        tuple(f"{one['programme']} v{one['version']} {one['hash']}" for one in row["programmes"]),
        {one["metric"]: one["version"] for one in row["metrics"]},
    )


def stamp_from_json(text: str) -> Stamp:
    """The stamp as `serving/stamp.sql` puts it beside an answer."""
    row = json.loads(text)
    if row["settled_at"] is not None:
        row["settled_at"] = datetime.fromisoformat(row["settled_at"]).astimezone(UTC)
    return stamp_from(row)


def _iso(value: date | datetime | str | None) -> str | None:
    return value if value is None or isinstance(value, str) else value.isoformat()
