"""The threat model names tests that are there, and the same rights as the script that gives them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
SCRIPT = (ROOT / "deploy" / "kafka" / "acls.sh").read_text(encoding="utf-8")


def test_what_holds_an_answer_is_there() -> None:
    """Every file that the page names exists."""
    # when
    named = set(re.findall(r"`((?:tests|deploy)/[\w./-]+)`", PAGE))

    # then
    assert len(named) > 10
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_table_of_rights_has_every_role_and_topic_of_the_script() -> None:
    """A role or a topic that only one of them names is a mistake."""
    # given
    roles = set(re.findall(r"^(\w+)\)$", SCRIPT, flags=re.MULTILINE))
    table = PAGE.partition("| Role |")[2].partition("\n\n")[0]
    rows = {row.split("|")[1].split()[0]: row for row in table.splitlines()[2:]}

    # then
    assert set(rows) == roles
    for role, row in rows.items():
        body = SCRIPT.partition(f"\n{role})\n")[2].partition(";;")[0]
        topics = {
            word for line in re.findall(r'allow "[^"]+" (.+)', body) for word in re.findall(r"[a-z][a-z-]+", line)
        }
        missing = [topic for topic in topics - {"inbound"} if f"`{topic}`" not in row]
        assert missing == [], role
