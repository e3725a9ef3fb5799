"""What a fact does to a member, as examples: given a programme and a history, when a fact comes, then this is decided."""

from __future__ import annotations

import pytest

from engine.ledger.engine_facts import programme_fact, tick_fact
from engine.ledger.partition import FoldFailed, Partition, UnknownProgramme
from schemas import facts
from tests.interpreted import interpreted_only
from tests.unit.ledger import RECORDED, Stage, points, programme

SPEND = """
earn:
  - id: spend
    on: purchase
    award: {points: 1, per: 1.00 EUR, of: net_after_discounts, round: floor}
    unless: {category: [gift_card]}
"""
HAPPY = (
    SPEND
    + """
  - id: happy-hour
    on: purchase
    when: {weekday: [mon, tue], between: ["14:00", "17:00"]}
    multiply: {by: 2, only: spend}
    cap: {points: 15, per: member, every: month}
"""
)
TIERS = """
tiers:
  qualify: {by: spend, over: calendar_year}
  downgrade: {to: earned_level, after: period_end}
  levels:
    - {id: guest, label: Gast}
    - {id: regular, label: Stammgast, from: 100.00 EUR, multiply: 1.5}
    - {id: family, label: Familie, from: 300.00 EUR, multiply: 2}
"""
REFER = """
refer:
  moment: {first: purchase, at_least: 10.00 EUR, within: 90 days}
  referrer: {points: 100, cap: {times: 1, every: year}}
  referred: {points: 50}
"""


def test_a_purchase_earns_by_its_eligible_lines() -> None:
    """Points are floored once per order; a gift card earns nothing."""
    stage = Stage(programme(SPEND))

    assert points(stage.buy("2026-03-02T10:00:00+01:00", ("mug", "5.99"), ("bean", "5.99"))) == [("spend", 11)]
    assert points(stage.buy("2026-03-02T11:00:00+01:00", ("card", "50.00"), category="gift_card")) == []
    assert stage.balance() == 11


def test_points_of_an_order_are_allotted_to_its_lines_by_amount() -> None:
    """Largest remainder: 11 points over two equal lines, the odd one to the first."""
    entry = Stage(programme(SPEND)).buy("2026-03-02T10:00:00+01:00", ("mug", "5.99"), ("bean", "5.99")).entries[0]

    assert entry.lines == [(1, 6), (2, 5)]


def test_a_multiplier_leaves_its_own_entry_and_is_clipped_by_its_cap() -> None:
    """The bonus is the difference to the running total; the decision says which cap cut it."""
    stage = Stage(programme(HAPPY))

    assert points(stage.buy("2026-03-02T15:00:00+01:00", ("mug", "10.00"))) == [("spend", 10), ("happy-hour", 10)]
    second = stage.buy("2026-03-03T15:00:00+01:00", ("mug", "10.00"))
    assert points(second) == [("spend", 10), ("happy-hour", 5)]
    assert "10 due, 5 granted" in second.notes[0].text
    assert points(stage.buy("2026-04-06T15:00:00+02:00", ("mug", "10.00"))) == [("spend", 10), ("happy-hour", 10)]


def test_the_hours_of_a_rule_are_local() -> None:
    """17:00 in Berlin is 15:00 UTC in summer and 16:00 UTC in winter."""
    stage = Stage(programme(HAPPY))

    assert len(stage.buy("2026-07-06T14:59:00Z", ("mug", "10.00")).entries) == 2
    assert len(stage.buy("2026-07-06T15:00:00Z", ("mug", "10.00")).entries) == 1
    assert len(stage.buy("2026-12-07T15:59:00Z", ("mug", "10.00")).entries) == 2


def test_an_order_earns_once_whoever_sends_it_again() -> None:
    """Another id, the same order: decided, nothing moves, and it says so."""
    stage = Stage(programme(SPEND))
    stage.buy("2026-03-02T10:00:00Z", ("mug", "5.00"), order="o7")
    again = stage.buy("2026-03-02T10:00:01Z", ("mug", "5.00"), order="o7")

    assert (again.outcome, again.reason, list(again.entries)) == ("decided", "order_already_counted", [])
    assert stage.balance() == 5


def test_a_second_delivery_is_a_duplicate_and_a_reused_id_is_rejected() -> None:
    """Same (source, id): the body decides."""
    stage = Stage(programme(SPEND))
    data = {"store": "s1", "dwell_seconds": 5}

    assert stage.say(facts.VISIT_V1, "anna", "2026-03-02T10:00:00Z", data, "v1").outcome == "decided"
    assert stage.say(facts.VISIT_V1, "anna", "2026-03-02T10:00:00Z", data, "v1").outcome == "duplicate"
    reused = stage.say(facts.VISIT_V1, "anna", "2026-03-02T10:00:00Z", data | {"dwell_seconds": 6}, "v1")
    assert (reused.outcome, reused.reason) == ("rejected", "id_reused")


def test_a_fact_behind_the_dedupe_horizon_is_rejected() -> None:
    """400 days behind the member's newest fact nobody can tell a duplicate any more."""
    stage = Stage(programme(SPEND))
    stage.buy("2027-03-02T10:00:00Z", ("mug", "5.00"))
    stage.buy("2026-01-27T10:00:00Z", ("mug", "5.00"))
    late = stage.buy("2026-01-26T09:59:59Z", ("mug", "5.00"))

    assert (late.outcome, late.reason) == ("rejected", "too_late_to_deduplicate")
    assert stage.balance() == 10


def test_a_programme_may_limit_lateness() -> None:
    """Older than the member's newest fact by more than the programme accepts: too_late."""
    stage = Stage(programme("accept_late: 30 days\n" + SPEND))
    stage.buy("2026-03-02T10:00:00Z", ("mug", "5.00"))

    assert stage.buy("2026-02-01T10:00:00Z", ("mug", "5.00")).outcome == "decided"
    assert stage.buy("2026-01-30T09:00:00Z", ("mug", "5.00")).reason == "too_late"


def test_a_late_fact_is_judged_by_the_version_of_its_time() -> None:
    """A new version never rewrites, and never judges, what happened before it."""
    doubled = SPEND.replace("points: 1,", "points: 2,")
    stage = Stage(programme(SPEND), programme(doubled, version=2, start="2026-03-01"))

    assert points(stage.buy("2026-03-02T10:00:00+01:00", ("mug", "10.00"))) == [("spend", 20)]
    late = stage.buy("2026-02-28T23:59:59+01:00", ("mug", "10.00"))
    assert points(late) == [("spend", 10)]
    assert late.entries[0].rule_version == 1


def test_before_the_first_version_nothing_is_earned() -> None:
    """The purchase counts as an order, and says why it earned nothing."""
    decision = Stage(programme(SPEND)).buy("2025-12-31T22:59:59Z", ("mug", "10.00"))

    assert (decision.reason, list(decision.entries)) == ("no_programme", [])


def test_another_currency_is_counted_and_earns_nothing() -> None:
    """One deployment, one currency."""
    assert (
        Stage(programme(SPEND)).buy("2026-03-02T10:00:00Z", ("mug", "10.00"), currency="GBP").reason == "other_currency"
    )


def test_an_anonymous_sale_is_decided_without_entries() -> None:
    """It is keyed by its order, and earns for nobody."""
    stage = Stage(programme(SPEND))
    decision = stage.buy("2026-03-02T10:00:00Z", ("mug", "10.00"), member=None, order="o1")

    assert (
        decision.member_id,
        decision.outcome,
        decision.reason,
        list(decision.entries),
    ) == (None, "decided", None, [])
    assert stage.buy("2026-03-02T11:00:00Z", ("mug", "1.00"), member=None, order="o1").reason == "order_already_counted"


def test_the_part_paid_with_points_earns_nothing() -> None:
    """It is taken off the lines pro rata first."""
    decision = Stage(programme(SPEND)).buy("2026-03-02T10:00:00Z", ("mug", "10.00"), payment={"points": "4.50"})

    assert points(decision) == [("spend", 5)]


def test_refunds_take_back_pro_rata_and_never_more_than_the_whole() -> None:
    """Two thirds and then all: 7, then the other 4 points of 11; a third return moves nothing."""
    stage = Stage(programme(SPEND))
    stage.buy("2026-03-02T10:00:00Z", ("mug", "11.00"), order="o1")

    first = stage.refund("2026-03-03T10:00:00Z", "o1", amount="7.33")
    assert points(first) == [("spend", -7)]
    assert first.entries[0].caused_by == first.entries[0].burns[0][0]
    assert points(stage.refund("2026-03-04T10:00:00Z", "o1", lines=[{"line": 1, "quantity": 1}])) == [("spend", -4)]
    third = stage.refund("2026-03-05T10:00:00Z", "o1", amount="1.00")
    assert list(third.entries) == []
    assert third.notes[0].code == "more_than_bought"
    assert stage.balance() == 0


def test_a_refund_by_sku_takes_the_first_lines_with_something_left() -> None:
    """Lines of one SKU are returned in line order."""
    stage = Stage(programme(SPEND))
    stage.buy("2026-03-02T10:00:00Z", ("mug", "10.00"), ("mug", "4.00"), order="o1")
    decision = stage.refund("2026-03-03T10:00:00Z", "o1", lines=[{"sku": "mug", "quantity": 2}])

    assert decision.returned == [(1, 1000, 1000), (2, 1000, 400)]
    assert stage.balance() == 0


def test_a_refund_takes_the_multiplier_with_it() -> None:
    """Every earn entry of the order gives back its own part."""
    stage = Stage(programme(HAPPY))
    stage.buy("2026-03-02T15:00:00+01:00", ("mug", "10.00"), order="o1")

    decision = stage.refund("2026-03-03T10:00:00Z", "o1", amount="5.00")
    assert points(decision) == [("spend", -5), ("happy-hour", -5)]


@pytest.mark.parametrize(
    ("order", "currency", "reason"), [("nope", "EUR", "unknown_order"), ("o1", "GBP", "other_currency")]
)
def test_a_refund_that_fits_no_order_moves_nothing_and_says_so(order: str, currency: str, reason: str) -> None:
    """It is decided all the same, and counted."""
    stage = Stage(programme(SPEND))
    stage.buy("2026-03-02T10:00:00Z", ("mug", "10.00"), order="o1")
    decision = stage.refund("2026-03-03T10:00:00Z", order, amount="5.00", currency=currency)

    assert ("decided", reason, []) == (decision.outcome, decision.reason, list(decision.entries))


def test_a_tier_is_reached_at_once_and_counts_from_the_next_fact() -> None:
    """The tier before the fact counts."""
    stage = Stage(programme(SPEND + TIERS))
    first = stage.buy("2026-03-02T10:00:00+01:00", ("chair", "100.00"))

    assert points(first) == [("spend", 100)]
    assert [(first.tiers[-1].previous or "guest", first.tiers[-1].tier)] == [("guest", "regular")]
    assert points(stage.buy("2026-03-03T10:00:00+01:00", ("mug", "10.00"))) == [("spend", 10), ("tier:regular", 5)]


def test_what_was_earned_in_a_year_holds_to_the_end_of_the_next() -> None:
    """Regular of 2026 until the end of 2027, Berlin time; then a timer takes it, and says when."""
    stage = Stage(programme(SPEND + TIERS))
    reached = stage.buy("2026-03-02T10:00:00+01:00", ("chair", "100.00")).tiers[-1]
    assert reached.until == "2027-12-31T23:00:00.000000Z"

    assert [change for decision in stage.tick("2027-12-31T22:59:59Z") for change in decision.tiers] == []
    (change,) = stage.tick("2028-02-01T00:00:00Z")[0].tiers
    assert (change.member_id, change.tier, change.previous) == ("anna", "guest", "regular")
    assert (change.source, change.occurred_at) == ("urn:stammgast:timer", "2027-12-31T23:00:00.000000Z")


def test_a_refund_takes_the_tier_at_once_in_the_window_of_its_purchase() -> None:
    """The purchase of last year no longer carries the tier of this one."""
    stage = Stage(programme(SPEND + TIERS))
    stage.buy("2026-03-02T10:00:00+01:00", ("chair", "100.00"), order="o1")
    decision = stage.refund("2027-03-02T10:00:00+01:00", "o1", amount="1.00")

    assert decision.progress == [("2026-03-02", -100)]
    assert (decision.tiers[0].tier, decision.tiers[0].previous) == ("guest", "regular")


def test_a_timer_due_exactly_at_a_fact_fires_before_it() -> None:
    """At the last midnight of the year the purchase is already a guest's."""
    stage = Stage(programme(SPEND + TIERS))
    stage.buy("2026-03-02T10:00:00+01:00", ("chair", "100.00"))

    assert points(stage.buy("2027-12-31T23:00:00Z", ("mug", "10.00"))) == [("spend", 10)]


def test_a_rolling_window_ends_with_the_day_months_later() -> None:
    """31 January + 1 month counts to the end of 28 February, Berlin time."""
    rolling = TIERS.replace("over: calendar_year", "over: {rolling: 1 months}")
    stage = Stage(programme(SPEND + rolling))
    reached = stage.buy("2026-01-31T10:00:00+01:00", ("chair", "100.00")).tiers[-1]

    assert (reached.tier, reached.until) == ("regular", "2026-02-28T23:00:00.000000Z")


def test_downgrade_none_leaves_the_best_window_until_a_refund() -> None:
    """Time takes nothing; a refund does."""
    lasting = TIERS.replace("{to: earned_level, after: period_end}", "none")
    stage = Stage(programme(SPEND + lasting))
    stage.buy("2026-03-02T10:00:00+01:00", ("chair", "100.00"), order="o1")

    assert list(stage.tick("2036-01-01T00:00:00Z")[0].tiers) == []
    assert stage.refund("2026-06-01T00:00:00Z", "o1", amount="1.00").tiers[-1].tier == "guest"


def test_a_first_purchase_pays_both_sides_of_a_referral() -> None:
    """The referrer's side is a derived fact, decided in the referrer's own order, linked to its cause."""
    stage = Stage(programme(SPEND + REFER))
    stage.say(facts.REFERRAL, "ben", "2026-03-02T10:00:00Z", {"referrer": "anna"})

    assert points(stage.buy("2026-03-03T10:00:00Z", ("mug", "9.99"), member="ben")) == [("spend", 9)]
    paid = stage.buy("2026-03-04T10:00:00Z", ("mug", "10.00"), member="ben")
    assert points(paid) == [("spend", 10), ("refer:referred", 50)]
    award = stage.decisions[-1]
    assert (award.member_id, points(award)) == ("anna", [("refer:referrer", 100)])
    assert paid.entries[1].entry_id == award.entries[0].caused_by
    assert points(stage.buy("2026-03-05T10:00:00Z", ("mug", "10.00"), member="ben")) == [("spend", 10)]


def test_an_order_from_before_the_referral_that_comes_late_pays_no_side_of_it() -> None:
    """The first order after the referral pays: by the times of both, whatever arrived first."""
    stage = Stage(programme(SPEND + REFER))
    stage.say(facts.REFERRAL, "ben", "2026-03-02T10:00:00Z", {"referrer": "anna"})

    assert points(stage.buy("2026-03-01T10:00:00Z", ("mug", "10.00"), member="ben")) == [("spend", 10)]
    paid = stage.buy("2026-03-03T10:00:00Z", ("mug", "10.00"), member="ben")
    assert points(paid) == [("spend", 10), ("refer:referred", 50)]


def test_the_referrers_cap_clips_the_second_award() -> None:
    """At most one a year: the second is decided, and says why it is nothing."""
    stage = Stage(programme(SPEND + REFER))
    for member in ("ben", "cem"):
        stage.say(facts.REFERRAL, member, "2026-03-02T10:00:00Z", {"referrer": "anna"})
        stage.buy("2026-03-04T10:00:00Z", ("mug", "10.00"), member=member)

    assert stage.balance("anna") == 100
    assert "100 due, 0 granted" in stage.decisions[-1].notes[0].text


def test_a_referral_is_refused_with_its_reason() -> None:
    """Not oneself, one referrer per member, only new members, no loop that the state shows."""
    stage = Stage(programme(SPEND + REFER))

    def refer(member: str, referrer: str, time: str = "2026-03-02T10:00:00Z") -> str | None:
        return stage.say(facts.REFERRAL, member, time, {"referrer": referrer}).reason

    assert refer("anna", "anna") == "self_referral"
    assert refer("ben", "anna") is None
    assert refer("ben", "cem") == "already_referred"
    stage.buy("2026-03-04T10:00:00Z", ("mug", "10.00"), member="ben")
    assert refer("anna", "ben") == "referral_loop"
    stage.buy("2026-03-04T10:00:00Z", ("mug", "1.00"), member="dora")
    assert refer("dora", "anna") == "not_a_new_member"


def test_visits_within_the_gap_are_one() -> None:
    """A chain of check-ins each within 30 minutes is one visit; another store is another visit."""
    stage = Stage(programme("earn:\n  - {id: visit, on: visit, award: {points: 2}}\n"))

    def visit(time: str, store: str = "s1") -> str | None:
        return stage.say(facts.VISIT_V1, "anna", f"2026-03-02T{time}Z", {"store": store}).reason

    assert visit("10:00:00") is None
    assert visit("10:30:00") == "same_visit"
    assert visit("11:00:00") == "same_visit"
    assert visit("11:01:00", "s2") is None
    assert visit("11:30:01") is None
    assert stage.balance() == 6


def test_an_unknown_programme_changes_nothing() -> None:
    """The worker can fetch the version and go on with the same fact."""
    partition = Partition(0, {})
    version = programme(SPEND)
    with pytest.raises(UnknownProgramme):
        partition.answer(programme_fact(version, RECORDED), 0)

    assert partition.next_offset == 0


def test_a_quarantined_fact_moves_nothing_and_is_answered() -> None:
    """Its decision says why; the next fact goes on."""
    stage = Stage(programme(SPEND))
    offset = stage.partition.next_offset
    answer = stage.partition.quarantine(tick_fact(0, 0, RECORDED), offset, "ValueError: 7")

    assert (answer.decisions[0].outcome, answer.decisions[0].notes[0].text) == ("quarantined", "ValueError: 7")
    assert offset + 1 == stage.partition.next_offset
    assert points(stage.buy("2026-03-02T10:00:00Z", ("mug", "5.00"))) == [("spend", 5)]


@interpreted_only
def test_a_decision_that_cannot_be_taken_in_breaks_the_fold_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no reason to quarantine the fact: the state is half changed, and the process must fold it anew."""
    stage = Stage(programme(SPEND))
    stage.buy("2026-03-02T10:00:00Z", ("mug", "5.00"))

    def torn(*_: object, **_named: object) -> None:
        raise ValueError("half way")

    monkeypatch.setattr("engine.ledger.partition.evolve", torn)
    with pytest.raises(FoldFailed, match="half way"):
        stage.buy("2026-03-02T11:00:00Z", ("mug", "5.00"))


def test_a_cap_counts_what_was_granted_in_the_end() -> None:
    """A limit that cuts a share again gives the share's own cap back what it did not grant."""
    limited = SPEND.replace("    unless", "    cap: {points: 20, per: member, every: day}\n    unless")
    limited += "  - {id: enough, on: purchase, limit: {points: 3, per: member, every: day}}\n"
    decision = Stage(programme(limited)).buy("2026-03-02T10:00:00Z", ("mug", "10.00"))

    assert points(decision) == [("spend", 3)]
    assert decision.counts == [("spend||2026-03-02", 3, 1), ("enough||2026-03-02", 3, 1)]


def test_a_referral_can_earn_by_a_rule_too() -> None:
    """Rules are on any type of fact; a refused referral earns nothing."""
    stage = Stage(programme("earn:\n  - {id: brought, on: referral, award: {points: 5}}\n"))

    assert points(stage.say(facts.REFERRAL, "ben", "2026-03-02T10:00:00Z", {"referrer": "anna"})) == [("brought", 5)]
    assert points(stage.say(facts.REFERRAL, "ben", "2026-03-03T10:00:00Z", {"referrer": "cem"})) == []


def test_a_fact_from_before_a_timer_that_fired_does_not_turn_the_clock_back() -> None:
    """A purchase from just before midnight that arrives after the midnight tick finds the tier of the new year."""
    stage = Stage(programme(SPEND + TIERS))
    stage.buy("2026-03-02T10:00:00+01:00", ("chair", "100.00"))
    stage.tick("2028-01-01T00:00:00+01:00")
    late = stage.buy("2027-12-31T23:59:00+01:00", ("mug", "10.00"))

    assert points(late) == [("spend", 10)]
    assert list(late.tiers) == []
