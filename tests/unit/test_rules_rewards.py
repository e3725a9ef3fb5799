"""Rules that give rewards: the programme of a corner cafe loads and reads well; what cannot be meant is a mistake."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from engine.commands.rules import rules
from tests.unit.rules_help import problems

CAFE = Path(__file__).parent / "programmes" / "corner-cafe.yaml"
GIVES = {"id": "tenth", "on": "purchase", "reward": "coffee"}
COFFEE = [{"id": "coffee", "cost": 120}]


def test_the_corner_cafe_loads_without_a_mistake_or_a_contradiction() -> None:
    """A programme as its owner would say it, with a coffee that a rule gives, is checked and read aloud."""
    # when
    checked, shown = (CliRunner().invoke(rules, [command, str(CAFE)]) for command in ("check", "show"))
    # then
    assert checked.exit_code == 0, checked.output
    assert checked.output.rstrip().endswith("6 rules, 3 tiers, no mistakes")
    assert "free-coffee, free of" in shown.output
    assert "free-coffee (Ein Kaffee): 120" in shown.output


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"reward": "cofee"}, "there is no reward cofee"),
        ({"cap": {"points": 5}}, "a reward is counted in times"),
        ({"expire": "none"}, "a reward has no expire"),
        ({"pending": "none"}, "a reward has no pending"),
        ({"exclusive": "best"}, "a reward has no exclusive"),
        ({"bonus": True}, "only an award can be a bonus, not reward"),
        ({"award": {"points": 5}}, "one rule has both award and reward"),
    ],
)
def test_what_a_rule_that_gives_a_reward_cannot_say(rule: dict[str, object], message: str) -> None:
    """Each mistake is named; without it the rule is right."""
    assert problems(earn=[GIVES], rewards=COFFEE) == []
    assert [problem.message for problem in problems(earn=[GIVES | rule], rewards=COFFEE)] == [message]
