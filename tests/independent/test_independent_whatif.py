"""A campaign tried on the gift shop's real data agrees with plain Python: who is reached, what it costs, what is owed."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import duckdb
import pytest
from click.testing import CliRunner

from engine.cli import main
from tests.independent.points import Books, Member, Rule, Version
from tests.independent.programme import EARLY_BIRD, GIFT_SHOP, LARGE_BASKET, LEVELS, SPEND
from tests.independent.test_independent_gift_shop import MONTH, PROGRAMME, WHOLE_FILE
from tests.independent.till import LONDON, Sale, read

HERE = Path(__file__).parent
PENNIES_NOW, PENNIES_NEW = 1, 2
Rows = list[tuple[Any, ...]]


@dataclass(frozen=True)
class Campaign:
    """Double points and a bonus for huge baskets, from the first to the last day."""

    first: date
    last: date

    @property
    def since(self) -> datetime:
        """Its first moment."""
        return datetime(self.first.year, self.first.month, self.first.day, tzinfo=LONDON)

    def runs(self, sale: Sale) -> bool:
        """Was this sold on one of its days?"""
        return self.first <= sale.when.astimezone(LONDON).date() <= self.last

    def huge(self, sale: Sale) -> bool:
        """Five hundred pounds on one of its days, with everything on the bill."""
        return self.runs(sale) and sum(line.pennies for line in sale.lines) >= 500_00

    def version(self) -> Version:
        """The campaign restated; gold begins at 1000 pounds under it."""
        double = Rule("double", "multiply", factor=Fraction(2), applies=self.runs)
        huge = Rule("huge-basket", "bonus", points=100, applies=self.huge)
        levels = (*LEVELS[:2], replace(LEVELS[2], since=1000_00))
        return Version(9, self.since, (SPEND, double, EARLY_BIRD, LARGE_BASKET, huge), levels, 0, LONDON)

    def write(self, folder: Path) -> Path:
        """The same as a programme file."""
        text = (HERE / "campaign.yaml").read_text(encoding="utf-8")
        path = folder / "campaign.yaml"
        path.write_text(text.replace("FIRST", f"{self.first}").replace("LAST", f"{self.last}"), encoding="utf-8")
        return path


class TieredBooks(Books):
    """Books that remember every tier that a member had, with the moment of reaching it."""

    def __init__(self, versions: Sequence[Version]) -> None:
        super().__init__(versions)
        self.tiers: dict[str, set[tuple[str, datetime]]] = defaultdict(set)

    def _review(self, member: Member, version: Version, moment: datetime) -> None:
        super()._review(member, version, moment)
        if member.standing is not None:
            self.tiers[member.key].add((member.standing.tier, member.standing.since))


def books(csv: Path, *versions: Version) -> TieredBooks:
    """The shop's books under these versions."""
    kept = TieredBooks(versions)
    kept.enter_all(read(csv))
    return kept


def expected(csv: Path, campaign: Campaign) -> dict[str, Rows]:
    """What must be found, from the two books."""
    before = [version for version in GIFT_SHOP if version.begins < campaign.since]
    sides = books(csv, *GIFT_SHOP), books(csv, *before, campaign.version())
    moved: dict[tuple[str, str, str, str], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    kept: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for side, one in enumerate(sides):
        for member in one.members.values():
            for entry in member.entries:
                if entry.when >= campaign.since:
                    found = moved[member.key, f"{entry.when.astimezone(LONDON):%Y-%m}", entry.rule, entry.kind]
                    found[2 * side] += entry.points
                    found[2 * side + 1] += 1
                    kept[member.key][side] += entry.points
    movements = [(*key, *values) for key, values in moved.items()]
    differing = {key[0] for key, values in moved.items() if values[:2] != values[2:]}
    rows = [_member(key, sides, kept[key], differing) for key in sides[0].members]
    owed = [sum(entry.points for member in one.members.values() for entry in member.entries) for one in sides]
    reached, cost = sum(row[-1] for row in rows), sum(row[-2] for row in rows)
    summary = (len(rows), reached, cost, owed[0] * PENNIES_NOW, owed[1] * PENNIES_NEW)
    return {"movements": sorted(movements), "members": sorted(rows, key=repr), "summary": [summary]}


def _member(key: str, sides: tuple[TieredBooks, TieredBooks], kept: list[int], differing: set[str]) -> tuple[Any, ...]:
    now, new = (side.members[key] for side in sides)
    tiers = [one.standing.tier if one.standing else None for one in (now, new)]
    balances = [sum(entry.points for entry in one.entries) for one in (now, new)]
    cost = kept[1] * PENNIES_NEW - kept[0] * PENNIES_NOW
    return (key, *tiers, *balances, *kept, cost, key in differing or sides[0].tiers[key] != sides[1].tiers[key])


def found(csv: Path, campaign: Campaign, folder: Path) -> dict[str, Rows]:
    """The same out of `stammgast whatif`."""
    events, out = folder / "events.jsonl.gz", folder / "whatif.duckdb"
    for arguments in (
        ["import", csv, "--preset", "online-retail", "--out", events],
        ["whatif", campaign.write(folder), "--events", events, "--programme", PROGRAMME, "--out", out, "--json"],
    ):
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.output
    parts = (HERE / "whatif.sql").read_text(encoding="utf-8").split("-- statement: ")[1:]
    with duckdb.connect(str(out), read_only=True) as connection:
        named = (part.partition("\n") for part in parts)
        tables = {name.strip(): connection.execute(query).fetchall() for name, _, query in named}
    return tables | {"members": sorted(tables["members"], key=repr)}


def check(csv: Path, campaign: Campaign, folder: Path) -> None:
    """Every row is the same, and there is something to compare."""
    wanted, got = expected(csv, campaign), found(csv, campaign, folder)
    for name, rows in wanted.items():
        missing, surplus = set(rows) - set(got[name]), set(got[name]) - set(rows)
        assert rows == got[name], f"{name}: missing {sorted(missing)[:3]}, surplus {sorted(surplus)[:3]}"
    members, reached, cost, owed_now, owed_new = wanted["summary"][0]
    assert 0 < reached < members
    assert cost > 0
    assert owed_new > owed_now
    assert any(row[1] != row[2] for row in wanted["members"]), "nobody has another tier"
    assert any(row[3] == "clawback" and row[4] != row[6] for row in wanted["movements"])


def test_the_bundled_month_agrees(tmp_path: Path) -> None:
    """Ten days of December 2010, every member, rule and month."""
    check(MONTH, Campaign(date(2010, 12, 6), date(2010, 12, 15)), tmp_path)


@pytest.mark.full
@pytest.mark.timeout(900)
def test_the_half_year_agrees(tmp_path: Path) -> None:
    """March 2011 in the whole published file, with what came back of it until May."""
    given = os.environ.get(WHOLE_FILE)
    if not given:
        pytest.skip(f"{WHOLE_FILE} names no file; only December 2010 is in the repository")
    check(Path(given).resolve(), Campaign(date(2011, 3, 1), date(2011, 3, 31)), tmp_path)
