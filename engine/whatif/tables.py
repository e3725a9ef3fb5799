"""An outcome as DuckDB tables: in memory to be shown, or as a file of their own. SQL makes them (`sql/tables.sql`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from engine.whatif.plan import WhatIfError
from engine.whatif.running import Outcome
from engine.whatif.tally import Counts
from projections import sql
from projections.files import remove
from rules.book import Programme
from schemas.times import to_datetime

HERE = Path(__file__).parent
_TEXT, _WHOLE, _MOMENT = pa.string(), pa.int64(), pa.timestamp("us", tz="UTC")
_MOVEMENTS = ("member_id", "month", "rule_id", "kind"), ("points_now", "times_now", "points_new", "times_new")
_TIER_CHANGES = ("member_id", "month", "tier_before", "tier"), ("times_now", "times_new")
_NOTICES = ("member_id", "month", "rule_id", "moment", "channel", "state", "reason"), ("notices_now", "notices_new")

Rows = list[dict[str, Any]]


@contextmanager
def tables(outcome: Outcome, path: Path | None) -> Iterator[duckdb.DuckDBPyConnection]:
    """Make the tables and yield a connection to them; with ``path`` as a new file, which appears whole or not at all.

    Raises:
        WhatIfError: the file exists already, or cannot be written.
    """
    if path is None:
        with duckdb.connect() as connection:
            _fill(connection, outcome)
            yield connection
        return
    if path.exists():
        raise WhatIfError(f"{path} exists already: name another file")
    beside = path.with_name(f".{path.name}.part")
    try:
        remove(beside)
        with duckdb.connect(str(beside)) as connection:
            _fill(connection, outcome)
            yield connection
        beside.replace(path)
    except (OSError, duckdb.IOException) as error:
        raise WhatIfError(f"{path}: cannot be written ({error}): name another file") from error
    finally:
        with suppress(OSError):
            remove(beside)


def answers(connection: duckdb.DuckDBPyConnection) -> dict[str, Rows]:
    """Return what is shown, by name."""
    found = {}
    for name, statement in _statements("answers").items():
        result = connection.execute(statement)
        names = [column[0] for column in result.description]
        found[name] = [dict(zip(names, row, strict=True)) for row in result.fetchall()]
    return found


def point_value_minor(programme: Programme | None) -> int | None:
    """Return what a version says that a point is worth, minor units; None where it does not."""
    worth = None if programme is None else programme.document.points.worth
    return None if worth is None else worth.minor


def _fill(connection: duckdb.DuckDBPyConnection, outcome: Outcome) -> None:
    given = {
        "given_run": _run(outcome),
        "given_members": _members(outcome),
        "given_movements": _counted(outcome.movements, *_MOVEMENTS),
        "given_tier_changes": _counted(outcome.tier_changes, *_TIER_CHANGES),
        "given_notices": _counted(outcome.notices, *_NOTICES),
    }
    connection.execute(sql.statements("staging/session")["utc"])
    connection.execute(sql.whole("macros/rfm_segment"))
    for name, table in given.items():
        connection.register(name, table)
    for statement in _statements("tables").values():
        connection.execute(statement)
    for name in given:
        connection.unregister(name)


def _statements(name: str) -> Mapping[str, str]:
    text = (HERE / "sql" / f"{name}.sql").read_text(encoding="utf-8")
    parts = (part.partition("\n") for part in text.split(f"{sql.MARK} ")[1:])
    return {head.strip(): body for head, _, body in parts}


def _run(outcome: Outcome) -> pa.Table:
    plan, counted = outcome.plan, outcome.counted
    present, shadow = plan.at(outcome.settled_us)
    new = plan.taking_over[0] if shadow is None else shadow
    row = {
        "programme": (new.name, _TEXT),
        "versions_now": (_names(plan.present.values()), pa.list_(_TEXT)),
        "versions_new": (_names([*plan.kept.values(), *plan.taking_over]), pa.list_(_TEXT)),
        "since_at": (to_datetime(plan.since_us), _MOMENT),
        "settled_at": (to_datetime(outcome.settled_us), _MOMENT),
        "time_zone": (new.time_zone.key, _TEXT),
        "currency": (new.currency, _TEXT),
        "minor_digits": (new.minor_digits, _WHOLE),
        "points_name": (new.points_name, _TEXT),
        "point_value_now_minor": (point_value_minor(present), _WHOLE),
        "point_value_new_minor": (point_value_minor(new), _WHOLE),
        "facts": (counted["facts"], _WHOLE),
        "facts_compared": (counted["compared"], _WHOLE),
        "decisions_recorded": (counted["recorded"], _WHOLE),
        "followed_left_out": (counted["left_out"], _WHOLE),
        "followed_anew": (counted["followed_anew"], _WHOLE),
        "undecidable": (counted["undecidable"], _WHOLE),
        "refused": (counted["refused"], _WHOLE),
        "processes": (outcome.shards, _WHOLE),
    }
    return pa.table({name: pa.array([value], kind) for name, (value, kind) in row.items()})


def _names(versions: Any) -> list[str]:
    ordered = sorted(versions, key=lambda version: version.valid_from_us)
    return [
        f"version {version.version} from {to_datetime(version.valid_from_us):%Y-%m-%d %H:%M}Z" for version in ordered
    ]


def _members(outcome: Outcome) -> pa.Table:
    members = outcome.members
    columns: dict[str, pa.Array] = {
        "member_id": pa.array([one.member_id for one in members], _TEXT),
        "orders": pa.array([one.orders for one in members], _WHOLE),
        "last_purchase_at": pa.array([one.last_purchase_us for one in members], _WHOLE).cast(_MOMENT),
        "named_segments": pa.array([list(one.segments) for one in members], pa.list_(_TEXT)),
    }
    for side, ending in enumerate(("now", "new")):
        moments = pa.array([one.tier_since_us[side] for one in members], _WHOLE)
        columns[f"tier_since_{ending}"] = moments.cast(_MOMENT)
        columns[f"tier_{ending}"] = pa.array([one.tier[side] for one in members], _TEXT)
        for name in ("balance", "outstanding", "debt"):
            columns[f"{name}_{ending}"] = pa.array([getattr(one, name)[side] for one in members], _WHOLE)
    return pa.table(columns)


def _counted(counts: Counts, keys: Sequence[str], values: Sequence[str]) -> pa.Table:
    texts = list(zip(*counts, strict=True)) or [()] * len(keys)
    numbers = list(zip(*counts.values(), strict=True)) or [()] * len(values)
    columns = {name: pa.array(column, _TEXT) for name, column in zip(keys, texts, strict=True)}
    columns |= {name: pa.array(column, _WHOLE) for name, column in zip(values, numbers, strict=True)}
    return pa.table(columns)
