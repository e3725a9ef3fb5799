"""The facts log out of the tables that a shop has already, as the lines of a dump: what a comparison needs without a broker."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson

from engine.whatif.plan import WhatIfError
from projections.reading import ask_named
from rules.book import Programme
from schemas import facts
from schemas.envelope import body_hash
from schemas.times import to_text


def dump_lines(db: Path, versions: Sequence[Programme]) -> Iterator[bytes]:
    """Yield every fact of the tables as `stammgast dump` writes it, by partition, then position.

    Args:
        db: a file of ours, also while a projector writes it: all rows are of one moment.
        versions: all of both sides. The tables hold no profiles, so what asks for one cannot be decided from them.

    Raises:
        WhatIfError: there are profiles, and a version may ask for one.
        UsageError, No: as `projections.reading.ask_file`.
    """
    asking = next((one for one in versions if one.asks_profile or one.moments is not None), None)
    for row in ask_named(db, "serving/facts_again", "facts"):
        if row["type"] == facts.PROFILE and asking is not None:
            raise WhatIfError(
                f"{db}: tables hold no profiles, and version {asking.version} of the programme may ask for one (moments, "
                "notices, conditions): take a dump (--facts), or --bootstrap, with the keys"
            )
        yield _line(row)


def _line(row: dict[str, Any]) -> bytes:
    kind, subject, time = row["type"], row["member_id"], to_text(row["time_us"])
    # Nobody opens it: that it came is all that counts.
    data = {"member": subject, "key": "", "sealed": ""} if kind == facts.PROFILE else orjson.loads(row["payload"])
    line = {"partition": row["partition"], "offset": row["position"], "timestamp_ms": row["timestamp_ms"]}
    if row["quarantine"] is not None:
        line["quarantined"] = {"reason": row["quarantine"], "text": row["quarantine_text"] or ""}
    fact = {
        "specversion": "1.0", "id": row["fact_id"], "source": row["source"], "type": kind, "subject": subject, "time": time,
        "recordedat": to_text(row["recorded_us"]), "bodyhash": body_hash(kind, subject, time, data), "data": data,
    }  # fmt: skip
    return orjson.dumps(line | {"fact": fact}, option=orjson.OPT_APPEND_NEWLINE)
