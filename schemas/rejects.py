"""Why a record is refused: one exception, one closed list of reasons."""

from __future__ import annotations

from typing import Literal, get_args

IntakeReason = Literal[
    "not_json",
    "not_a_cloudevent",
    "unknown_type",
    "not_allowed",
    "invalid",
    "personal_subject",
    "naive_time",
    "future_time",
    "unknown_currency",
    "too_many_decimals",
    "too_large",
]
#: Of intake, too, where a profile may not or cannot be sealed.
ProfileReason = Literal["no_profile_keys", "forgotten"]
KeeperReason = Literal["id_reused", "too_late", "too_late_to_deduplicate", "quarantined"]
Reason = IntakeReason | ProfileReason | KeeperReason

INTAKE_REASONS: tuple[str, ...] = get_args(IntakeReason)
PROFILE_REASONS: tuple[str, ...] = get_args(ProfileReason)
KEEPER_REASONS: tuple[str, ...] = get_args(KeeperReason)
REASONS: tuple[str, ...] = (*INTAKE_REASONS, *PROFILE_REASONS, *KEEPER_REASONS)


class Rejected(Exception):
    """A record that cannot become a decision.

    Args:
        reason: one of the reasons above, stable, for machines.
        message: one sentence for the owner of the source: what is wrong and how to mend it.
        field: dotted path into the event (``data.lines.0.quantity``), empty where the whole record is meant.
    """

    def __init__(self, reason: Reason, message: str, field: str = "") -> None:
        super().__init__(f"{reason} {field}: {message}" if field else f"{reason}: {message}")
        self.reason: Reason = reason
        self.message = message
        self.field = field
