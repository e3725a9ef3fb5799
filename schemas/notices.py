"""A notice: that a moment came at which somebody should be written to, and what to say; or why nobody is.

It stands in the decision that made it, for ever. One that was made is also an event on the topic `incentives`, for whoever sends
mails and messages: a CloudEvent that is a pure function of the decision. Sending is no part of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NotRequired

import orjson
from pydantic import ConfigDict, TypeAdapter, with_config
from typing_extensions import TypedDict  # pydantic reads this one on Python 3.11

#: Type and source of the event on `incentives`.
NOTICE, NOTICE_SOURCE = "stammgast.notice.v1", "urn:stammgast:notice"

NoticeState = Literal["made", "suppressed"]
#: ``no_consent``: the member consents to none of the channels that the rule may use, or said nothing of himself; ``quiet``: he
#: had as many on that channel as the programme allows; ``held_out``: he is one of those whom the rule leaves out, so that its
#: effect can be told; ``expired``: it was known too late, nothing was left to say; ``capped``: the rule's cap is used up.
Suppressed = Literal["no_consent", "quiet", "held_out", "expired", "capped"]
Value = str | int | bool


@with_config(ConfigDict(extra="forbid"))
class EffectForm(TypedDict):
    """One thing that came with a notice.

    Attributes:
        kind: ``points`` with ``points`` and ``entry_id``; ``reward`` with ``reward``, its redemption and, of a voucher, ``code``;
            ``tier`` with ``tier`` and ``until``, the last local day of it.
    """

    kind: Literal["points", "reward", "tier"]
    points: NotRequired[int]
    entry_id: NotRequired[str]
    reward: NotRequired[str]
    redemption: NotRequired[str]
    code: NotRequired[str]
    tier: NotRequired[str]
    until: NotRequired[str]


@with_config(ConfigDict(extra="forbid"))
class ReasonForm(TypedDict):
    """Why: in words (simple English), and the numbers and names that they were made from."""

    text: str
    fields: dict[str, Value]


class NoticeForm(TypedDict):
    """A notice in a decision; what is null or empty may be missing.

    Attributes:
        id: deterministic: of what made it, member, rule and version.
        moment: the word of the language: ``birthday``, ``silence`` ... or the type of the fact, such as ``purchase``.
        state, reason: ``made``, or ``suppressed`` with why.
        channel, language: how to say it; of one that was made.
        template, values: what to say.
        because: why it came to it.
        not_before, expires_at: when it may be said.
        effects: what was given with it.
        programme: hash of the version that made it, where it is not the decision's.
        member_id, source, fact_id, occurred_at: whom and what it is about, where that is not the decision's.
    """

    id: str
    rule_id: str
    rule_version: int
    moment: str
    state: NoticeState
    template: str
    reason: NotRequired[Suppressed]
    channel: NotRequired[str]
    language: NotRequired[str]
    values: NotRequired[dict[str, Value]]
    because: NotRequired[ReasonForm]
    not_before: NotRequired[str]
    expires_at: NotRequired[str]
    effects: NotRequired[list[EffectForm]]
    programme: NotRequired[str]
    member_id: NotRequired[str]
    source: NotRequired[str]
    fact_id: NotRequired[str]
    occurred_at: NotRequired[str]


@with_config(ConfigDict(extra="forbid"))
class NoticeData(TypedDict):
    """Data of the event on `incentives`.

    Attributes:
        rule, rule_version, programme: what made it; ``programme`` is the hash of the version.
        moment: the word of the language: ``birthday``, ``silence`` ... or the type of the fact, such as ``purchase``.
        channel: by which the member consents to be written to.
        language: as his profile says, null where it does not.
        template, values: what to say; nothing in them comes from a profile.
        reason: why, in words and as fields.
        not_before, expires_at: when it may be said; null: at once, for ever.
        effects: what was given with it.
    """

    rule: str
    rule_version: int
    programme: str | None
    moment: str
    channel: str
    language: str | None
    template: str
    values: dict[str, Value]
    reason: ReasonForm
    not_before: str | None
    expires_at: str | None
    effects: list[EffectForm]


@with_config(ConfigDict(extra="forbid"))
class NoticeEvent(TypedDict):
    """A notice on `incentives`: CloudEvents 1.0, structured JSON. ``id`` is the notice's, ``subject`` the member, ``time`` the
    moment. The same notice may be read twice after a crash of its reader: whoever sends remembers the ids he has sent."""

    specversion: Literal["1.0"]
    id: str
    source: str
    type: Literal["stammgast.notice.v1"]
    subject: str
    time: str
    datacontenttype: Literal["application/json"]
    data: NoticeData


@dataclass(slots=True, init=False)
class Notice:
    """A notice in a decision; see `NoticeForm`."""

    id: str
    member_id: str
    rule_id: str
    rule_version: int
    programme: str | None
    moment: str
    state: NoticeState
    reason: Suppressed | None
    template: str
    source: str
    fact_id: str
    occurred_at: str
    channel: str | None = None
    language: str | None = None
    values: Mapping[str, Value] = field(default_factory=dict)
    because: ReasonForm | None = None
    not_before: str | None = None
    expires_at: str | None = None
    effects: Sequence[EffectForm] = ()

    # Written out, because mypyc compiles this and leaves the one that dataclass makes to the interpreter.
    def __init__(
        self,
        id: str,  # noqa: A002 - the field's name
        member_id: str,
        rule_id: str,
        rule_version: int,
        programme: str | None,
        moment: str,
        state: NoticeState,
        reason: Suppressed | None,
        template: str,
        source: str,
        fact_id: str,
        occurred_at: str,
        channel: str | None = None,
        language: str | None = None,
        values: Mapping[str, Value] | None = None,
        because: ReasonForm | None = None,
        not_before: str | None = None,
        expires_at: str | None = None,
        effects: Sequence[EffectForm] = (),
    ) -> None:
        self.id = id
        self.member_id = member_id
        self.rule_id = rule_id
        self.rule_version = rule_version
        self.programme = programme
        self.moment = moment
        self.state = state
        self.reason = reason
        self.template = template
        self.source = source
        self.fact_id = fact_id
        self.occurred_at = occurred_at
        self.channel = channel
        self.language = language
        self.values = {} if values is None else values
        self.because = because
        self.not_before = not_before
        self.expires_at = expires_at
        self.effects = effects


_EVENT = TypeAdapter(NoticeEvent)


def event_of(notice: Notice) -> NoticeEvent | None:
    """Return the event that tells others of a notice, None for one that was suppressed."""
    if notice.state != "made" or notice.channel is None:
        return None
    because: ReasonForm = {"text": "", "fields": {}} if notice.because is None else notice.because
    data: NoticeData = {
        "rule": notice.rule_id,
        "rule_version": notice.rule_version,
        "programme": notice.programme,
        "moment": notice.moment,
        "channel": notice.channel,
        "language": notice.language,
        "template": notice.template,
        "values": dict(notice.values),
        "reason": because,
        "not_before": notice.not_before,
        "expires_at": notice.expires_at,
        "effects": list(notice.effects),
    }
    return {
        "specversion": "1.0",
        "id": notice.id,
        "source": NOTICE_SOURCE,
        "type": "stammgast.notice.v1",
        "subject": notice.member_id,
        "time": notice.occurred_at,
        "datacontenttype": "application/json",
        "data": data,
    }


def encode_event(event: NoticeEvent) -> bytes:
    """Return the value of a record on `incentives`."""
    return orjson.dumps(event)


def parse_event(value: bytes) -> NoticeEvent:
    """Return the event of a record on `incentives`.

    Raises:
        ValueError: this is no notice of a version that this engine knows (pydantic's errors are ValueErrors).
    """
    return _EVENT.validate_json(value)
