"""What may come in by which topic, and the table of topics for the documentation."""

from __future__ import annotations

import pytest

from engine.settings import TABLE
from engine.stream import topics
from schemas import facts


def test_the_setting_and_the_default_say_the_same() -> None:
    """The default text of the setting `inbound` reads as the default in code."""
    assert topics.parse_inbound(str(TABLE["inbound"].default)) == topics.default_inbound()


def test_open_topics_carry_what_is_neither_staffs_nor_the_engines() -> None:
    """Shop, POS and app events carry every open type; the engine's own types come from nowhere outside."""
    inbound = topics.default_inbound()

    assert inbound["shop-events"].types == frozenset(facts.INBOUND_TYPES) - topics.staff_types() - facts.PERSONAL_TYPES
    assert inbound["profile-events"].types == facts.PERSONAL_TYPES
    for one in inbound.values():
        assert not one.types & frozenset(facts.ENGINE_TYPES)


def test_types_and_sources_can_be_named() -> None:
    """A topic can be narrowed to short or full type names and to sources, which may end in an asterisk."""
    (till,) = topics.parse_inbound("till-7=purchase|stammgast.refund.v1@urn:till:7|urn:pos:*").values()

    assert till.policy().types == {facts.PURCHASE, facts.REFUND}
    assert till.policy().topic == "till-7"
    assert till.admits("urn:till:7")
    assert till.admits("urn:pos:12")
    assert not till.admits("urn:till:70")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no inbound topic"),
        ("shop-events", "does not read TOPIC="),
        ("shop-events=purchases", "there is no type 'purchases'"),
        ("shop-events=tick", "there is no type 'tick'"),
        ("shop-events=* shop-events=*", "named twice"),
        ("facts=*", "the engine's own topic"),
    ],
)
def test_a_wrong_inbound_setting_is_explained(text: str, said: str) -> None:
    """Every mistake in the setting has a sentence of its own."""
    with pytest.raises(ValueError, match=said):
        topics.parse_inbound(text)


def test_the_table_lists_every_topic() -> None:
    """One row per declared topic, with how long it is kept."""
    table = topics.markdown_table()

    assert len(table.splitlines()) == 2 + len(topics.TOPICS)
    assert "| `facts` |" in table
    assert table.count("for ever | delete") == 2
    assert "| `rejects` |" in table
    assert "30 days" in table


def test_settings_that_lose_records_are_named() -> None:
    """Compaction or retention on a log is refused, settings that are not told are taken as right."""
    topics.refuse_unsafe("facts", {"cleanup.policy": "delete", "retention.ms": "-1"})

    with pytest.raises(topics.LogUnsafe, match=r"--add-config cleanup\.policy=delete"):
        topics.refuse_unsafe("facts", {"cleanup.policy": "compact"})
    with pytest.raises(topics.LogUnsafe, match=r"retention\.ms=604800000"):
        topics.refuse_unsafe("facts", {"retention.ms": "604800000"})
    with pytest.raises(topics.LogUnsafe, match=r"add-config unclean\.leader\.election\.enable=false"):
        topics.refuse_unsafe("facts", {"unclean.leader.election.enable": "true"})


def test_three_copies_need_two_to_agree() -> None:
    """With a replication factor of three a write counts when two brokers have it."""
    layout = topics.Layout(replication_factor=3)
    new = topics._new_topic(topics.BY_NAME["facts"], layout)

    assert new.topic_configs["min.insync.replicas"] == "2"
    assert (new.num_partitions, new.replication_factor) == (12, 3)
