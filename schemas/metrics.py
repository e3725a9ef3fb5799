"""Metrics that a programme can set itself a goal in. Data alone: rules check names by it, projections tell the values.

A test holds the names against those that `projections/metrics/goal_values.sql` tells.
"""

from __future__ import annotations

from typing import NamedTuple

SHARE, MONEY, NUMBER = "share", "money", "number"
#: What a goal can be narrowed to.
PLACES = ("store", "channel")


class GoalMetric(NamedTuple):
    """What one metric is: its unit, whether it is told of each store and channel, and what it says in words."""

    unit: str
    by_place: bool
    says: str


#: By month: the newest month that is over; the others as they stand on the day.
GOAL_METRICS: dict[str, GoalMetric] = {
    "active_members": GoalMetric(NUMBER, False, "members who bought within the churn horizon"),
    "retention": GoalMetric(SHARE, False, "of members active when the month began, who still was when it ended"),
    "churn": GoalMetric(SHARE, False, "of members active when the month began, who was no more when it ended"),
    "repeat_purchase_rate": GoalMetric(SHARE, False, "of all buyers, who bought on another day again"),
    "revenue": GoalMetric(MONEY, True, "sales of the month, net of refunds, anonymous ones too"),
    "member_revenue": GoalMetric(MONEY, True, "sales of the month to members"),
    "members_share": GoalMetric(SHARE, True, "members' share of the month's sales"),
    "order_value": GoalMetric(MONEY, True, "mean order of the month"),
    "orders_per_member": GoalMetric(NUMBER, True, "orders of the month for each member who bought"),
    "revenue_per_member": GoalMetric(MONEY, True, "sales of the month for each member who bought"),
    "redeemed_share": GoalMetric(SHARE, False, "of points that came to an end, how many were spent"),
    "programme_cost": GoalMetric(MONEY, False, "what the programme cost in the month"),
    "points_owed": GoalMetric(MONEY, False, "points outstanding, at what a point is worth"),
}
