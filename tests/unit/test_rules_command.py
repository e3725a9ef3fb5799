"""`stammgast rules check|show|schema`: what a person and a script read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from engine.commands.rules import rules
from rules.profile_needs import Need, profile_needs
from rules.schema import schema_text
from tests.unit.ledger import programme

SHIPPED = Path(__file__).parents[2] / "rules" / "programmes"
BROKEN = Path(__file__).parent / "broken_programmes"


def run(*words: str) -> Result:
    """Run `stammgast rules`."""
    return CliRunner().invoke(rules, list(words))


def test_check_of_a_good_programme_says_so() -> None:
    """A good directory: exit code 0, a line per version."""
    result = run("check", str(SHIPPED / "coffee-bar"))
    assert result.exit_code == 0
    assert result.output.count("no mistakes") == 4
    assert "from 2026-03-05" in result.output


def test_check_of_a_broken_programme_tells_every_mistake() -> None:
    """A broken file: exit code 1, each mistake with file, line, field and proposal, and their number."""
    file = BROKEN / "names.yaml"
    result = run("check", str(file))
    assert result.exit_code == 1
    assert f"{file}:15: earn[double].multiply.only: there is no rule spnd" in result.output
    assert "did you mean spend?" in result.output
    count = len((BROKEN / "names.expected").read_text(encoding="utf-8").splitlines())
    assert f"{count} mistakes in {file}" in result.output


def test_check_names_rules_that_come_to_nobody_without_profiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without keys of the deployment they are named with what they ask; with keys nothing is said; scripts are told anyway."""
    bar, keys = str(SHIPPED / "coffee-bar"), {"STAMMGAST_PROFILE_KEY_FILE": "m.key", "STAMMGAST_PROFILE_KEYS": "k.db"}
    for name in keys:
        monkeypatch.delenv(name, raising=False)
    without = run("check", bar)
    told = json.loads(run("check", bar, "--json").stdout)["versions"]
    given = run("check", bar, "--profile-key-file", "m.key", "--profile-keys", "k.db")
    for name, value in keys.items():
        monkeypatch.setenv(name, value)
    by_variables = run("check", bar)

    assert without.exit_code == 0
    assert without.output.count("to nobody without profiles") == 1
    assert "birthday-soon (birthday, consent), a-year-with-us (consent), " in without.output
    assert [bool(version["needs_profiles"]) for version in told] == [False, False, False, True]
    assert told[3]["needs_profiles"]["birthday-soon"] == ["birthday", "consent"]
    assert "without profiles" not in given.output + by_variables.output
    assert given.exit_code == by_variables.exit_code == 0


def test_profiles_are_asked_for_in_every_part_of_a_rule() -> None:
    """Conditions within conditions, what should have followed, challenges and their notices."""
    found = profile_needs(
        programme(
            """
earn:
  - {id: a, on: purchase, when: {any: [{channel: pos}, {not: {profile: {language: de}}}]}, award: {points: 1}}
  - {id: b, on: purchase, unless: {consent: mail}, award: {points: 1}}
  - {id: c, on: purchase, award: {points: 1}}
challenges:
  - {id: d, on: visit, need: 2, window: {every: week}, then: {points: 1, notice: {template: t}}}
moments:
  - id: e
    on: {not_followed_by: {after: {on: visit, when: {profile: {region: Tirol}}}, by: purchase, within: 1 day}}
    award: {points: 1}
  - {id: f, on: {birthday: {days_before: 1}}, award: {points: 1}}
  - {id: g, on: birthday, award: {points: 1}}
  - {id: h, on: anniversary, award: {points: 1}}
"""
        ).document
    )
    asks = {"a": "profile", "b": "consent", "d": "consent", "e": "profile", "f": "birthday", "g": "birthday"}
    assert found == [Need(rule, (said,)) for rule, said in asks.items()]


def test_check_answers_scripts_in_json() -> None:
    """`--json` holds the mistakes, or the versions with their hashes, on standard output."""
    bad = CliRunner().invoke(rules, ["check", str(BROKEN / "names.yaml"), "--json"])
    assert bad.exit_code == 1
    answer = json.loads(bad.stdout)
    assert answer["ok"] is False
    assert answer["problems"][0].keys() == {"file", "line", "field", "message", "proposal"}
    good = json.loads(run("check", str(SHIPPED / "gift-shop"), "--json").stdout)
    assert good["ok"] is True
    assert [version["version"] for version in good["versions"]] == [1, 2, 3]
    assert good["versions"][1]["valid_from"] == "2010-12-15T00:00:00.000000Z"


@pytest.mark.parametrize("verb", ["check", "show"])
def test_a_path_that_is_not_there_is_wrong_usage(verb: str) -> None:
    """No such path: exit code 2 and what to give instead."""
    result = run(verb, "nowhere")
    assert result.exit_code == 2
    assert "nowhere: there is no such file or directory" in result.output


def test_show_reads_aloud() -> None:
    """`show` names versions, hash, rules in the order in which they are asked, caps, tiers and referral in words."""
    result = run("show", str(SHIPPED / "coffee-bar"))
    assert result.exit_code == 0
    said = result.output
    for words in ("version 1", "version 2", "hash ", "1 point per 1.00 EUR", "regular (Stammgast): from 30.00 EUR"):
        assert words in said
    second = said[said.index("version 2") : said.index("version 3")]
    assert second.index("spend") < second.index("bakery") < second.index("happy-hour")
    assert "Referrals: referrer 100 beans" in second
    third = said[said.index("version 3") :]
    for words in ("free-coffee, free of cost", "Reward free-coffee (A coffee): 120 beans", "code BAR-####-####-##"):
        assert " ".join(words.split()) in " ".join(third.split())


def test_show_answers_scripts_in_json() -> None:
    """`show --json` holds the order of rules and the whole document with its defaults."""
    versions = json.loads(run("show", str(SHIPPED / "gift-shop"), "--json").stdout)
    assert [rule["id"] for rule in versions[1]["order"]] == ["spend", "large-basket", "early-bird"]
    assert versions[1]["document"]["visit_gap"] == "30 minutes"


def test_show_of_a_broken_file_tells_why() -> None:
    """`show` and `publish` refuse a broken file with its mistakes and exit code 1."""
    for words in (["show"], ["publish", "--bootstrap", "localhost:1"]):
        result = run(words[0], str(BROKEN / "money.yaml"), *words[1:])
        assert result.exit_code == 1
        assert "write 0.01 EUR" in result.output


def test_publish_without_a_kafka_is_wrong_usage() -> None:
    """No broker at the address: exit code 2, the address and what to check."""
    result = run("publish", str(SHIPPED / "gift-shop"), "--bootstrap", "127.0.0.1:1")
    assert result.exit_code == 2
    assert "no Kafka answers at 127.0.0.1:1" in result.output


def test_schema_prints_the_schema() -> None:
    """`schema` prints what stands in the repository."""
    assert run("schema").stdout == schema_text()
