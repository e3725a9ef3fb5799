"""Every refusal is a problem document that says what is wrong, where, and how to mend it. Source: RFC 9457."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson
from starlette.responses import Response

from schemas.rejects import Rejected

MEDIA_TYPE = "application/problem+json"
TYPES = "urn:stammgast:problem:"


class Kind(NamedTuple):
    """One kind of problem: the status it is answered with, a title that never changes, and how it is mended."""

    status: int
    title: str
    mend: str


_EVENT = "Correct the event and send it again."
KINDS: Mapping[str, Kind] = {
    # of an event: the reasons of intake
    "not_json": Kind(422, "This is no JSON", "Send UTF-8 JSON: one event, or a list of them as a batch."),
    "not_a_cloudevent": Kind(
        422, "This is no CloudEvent", "Give it specversion 1.0, id, source, type and time with an offset."
    ),
    "unknown_type": Kind(422, "No such type of event", "Use one of the types the message names."),
    "not_allowed": Kind(403, "Not allowed here", "Publish what this key and its topic may carry."),
    "invalid": Kind(422, "The event is not valid", _EVENT),
    "personal_subject": Kind(422, "A key that names a person", "Use an opaque key, such as a card number."),
    "naive_time": Kind(422, "A time without an offset", "Write the offset: 2026-03-01T10:00:00+01:00."),
    "future_time": Kind(422, "A time in the future", "Set the clock of this source; a till that was offline keeps its times."),
    "unknown_currency": Kind(422, "No such currency", "Use an ISO 4217 code such as EUR."),
    "too_many_decimals": Kind(422, "More decimals than there are", "Round the amount to the digits of its currency."),
    "too_large": Kind(413, "Too large", "Send less at once: smaller events, or smaller batches."),
    "forgotten": Kind(422, "A key that was forgotten", "This person was forgotten: use another key for a new account."),
    "no_profile_keys": Kind(422, "Profiles are not taken here", "Start the workers with --profile-key-file and send it again."),
    # of a request
    "no_key": Kind(401, "No API key", "Send the header Authorization: Bearer KEY."),
    "bad_key": Kind(401, "This API key is not valid", "Ask whoever runs the gateway for a new one."),
    "bad_signature": Kind(
        401, "The signature does not hold", "Sign `id.timestamp.body` as standardwebhooks.com says, with a clock that is right."
    ),
    "not_this_key": Kind(403, "Not with this key", "Use a key that has this right, source or type."),
    "not_found": Kind(404, "There is no such thing", "Check the address; /docs lists what there is."),
    "unknown_member": Kind(404, "No such member", "Nothing is known of this key: the first event opens an account."),
    "wrong_method": Kind(405, "Not this method", "/docs lists the methods of every address."),
    "profile_closed": Kind(
        409,
        "This depends on a profile",
        "Start the gateway with the workers' --profile-key-file and --profile-keys; or ask without a member, or publish it.",
    ),
    "id_reused": Kind(409, "This id was used for something else", "Give every request an id of its own."),
    "unsupported": Kind(
        415, "This content type is not understood",
        "Send application/cloudevents+json, application/cloudevents-batch+json, or application/json with ce- headers.",
    ),
    "bad_request": Kind(422, "The request is not valid", "Correct the field and send it again."),
    "too_many": Kind(429, "Too many at once", "Wait as long as Retry-After says, then go on more slowly."),
    "kafka_away": Kind(
        503, "The log does not take it now",
        "Send the same request again with the same ids: what had arrived already counts once.",
    ),
    "not_ready": Kind(503, "Not ready yet", "The gateway is still reading the logs: try again shortly."),
    "no_programme": Kind(503, "No programme is in force", "Publish one with `stammgast rules publish`."),
    "internal": Kind(500, "The gateway failed", "This is our mistake; it stands in the gateway's log."),
}  # fmt: skip


class Problem(Exception):
    """A request, or one event of it, that is refused.

    Args:
        code: a name in `KINDS`, stable, for machines.
        detail: one sentence about this very case.
        field: dotted path into what was sent, empty where all of it is meant.
        retry_after: seconds after which trying again makes sense.
    """

    def __init__(self, code: str, detail: str, field: str = "", retry_after: int | None = None, **more: Any) -> None:
        super().__init__(f"{code}: {detail}")
        self.code, self.detail, self.field, self.retry_after, self.more = code, detail, field, retry_after, more

    @property
    def status(self) -> int:
        """The HTTP status."""
        return KINDS[self.code].status

    def document(self) -> dict[str, Any]:
        """The problem document as plain data."""
        kind = KINDS[self.code]
        said: dict[str, Any] = {
            "type": TYPES + self.code,
            "title": kind.title,
            "status": kind.status,
            "detail": self.detail,
            "reason": self.code,
        }
        if self.field:
            said["field"] = self.field
        return said | {"mend": kind.mend} | self.more

    def response(self) -> Response:
        """The answer to the whole request."""
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        if self.status == 401:
            headers["WWW-Authenticate"] = 'Bearer realm="stammgast"'
        return Response(orjson.dumps(self.document()), self.status, headers, MEDIA_TYPE)


def of_rejected(rejected: Rejected) -> Problem:
    """The problem of an event that intake would put into `rejects`."""
    return Problem(rejected.reason, rejected.message, rejected.field)
