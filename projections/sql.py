"""Find SQL by name: statements live in .sql files beside this module, never in Python strings.

A file holds one statement or several, each under a line ``-- statement: <name>``. Text before the first such line is a comment.
In a script that is run as a whole, ``-- statement: <name> if <thing>`` runs where the statement ``present`` before it found that.
A statement ``parse`` or ``parse_<things>`` makes the table ``parsed_<things>`` (`parsed_table`) and needs nothing but the batch.
"""

import hashlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent
MARK = "-- statement:"
PARSE, PRESENT = "parse", "present"
_VERSION = re.compile(r"^version: (\d+)$", re.MULTILINE)
# libyaml's, where PyYAML has it, reads the same and takes a tenth of the time.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
BUILD_ORDER = (
    "marts/facts",
    "marts/decisions",
    "marts/purchases",
    "marts/purchase_lines",
    "marts/refunds",
    "marts/visits",
    "marts/reviews",
    "marts/referrals",
    "marts/activities",
    "marts/staff_actions",
    "marts/aliases",
    "marts/claims",
    "marts/transfers",
    "marts/notices",
    "marts/notice_outcomes",
    "marts/costs",
    "marts/challenge_progress",
    "marts/badges",
    "marts/raffles",
    "marts/raffle_tickets",
    "marts/rejects",
    "marts/programmes",
    "marts/meta",
    "marts/stamp",
    "marts/points_entries",
    "marts/redemptions",
    "marts/vouchers",
    "marts/lot_burns",
    "marts/lots",
    "staging/points",
    "macros/balances_as_of",
    "marts/balances",
    "marts/tier_history",
    "marts/tiers",
    "marts/members",
    "staging/steps",
    "staging/bought",
    "staging/spent",
    "marts/cohorts",
    "macros/tiers_as_of",
    "macros/liability_as_of",
    "macros/rfm_segment",
    "macros/rfm_as_of",
    "macros/churn_as_of",
    "marts/rfm_segments",
    "marts/churn_flags",
    "metrics/retention",
    "metrics/churn_by",
    "metrics/repeat_purchases",
    "metrics/rfm_movements",
    "metrics/purchase_rhythm",
    "metrics/sales_months",
    "metrics/preferred_products",
    "metrics/products",
    "macros/ifrs15",
    "metrics/engagement",
    "metrics/satisfaction_months",
    "metrics/ratings",
    "metrics/unhappy_members",
    "metrics/churn_reasons",
    "metrics/sleepers",
    "metrics/journey",
    "metrics/referral_funnel",
    "metrics/referral_chains",
    "metrics/tier_distribution",
    "metrics/tier_movements",
    "metrics/rule_results",
    "macros/intervals",
    "metrics/notice_funnel",
    "metrics/lift",
    "metrics/reward_uptake",
    "metrics/points_months",
    "metrics/breakage",
    "metrics/liability_by_expiry",
    "metrics/liability_in_money",
    "metrics/cost_days",
    "metrics/programme_costs",
    "metrics/roi",
    "metrics/goal_values",
    "metrics/goal_progress",
    "metrics/leaderboards",
    "marts/public_leaderboards",
    "metrics/model_fits",
    "metrics/customer_values",
    "metrics/plain_value",
)
# What is computed from the marts: each file makes a macro `<name>_as_of` and the view `<name>`, which asks it for the newest day.
METRICS = tuple(name.removeprefix("metrics/") for name in BUILD_ORDER if name.startswith("metrics/"))


@cache
def statements(name: str) -> dict[str, str]:
    """Return the statements of ``<name>.sql`` by their names, in the order of the file.

    Args:
        name: path under ``projections/`` without suffix, such as ``staging/facts``.
    """
    found: dict[str, str] = {}
    current = ""
    for line in (ROOT / f"{name}.sql").read_text(encoding="utf-8").splitlines():
        if line.startswith(MARK):
            current = line.removeprefix(MARK).split(" if ")[0].strip()
            found[current] = ""
        elif current:
            found[current] += line + "\n"
    return {key: text.strip() for key, text in found.items()}


@cache
def conditions(name: str) -> dict[str, str]:
    """Return by its statement's name what must be present for it to run; statements that always run are missing."""
    marks = [line for line in whole(name).splitlines() if line.startswith(MARK) and " if " in line]
    pairs = [line.removeprefix(MARK).split(" if ") for line in marks]
    return {statement.strip(): thing.strip() for statement, thing in pairs}


@cache
def parsing(name: str) -> dict[str, str]:
    """Return the statements of a script that parse a batch and tell what is present in it; any DuckDB can run them."""
    return {
        statement: text
        for statement, text in statements(name).items()
        if statement in {PARSE, PRESENT} or statement.startswith(f"{PARSE}_")
    }


def parsed_table(name: str, statement: str) -> str:
    """Return the name of the table that a parsing statement makes: that of its things, or of the script's."""
    things = statement.removeprefix(PARSE).removeprefix("_") or name.rpartition("/")[2]
    return f"parsed_{things}"


def query(text: str) -> str:
    """Return the question alone of a parsing statement, which begins with comments and a line that makes a table of it."""
    lines = text.splitlines()
    first = next(number for number, line in enumerate(lines) if not line.startswith("--"))
    return "\n".join(lines[first + 1 :])


def whole(name: str) -> str:
    """Return the text of ``<name>.sql``."""
    return (ROOT / f"{name}.sql").read_text(encoding="utf-8")


@cache
def names(folder: str) -> tuple[str, ...]:
    """Return the names of the files of a folder (``marts``, ``macros``), without suffix, sorted."""
    return tuple(sorted(path.stem for path in (ROOT / folder).glob("*.sql")))


def hash_of(*files: str) -> str:
    """Return a hash of the text of these SQL files: it tells whether a database was built with them."""
    digest = hashlib.blake2b(digest_size=16)
    for name in files:
        digest.update(whole(name).encode())
    return digest.hexdigest()


def views() -> Iterator[str]:
    """Yield the SQL that makes every view and macro, each after those it builds on."""
    yield from statements("staging/views").values()
    yield from (whole(name) for name in BUILD_ORDER)
    yield from statements("serving/rules").values()


def views_hash() -> str:
    """Return a hash of the SQL of all views and macros, and of the metrics' versions."""
    texts = hash_of("staging/views", *BUILD_ORDER, "serving/rules")
    return hashlib.blake2b(f"{texts} {sorted(versions().items())}".encode(), digest_size=16).hexdigest()


@cache
def versions() -> dict[str, int]:
    """Return the version of every metric: it is raised whenever the metric's numbers for the same rows change."""
    # Every process that opens a file asks this, and to understand seventy files of YAML took it half a second.
    files = {name: f"metrics/{name}.yml" for name in METRICS} | {name: f"marts/{name}.yml" for name in names("marts")}
    found = {name: _VERSION.search((ROOT / file).read_text(encoding="utf-8")) for name, file in sorted(files.items())}
    return {name: int(line[1]) for name, line in found.items() if line is not None}


@cache
def mart(name: str) -> dict[str, Any]:
    """Return what stands beside a mart: grain, columns, invariants, given and expected rows."""
    return _beside("marts", name)


@cache
def metric(name: str) -> dict[str, Any]:
    """Return what stands beside a metric: that of a mart, and its definition, formula and source."""
    return _beside("metrics", name)


def _beside(folder: str, name: str) -> dict[str, Any]:
    text = (ROOT / folder / f"{name}.yml").read_text(encoding="utf-8")
    description: dict[str, Any] = yaml.load(text, Loader=_LOADER)  # noqa: S506 - a safe loader, either way
    return description
