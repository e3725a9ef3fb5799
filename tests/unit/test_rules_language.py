"""The language is exact: amounts, factors and durations are what their text says, and what is not said has a default."""

from __future__ import annotations

import inspect
import json
import pickle
import re
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rules import language, parts
from rules.book import from_json, load_directory
from rules.checks import validate
from rules.compiling import from_canonical
from rules.draft import read_json, read_yaml, scalar
from rules.errors import ProgrammeErrors
from rules.language import ProgrammeFile
from rules.schema import programme_schema, schema_text
from rules.values import Money, factor_text, parse_factor
from schemas.rounding import Rounding
from tests.unit.rules_help import compiled, problems

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "rules" / "programmes").glob("*/*.yaml"))


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("1.10", Decimal("1.10")),
        ("0.1", Decimal("0.1")),
        ("12", 12),
        ("-3", -3),
        ("007", "007"),
        ("1e3", "1e3"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("14:00", "14:00"),
        ("2026-03-01", "2026-03-01"),
        ("on", "on"),
        ("no", "no"),
        ("yes", "yes"),
        ("true", True),
        ("false", False),
        ("~", None),
        (".inf", ".inf"),
    ],
)
def test_scalars_are_read_by_their_text(text: str, meaning: Any) -> None:
    """Numbers are exact, true and false are the only truths, and everything else stays text."""
    found = scalar(text)
    assert found == meaning
    assert type(found) is type(meaning)


def test_a_factor_is_exact() -> None:
    """1.25, "1.25" and 125 % are 5/4; nothing passes through a float."""
    for said in (Decimal("1.25"), "1.25", "125 %", "125%"):
        assert parse_factor(said) == Fraction(5, 4)
    programme = compiled(
        earn=[
            {"id": "base", "on": "purchase", "award": {"points": 1, "per": "1.00 EUR"}},
            {"id": "more", "on": "purchase", "multiply": {"by": Decimal("1.1")}},
        ]
    )
    factor = programme.rules_on["purchase"][1].multiply
    assert factor is not None
    assert (factor.num, factor.den, factor.only) == (11, 10, None)


@given(st.integers(10, 10_000_000), st.integers(0, 4))
def test_any_decimal_factor_reads_back(units: int, digits: int) -> None:
    """A factor written as a decimal is that fraction, and its text is the same factor."""
    number = Decimal(units).scaleb(-digits)
    if 1 <= number <= 1000:
        assert parse_factor(number) == Fraction(number)
        assert parse_factor(factor_text(Fraction(number))) == Fraction(number)


@given(st.integers(0, 10**12 - 1), st.sampled_from(["EUR", "JPY", "KWD"]))
def test_money_reads_back(minor: int, currency: str) -> None:
    """An amount of money in its canonical text is the same amount, whatever digits its currency has."""
    text = str(Money(minor, currency))
    programme = compiled(currency=currency, points={"worth": text})
    assert programme.document.points.worth == Money(minor, currency)


def test_what_is_not_said_has_its_default() -> None:
    """The smallest programme has the documented defaults."""
    programme = compiled(earn=[{"id": "it", "on": "purchase", "award": {"points": 1}}])
    assert programme.visit_gap_us == 30 * 60 * 1_000_000
    assert programme.late_limit_us is None
    assert programme.points_name == "points"
    assert programme.tiers is None
    assert programme.refer is None
    it = programme.rules_on["purchase"][0]
    assert (it.phase, it.priority, it.exclusive, it.stop, it.cap) == ("base", 0, None, False, None)
    assert it.award is not None
    assert (it.award.per_minor, it.award.gross, it.award.each_line, it.award.round_before) == (
        None,
        False,
        False,
        False,
    )
    assert it.award.rounding is Rounding.FLOOR


def test_everything_that_is_said_arrives() -> None:
    """Award, cap, limit, tiers and referral arrive in the compiled rules with their units."""
    award = {"points": 3, "per": "2.50 EUR", "of": "gross_before_discounts", "each": "line", "round": "half_even"}
    programme = compiled(
        visit_gap="1 hour",
        accept_late="2 weeks",
        earn=[
            {"id": "a", "on": "purchase", "award": {**award, "rounding": "before_multipliers"}, "exclusive": "g"},
            {"id": "l", "on": "purchase", "limit": {"points": 9, "every": "quarter", "only": ["a"]}},
            {"id": "v", "on": "visit", "award": {"points": 1}, "cap": {"times": 1, "per": ["place", "member"]}},
        ],
        tiers={
            "qualify": {"by": "orders", "over": {"rolling": "1 year"}},
            "downgrade": {"to": "earned_level"},
            "levels": [{"id": "guest"}, {"id": "top", "label": "Top", "from": 10, "multiply": 2}],
        },
        refer={"moment": {"first": "purchase", "within": "1 day"}, "referred": {"points": 5}},
    )
    a, limit = programme.rules_on["purchase"]
    assert a.award is not None
    assert (a.award.points, a.award.per_minor, a.award.gross, a.award.each_line) == (3, 250, True, True)
    assert (a.award.rounding, a.award.round_before, a.exclusive) == (Rounding.HALF_EVEN, True, "g")
    assert limit.limit is not None
    assert (limit.phase, limit.limit.points, limit.limit.every) == ("limit", 9, "quarter")
    assert limit.limit.only == frozenset({"a"})
    cap = programme.rules_on["visit"][0].cap
    assert cap is not None
    assert (cap.times, cap.per_place, cap.text) == (1, True, "at most 1 time per member and place ever")
    assert programme.tiers is not None
    assert (programme.tiers.by, programme.tiers.over, programme.tiers.months) == ("orders", "rolling", 12)
    assert [(level.label, level.from_amount, level.num) for level in programme.tiers.levels] == [
        ("guest", 0, 1),
        ("Top", 10, 2),
    ]
    assert programme.refer is not None
    assert (programme.refer.moment, programme.refer.within_us) == ("first_purchase", 86_400_000_000)
    assert programme.refer.referrer is None
    assert (programme.visit_gap_us, programme.late_limit_us) == (3_600_000_000, 14 * 86_400_000_000)


def test_the_total_order_is_phase_then_priority_then_id() -> None:
    """Base, bonus, multiply, limit; within a phase the higher priority, then the id; the file's order does not matter."""
    award = {"points": 1}
    said = [
        {"id": "z-limit", "on": "purchase", "limit": {"points": 1}, "priority": 9},
        {"id": "m", "on": "purchase", "multiply": {"by": 2}},
        {"id": "x-bonus", "on": "purchase", "award": award, "bonus": True},
        {"id": "b", "on": "purchase", "award": award},
        {"id": "a", "on": "purchase", "award": award},
        {"id": "c", "on": "purchase", "award": award, "priority": 5},
        {"id": "d", "on": "purchase", "award": award, "priority": -5},
    ]
    for earn in (said, said[::-1]):
        order = [each.id for each in compiled(earn=earn).rules_on["purchase"]]
        assert order == ["c", "a", "b", "d", "x-bonus", "m", "z-limit"]


@pytest.mark.parametrize("file", SHIPPED, ids=[f"{file.parent.name}-{file.stem}" for file in SHIPPED])
def test_canonical_json_is_the_same_version(file: Path) -> None:
    """What is published compiles to the same hash, the same bytes and the same rules; so does a pickled programme."""
    (programme,) = load_directory(file)
    again = from_json(programme.canonical_json())
    assert again == programme
    assert again.canonical_json() == programme.canonical_json()
    assert again.rules_on == programme.rules_on
    assert (again.tiers, again.refer) == (programme.tiers, programme.refer)
    assert pickle.loads(pickle.dumps(programme)) == programme  # noqa: S301 - our own bytes
    assert len(programme.hash) == 32


def test_spelling_does_not_change_the_hash_and_meaning_does() -> None:
    """Comments, order of keys and 1.0 for 1 are spelling; another number is another version."""
    first = compiled(points={"name": "beans", "worth": "0.10 EUR"}, visit_gap="30 minutes")
    same = compiled(visit_gap="30 minute", points={"worth": "0.1 EUR", "name": "beans"})
    other = compiled(points={"name": "beans", "worth": "0.11 EUR"})
    assert first.hash == same.hash == compiled(points={"name": "beans", "worth": "0.10 EUR"}).hash
    assert first.hash != other.hash


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "not JSON"),
        (b"[]", "a programme is a mapping"),
        (b'{"a": 1, "a": 2}', "a key stands twice"),
        (b'{"language": 99}', "language 99 is unknown"),
        (b'{"language": 1, "programme": "x"}', "version is missing"),
        (b"null", "there is no programme"),
        (b'{"programme": "\\ud800"}', "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_what_another_engine_published_is_refused_in_words(text: bytes, message: str) -> None:
    """JSON that this engine does not understand is a ProgrammeErrors that says why."""
    with pytest.raises(ProgrammeErrors, match=message):
        from_canonical(text)


def test_decimals_in_json_are_exact() -> None:
    """A number in canonical JSON never passes through a float."""
    assert read_json(b'{"by": 1.1}', "x").tree == {"by": Decimal("1.1")}


def test_every_key_is_described() -> None:
    """Every field of every model has a description."""

    models = {model for _, model in inspect.getmembers(language, inspect.isclass) if issubclass(model, parts.Part)}
    assert ProgrammeFile in models
    for model in models:
        for name, info in model.model_fields.items():
            assert info.description, f"{model.__name__}.{name} has no description"


def test_the_schema_in_the_repository_is_current() -> None:
    """`rules/programme.schema.json` is what the models say, and is a JSON Schema."""
    kept = (ROOT / "rules" / "programme.schema.json").read_text(encoding="utf-8")
    assert kept == schema_text(), "write it anew: stammgast rules schema > rules/programme.schema.json"
    jsonschema.Draft202012Validator.check_schema(json.loads(kept))


class EditorLoader(yaml.SafeLoader):
    """YAML 1.2 as editors read it: dates and `on` are text."""


EditorLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in known if not tag.endswith(("timestamp", "bool"))]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
EditorLoader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(true|false)$"), list("tf"))


@pytest.mark.parametrize("file", SHIPPED, ids=[f"{file.parent.name}-{file.stem}" for file in SHIPPED])
def test_an_editor_finds_shipped_programmes_good(file: Path) -> None:
    """Each shipped file names the schema beside it, and is valid by it."""
    text = file.read_text(encoding="utf-8")
    first = text.splitlines()[0]
    assert first.startswith("# yaml-language-server: $schema=")
    assert (file.parent / first.partition("=")[2]).resolve() == ROOT / "rules" / "programme.schema.json"
    said = yaml.load(text, EditorLoader)  # noqa: S506 - a SafeLoader with fewer types
    assert not list(jsonschema.Draft202012Validator(programme_schema()).iter_errors(said))


def test_an_editor_finds_the_same_mistakes() -> None:
    """Unknown keys, wrong words, money without a currency and nulls are mistakes by the schema, too."""
    validator = jsonschema.Draft202012Validator(programme_schema())
    good: dict[str, Any] = yaml.load(SHIPPED[0].read_text(encoding="utf-8"), EditorLoader)  # noqa: S506 - as above
    changes: list[dict[str, Any]] = [
        {"earns": []},
        {"visit_gap": 30},
        {"points": {"worth": 1}},
        {"tiers": None},
        {"version": "one"},
    ]
    for change in changes:
        assert list(validator.iter_errors({**good, **change})), change


KEYS = st.sampled_from(
    "programme version valid from earn id on when award points per tiers levels refer cap any not between x".split()
)
TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=30,
)


@given(TREES)
def test_no_tree_breaks_the_checker(said: Any) -> None:
    """Whatever a file holds, the answer is a list of problems, never an exception."""
    draft = read_yaml(json.dumps(said), "any.yaml")
    assert validate(draft) is None
    changes = said if isinstance(said, dict) else {"earn": said, "tiers": said, "refer": said}
    problems(**changes)
