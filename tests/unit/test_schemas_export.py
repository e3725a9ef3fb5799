"""The JSON Schemas in the repository are those of the models, and real records keep them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest
from click.testing import CliRunner

from engine.cli import main
from schemas.decisions import encode_decision, parse_decision
from schemas.envelope import parse_fact
from schemas.export import schemas
from schemas.facts import INBOUND_TYPES
from schemas.notices import NOTICE
from tests.unit.ledger import Stage, programme
from tests.unit.test_ledger_examples import HAPPY, REFER, TIERS
from tests.unit.test_schemas_normalise import event, fact_of

KEPT = Path(__file__).parents[2] / "schemas" / "json"
GOLDEN_NOTICE = Path(__file__).parents[1] / "golden" / "incentives" / "stammgast.notice.v1.json"


def test_the_schemas_in_the_repository_are_current(tmp_path: Path) -> None:
    """`stammgast schemas export schemas/json` would change nothing."""
    result = CliRunner().invoke(main, ["schemas", "export", str(tmp_path)])
    assert result.exit_code == 0, result.output
    fresh = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*.json")}
    kept = {path.relative_to(KEPT): path.read_bytes() for path in KEPT.rglob("*.json")}

    assert fresh == kept


@pytest.mark.parametrize("name", sorted(schemas()))
def test_every_schema_is_a_schema(name: str) -> None:
    """Valid by the dialect it names."""
    jsonschema.Draft202012Validator.check_schema(schemas()[name])


def asyncapi() -> dict[str, Any]:
    """The AsyncAPI document in the repository."""
    said: dict[str, Any] = orjson.loads((KEPT / "asyncapi.json").read_bytes())
    return said


def _refs(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        for name, inner in part.items():
            if name == "$ref":
                yield inner
            else:
                yield from _refs(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from _refs(inner)


def test_the_asyncapi_document_holds_together() -> None:
    """Every reference leads somewhere within it, every event of every topic is described, and every operation has its channel."""
    said = asyncapi()
    assert said["asyncapi"] == "3.0.0"
    for ref in _refs(said):
        place: Any = said
        for step in ref.removeprefix("#/").split("/"):
            place = place[step]
    carried = {name for channel in said["channels"].values() for name in channel["messages"]}
    assert carried == {*INBOUND_TYPES, "decision", NOTICE}
    for operation in said["operations"].values():
        assert operation["action"] in ("send", "receive")
        channel = operation["channel"]["$ref"]
        assert all(one["$ref"].startswith(f"{channel}/messages/") for one in operation["messages"])


def test_a_purchase_keeps_the_schema_of_the_asyncapi_document() -> None:
    """Its payload is a schema whose definitions are found in the document."""
    said = asyncapi()
    payload = said["components"]["messages"]["stammgast.purchase.v1"]["payload"]
    schema = payload | {"components": said["components"]}
    jsonschema.validate(orjson.loads(event()), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(orjson.loads(event({"order_id": "o1"})), schema)


def test_a_golden_notice_keeps_the_schema_of_the_asyncapi_document() -> None:
    """Whoever sends reads incentives by the same document."""
    said = asyncapi()
    assert said["operations"]["tell-notices"]["channel"]["$ref"] == "#/channels/incentives"
    schema = said["components"]["messages"][NOTICE]["payload"] | {"components": said["components"]}
    told = orjson.loads(GOLDEN_NOTICE.read_bytes())
    jsonschema.validate(told, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**told, "data": {}}, schema)


def test_a_published_purchase_keeps_its_schema() -> None:
    """What upstream sends, and what the log holds of it."""
    published, held = schemas()["events/stammgast.purchase.v1.json"], schemas()["facts/stammgast.purchase.v1.json"]

    jsonschema.validate(orjson.loads(event()), published)
    jsonschema.validate(fact_of(event()).data, held)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(orjson.loads(event({"order_id": "o1"})), published)


def test_decisions_keep_their_schema_and_survive_the_log() -> None:
    """Entries, tiers, notes, caps, refunds, referrals: parse(encode(decision)) is the decision."""
    stage = Stage(programme(HAPPY + TIERS + REFER))
    stage.say("stammgast.referral.v1", "ben", "2026-03-01T10:00:00Z", {"referrer": "anna"})
    stage.buy("2026-03-02T15:00:00+01:00", ("chair", "150.00"), order="o1", member="ben")
    stage.buy("2026-03-02T15:00:00+01:00", ("chair", "150.00"), order="o2")
    stage.refund("2026-03-03T15:00:00Z", "o2", amount="70.00")
    stage.tick("2029-01-01T00:00:00Z")

    for decision in stage.decisions:
        value = encode_decision(decision)
        jsonschema.validate(orjson.loads(value), schemas()["points-log/decision.json"])
        again = parse_decision(value)
        assert encode_decision(again) == value
        assert repr(again).replace("[", "(").replace("]", ")") == repr(decision).replace("[", "(").replace("]", ")")


def test_a_record_of_something_else_is_no_fact_and_no_decision() -> None:
    """An unreadable log record is an error, not a guess."""
    with pytest.raises(KeyError):
        parse_fact(b"{}")
    with pytest.raises(ValueError, match="Decision"):
        parse_decision(b"{}")
