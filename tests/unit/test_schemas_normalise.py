"""From the bytes of an event to a fact in normal form, or to the reason why not."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from schemas import facts
from schemas import normalise as normalising
from schemas.envelope import Fact, encode_fact, parse_fact
from schemas.normalise import Policy, line_amount, normalise
from schemas.rejects import INTAKE_REASONS, Rejected
from schemas.times import to_us

NOW = "2026-06-01T12:00:00.000000Z"
LINE = {"sku": "mug", "category": "goods", "quantity": "2", "unit_price": "4.50"}
PURCHASE = {"order_id": "o1", "lines": [LINE], "total": "9.00", "currency": "EUR", "channel": "pos"}


def event(data: dict[str, Any] | None = None, **attributes: Any) -> bytes:
    """Return a purchase, with some attributes or data exchanged."""
    whole: dict[str, Any] = {
        "specversion": "1.0",
        "id": "e1",
        "source": "urn:till:7",
        "type": facts.PURCHASE,
        "subject": "m1",
        "time": "2026-03-01T10:00:00+01:00",
        "data": PURCHASE if data is None else data,
    }
    return orjson.dumps(whole | attributes)


def fact_of(raw: bytes, policy: Policy | None = None) -> Fact:
    """Normalise at noon of 1 June 2026."""
    return normalise(raw, NOW, to_us(NOW), *([policy] if policy else []))


def refusal(raw: bytes, policy: Policy | None = None) -> tuple[str, str]:
    """Return reason and field of the refusal."""
    with pytest.raises(Rejected) as caught:
        fact_of(raw, policy)
    assert caught.value.message
    return caught.value.reason, caught.value.field


def with_line(**values: Any) -> bytes:
    """Return a purchase whose line differs."""
    return event(PURCHASE | {"lines": [LINE | values]})


def test_a_purchase_in_normal_form() -> None:
    """Time is UTC, money is minor units, the order's source is said."""
    fact = fact_of(event())

    assert fact.time == "2026-03-01T09:00:00.000000Z"
    assert fact.time_us == to_us(fact.time)
    assert fact.key == "m1"
    assert fact.data == {
        "order_source": "urn:till:7",
        "order_id": "o1",
        "lines": [
            {
                "sku": "mug",
                "category": "goods",
                "quantity": "2",
                "unit_price": "4.5",
                "discount_minor": 0,
                "amount_minor": 900,
            }
        ],
        "total_minor": 900,
        "currency": "EUR",
        "channel": "pos",
        "store": None,
        "paid_with_points_minor": 0,
        "paid_with_voucher_minor": 0,
    }


def test_one_event_has_one_normal_form_however_its_numbers_are_written() -> None:
    """6, 6.0, "6" and "6.000" are one quantity: the second delivery is a duplicate, not a reused id."""
    spellings: list[Any] = ["6", "6.000", 6, 6.0]
    hashes = {fact_of(with_line(quantity=spelling)).body_hash for spelling in spellings}

    assert len(hashes) == 1


def test_the_offset_of_time_does_not_change_the_fact() -> None:
    """10:00+01:00 and 09:00Z are one moment."""
    assert fact_of(event()).body_hash == fact_of(event(time="2026-03-01T09:00:00Z")).body_hash


def test_recorded_at_is_not_hashed() -> None:
    """A second delivery a day later has the same body."""
    later = "2026-06-02T12:00:00.000000Z"

    assert fact_of(event()).body_hash == normalise(event(), later, to_us(later)).body_hash


def test_json_numbers_are_exact() -> None:
    """A JSON number never goes through a binary float on its way to money."""
    assert fact_of(event(PURCHASE | {"total": 0.1})).data["total_minor"] == 10
    raw = event(PURCHASE | {"total": 0}).replace(b'"total":0', b'"total":90071992547409.93')
    assert fact_of(raw).data["total_minor"] == 9007199254740993
    raw = event(PURCHASE | {"total": 0}).replace(b'"total":0', b'"total":1.0000000000000000000001')
    assert refusal(raw) == ("too_many_decimals", "data")
    raw = event(PURCHASE | {"total": 0}).replace(b'"total":0', b'"total" : 1e-400')
    assert refusal(raw) == ("too_many_decimals", "data")


def test_an_anonymous_sale_is_keyed_by_its_order() -> None:
    """No subject: the order's source and id are the key."""
    assert fact_of(event(subject=None)).key == "order:urn:till:7:o1"
    assert fact_of(event(PURCHASE | {"order_source": "urn:erp"}, subject=None)).key == "order:urn:erp:o1"


@pytest.mark.parametrize(
    ("quantity", "price", "discount", "amount"),
    [
        ("1.5", "0.333333", 0, 50),  # 0.4999995
        ("3", "0.335", 50, 51),  # 1.005 - 0.50 = 0.505
        ("1", "0.005", 0, 1),  # half goes up
        ("0.001", "0.000001", 0, 0),
        ("2", "5", 0, 1000),
        ("1", "1", 200, -100),
    ],
)
def test_a_line_amount_is_rounded_half_up_once(quantity: str, price: str, discount: int, amount: int) -> None:
    """half_up(quantity x price - discount), in minor units."""
    assert amount == line_amount(quantity, price, discount, 2)


def test_a_currency_has_its_own_digits() -> None:
    """Yen have none, dinars of Kuwait three."""
    yen = PURCHASE | {"currency": "JPY", "total": "900", "lines": [LINE | {"unit_price": "450"}]}
    dinar = PURCHASE | {"currency": "KWD", "total": "9.000"}

    assert fact_of(event(yen)).data["lines"][0]["amount_minor"] == 900
    assert fact_of(event(dinar)).data["total_minor"] == 9000
    assert refusal(event(yen | {"total": "900.5"})) == ("too_many_decimals", "data")


REFUSED: list[tuple[str, str, bytes]] = [
    ("not_json", "", b'{"specversion":'),
    ("not_json", "", b"\xff\xfe"),
    ("not_json", "", b""),
    ("not_a_cloudevent", "", b"[1, 2]"),
    ("not_a_cloudevent", "specversion", event(specversion="0.3")),
    ("not_a_cloudevent", "id", event(id="")),
    ("not_a_cloudevent", "source", event(source=None)),
    ("not_a_cloudevent", "time", event(time=1772355600)),
    ("not_a_cloudevent", "time", event(time="yesterday")),
    ("unknown_type", "type", event(type="com.example.purchase")),
    ("not_allowed", "type", event(type=facts.TICK, data={})),
    ("not_allowed", "source", event(source="urn:stammgast:timer")),
    ("naive_time", "time", event(time="2026-03-01T10:00:00")),
    ("invalid", "time", event(time="2026-02-30T10:00:00Z")),
    ("future_time", "time", event(time="2026-06-01T12:10:00Z")),
    ("personal_subject", "subject", event(subject="jane@example.org")),
    ("personal_subject", "subject", event(subject="+49 170 1234567")),
    ("personal_subject", "subject", event(subject="00491701234567")),
    ("personal_subject", "data.referrer", event({"referrer": "a.b@example.org"}, type=facts.REFERRAL)),
    ("invalid", "subject", event({"store": "s1"}, type=facts.VISIT, subject=None)),
    ("invalid", "subject", event(subject="order:urn:till:7:o1")),
    ("invalid", "data.lines.0.sku", with_line(sku=None)),
    ("invalid", "data.lines.0.quantity", with_line(quantity="0")),
    ("invalid", "data.lines.0.quantity", with_line(quantity="NaN")),
    ("invalid", "data.lines.0.discount", with_line(discount="9.01")),
    ("invalid", "data.colour", event(PURCHASE | {"colour": "red"})),
    ("invalid", "data.total", event(PURCHASE | {"total": "-1"})),
    ("invalid", "data.total", event(PURCHASE | {"total": 1e300})),
    ("invalid", "data.channel", event(PURCHASE | {"channel": "fax"})),
    ("invalid", "data.lines", event(PURCHASE | {"lines": []})),
    ("unknown_currency", "data.currency", event(PURCHASE | {"currency": "XXY"})),
    ("too_many_decimals", "data", event(PURCHASE | {"total": "9.001"})),
    ("too_many_decimals", "data.lines.0.quantity", with_line(quantity="1.0001")),
    ("too_many_decimals", "data.lines.0.unit_price", with_line(unit_price="1.0000001")),
    ("too_large", "", event(PURCHASE | {"order_id": "x" * 900_000})),
]


@pytest.mark.parametrize(("reason", "field", "raw"), REFUSED, ids=lambda value: value[:24] if value else "-")
def test_a_bad_event_is_refused_with_its_reason_and_field(reason: str, field: str, raw: bytes) -> None:
    """The owner of the source reads what is wrong, and where."""
    assert (reason, field) == refusal(raw)


def test_every_reason_of_intake_has_an_example_here() -> None:
    """A new reason needs an example. What is said of profiles is in test_vault.py, because only a vault can say it."""
    assert set(INTAKE_REASONS) == {reason for reason, _, _ in REFUSED}


def test_a_refused_key_is_not_repeated_in_the_message() -> None:
    """Messages are read by people who may not see the address."""
    with pytest.raises(Rejected) as caught:
        fact_of(event(subject="jane@example.org"))

    assert "jane" not in str(caught.value)


def test_bare_digits_are_a_key() -> None:
    """Customer numbers are keys, however long."""
    assert fact_of(event(subject="17850")).key == "17850"
    assert fact_of(event(subject="491701234567")).key == "491701234567"


def test_a_topic_carries_only_its_types() -> None:
    """The type says what an event is; the policy says by which topic it may come."""
    visits_only = Policy("door-events", frozenset({facts.VISIT}))

    assert refusal(event(), visits_only) == ("not_allowed", "type")


@pytest.mark.parametrize(
    "data",
    [
        {"order_id": "o1", "currency": "EUR"},
        {"order_id": "o1", "currency": "EUR", "amount": "1", "lines": [{"sku": "mug", "quantity": 1}]},
        {"order_id": "o1", "currency": "EUR", "lines": [{"sku": "mug"}]},
        {"order_id": "o1", "currency": "EUR", "lines": [{"quantity": 1}]},
    ],
)
def test_a_refund_says_one_thing(data: dict[str, Any]) -> None:
    """Either lines or an amount; each line names what and how much."""
    assert refusal(event(data, type=facts.REFUND))[0] == "invalid"


def test_a_fact_survives_the_log() -> None:
    """parse(encode(fact)) is the fact."""
    fact = fact_of(event())

    assert fact == parse_fact(encode_fact(fact))


@pytest.mark.parametrize("reason", ["", "Lost Card", "lost card", "anna wrote to us", "x" * 65])
def test_staff_say_why_in_a_word_of_their_list(reason: str) -> None:
    """Free text could hold a name: it does not get in."""
    with pytest.raises(ValidationError):
        facts.StaffData.model_validate({"operator": "op-3", "reason": reason})
    assert facts.StaffData.model_validate({"operator": "op-3", "reason": "lost_card"}).reason == "lost_card"


def test_staff_types_come_by_their_own_topic_and_name_who_and_why() -> None:
    """Every staff type is inbound, and its model asks for operator and reason."""
    assert set(facts.INBOUND_TYPES) >= facts.STAFF_TYPES
    assert not facts.STAFF_TYPES & facts.ANONYMOUS_TYPES
    for event_type, model in facts.DATA_MODELS.items():
        assert issubclass(model, facts.StaffData) == (event_type in facts.STAFF_TYPES)


def test_a_fault_of_ours_refuses_the_one_event_and_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever nobody thought of goes into rejects with its bytes, to be sent again after an upgrade."""

    def broken(_event: object) -> dict[str, Any]:
        raise ZeroDivisionError

    # given
    monkeypatch.setattr(normalising, "_form", broken)

    # when
    with pytest.raises(Rejected) as caught:
        fact_of(event({}, type="stammgast.joined.v1"))

    # then
    assert caught.value.reason == "invalid"
    assert "fault of ours (ZeroDivisionError): redrive it" in caught.value.message
