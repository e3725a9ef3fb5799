"""Codes of vouchers: the same for ever, unlike each other, and any slip of the pen shows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rules.codes import ALPHABET, code_of, is_genuine, plain_code
from tests.properties.profiles import examples
from tests.unit.rules_help import problems

PATTERN = "CAFE-####-####-##"
NAMES = st.text(min_size=1, max_size=40)


def test_a_code_is_what_it_was() -> None:
    """Codes are in the logs for ever: these do not change."""
    assert code_of(PATTERN, "lavender", "urn:till:7|r1") == "CAFE-G8PU-3QCY-SZ"
    assert code_of("####-####-####", "", "urn:till:7|r1") != code_of("####-####-####", "x", "urn:till:7|r1")


def test_ten_thousand_codes_are_ten_thousand() -> None:
    """Nobody's code is another's."""
    assert len({code_of(PATTERN, "", f"r{number}") for number in range(10_000)}) == 10_000


@examples(3)
@given(NAMES, st.integers(0, 9), st.integers(1, len(ALPHABET) - 1))
def test_one_wrong_character_shows(name: str, place: int, by: int) -> None:
    """A code with one character of another value is not genuine."""
    code = plain_code(code_of(PATTERN, "", name))
    assert is_genuine(PATTERN, code)
    at = place + len("CAFE")
    other = ALPHABET[(ALPHABET.index(code[at]) + by) % len(ALPHABET)]
    assert not is_genuine(PATTERN, code[:at] + other + code[at + 1 :])


@examples(3)
@given(NAMES, st.integers(4, 13), st.integers(4, 13))
def test_two_that_changed_places_show(name: str, first: int, second: int) -> None:
    """Any two different characters that changed places make a code that is not genuine."""
    code = plain_code(code_of(PATTERN, "", name))
    changed = [*code]
    changed[first], changed[second] = changed[second], changed[first]
    assert is_genuine(PATTERN, "".join(changed)) == (code[first] == code[second])


def test_what_a_till_reads_is_compared_as_it_was_meant() -> None:
    """Small letters, hyphens and spaces do not count; another length or another word does."""
    assert plain_code(" cafe g8pu-3qcy sz") == "CAFEG8PU3QCYSZ"
    assert is_genuine(PATTERN, "CAFEG8PU3QCYSZ")
    assert not is_genuine(PATTERN, "CAFFG8PU3QCYSZ")
    assert not is_genuine(PATTERN, "CAFEG8PU3QCYS")
    assert not is_genuine(PATTERN, "CAFEG8PU3QCYS0")


def test_what_a_voucher_cannot_say() -> None:
    """Each mistake is named."""
    for voucher, message in (
        ({}, "a voucher says either value or percent, exactly one"),
        ({"value": "5.00 EUR", "percent": "10 %"}, "a voucher says either value or percent, exactly one"),
        ({"value": "5.00 EUR", "code": "A-###"}, "A-### has 3 of #, and codes need 10 to 24"),
        ({"value": "5.00 EUR", "code": "a b"}, "a b is no pattern: capitals, digits, hyphens, and # for what differs"),
        ({"value": "5.00 EUR", "codes": ["A1", "a-1"]}, "the code A1 stands twice"),
        ({"value": "5.00 EUR", "codes": ["A1"], "key": "x"}, "codes are given or made, not both"),
    ):
        found = problems(rewards=[{"id": "five", "cost": 100, "voucher": voucher}])
        assert [problem.message for problem in found] == [message]
    both = {"id": "five", "cost": 100, "stock": 5, "voucher": {"value": "5.00 EUR", "codes": ["A1"]}}
    assert [problem.message for problem in problems(rewards=[both])] == ["there are as many as there are codes"]
