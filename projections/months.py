"""Keep what members had bought, and had in points, when a month ended: a question as of a day then counts only what came after.

A month is kept once, when facts of a later one were answered, and what is kept of it follows from the facts alone: a rebuild
makes the same rows, whenever it comes to it. Only another time zone of the programme, by which other days are counted, or
another currency of it throws the kept months away; they are then made anew.
"""

from __future__ import annotations

from datetime import date
from typing import Final

import duckdb

from projections import sql

DUE: Final = "staging/months_due"
#: Points after purchases: of the same partitions, and no further.
MAKING: Final = ("staging/months", "staging/months_points")


class Months:
    """When months are to be kept, for one open file. Belongs to the thread that writes."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._looked_on: date | None = None

    def due(self) -> date | None:
        """Return the last day of the next month to be kept; None where there is none. Errors: duckdb.Error.

        Where there was none, there is none until the programme's next day.
        """
        statements = sql.statements(DUE)
        ((day,),) = self._connection.execute(statements["day"]).fetchall()
        if day is None or day == self._looked_on:
            return None
        row = self._connection.execute(statements["due"]).fetchone()
        if row is None or row[0] is None:
            self._looked_on = day
            return None
        month_end: date = row[0]
        return month_end

    def follow_terms(self) -> None:
        """Forget what was counted in another time zone or currency, in the caller's transaction. Errors: duckdb.Error."""
        statements = sql.statements(DUE)
        if self._connection.execute(statements["other_terms"]).fetchone() is not None:
            self._looked_on = None
            for name in [name for name in statements if name.startswith("forget")]:
                self._connection.execute(statements[name])

    def keep(self, month_end: date) -> None:
        """Keep the month that ends on this day, in the caller's transaction.

        Raises:
            duckdb.Error: take the transaction back.
        """
        for script in MAKING:
            found = frozenset[str]()
            for name, text in sql.statements(script).items():
                wanted = sql.conditions(script).get(name)
                if wanted is None or wanted in found:
                    result = self._connection.execute(text, [month_end] if "$1" in text else None)
                    if name == sql.PRESENT:
                        found = frozenset(thing for (thing,) in result.fetchall())
