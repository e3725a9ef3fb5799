"""The gateway answers whatever its own OpenAPI document allows, and what it does not, as that document says."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from engine.gateway.problems import MEDIA_TYPE
from tests.unit.gateway_world import World

#: Requests to each address; STAMMGAST_TEST_SCHEMATHESIS=20000 is a long run.
REQUESTS = int(os.environ.get("STAMMGAST_TEST_SCHEMATHESIS", "25"))
ADDRESSES = (
    ("POST", "/events"),
    ("POST", "/quote"),
    ("POST", "/redemptions"),
    ("POST", "/vouchers/{code}/redeem"),
    ("GET", "/members/{key}"),
    ("GET", "/rejects"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
)
#: Those of which something can be asked that the document does not allow.
REFUSING = (
    ("POST", "/events"),
    ("POST", "/quote"),
    ("POST", "/redemptions"),
    ("POST", "/vouchers/{code}/redeem"),
    ("GET", "/rejects"),
)
CHECKED = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, str]:
    """The document as the application serves it, and a key with every right."""
    world = World(tmp_path_factory.mktemp("gateway"))
    secret = world.key()
    return schemathesis.openapi.from_asgi("/openapi.json", world.app()), secret


def references(part: Any) -> Iterator[str]:
    """Every `$ref` below a part of a document."""
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        part = list(part.values())
    if isinstance(part, list):
        for item in part:
            yield from references(item)


def test_every_address_is_asked(gateway: tuple[Any, str]) -> None:
    """None is in the document and not here, and none here that is gone."""
    schema, _ = gateway
    found = {(one.ok().method.upper(), one.ok().path) for one in schema.get_all_operations()}
    assert found == set(ADDRESSES)


def test_every_reference_leads_somewhere(gateway: tuple[Any, str]) -> None:
    """Whoever makes a client of the document finds what it speaks of."""
    document = gateway[0].raw_schema
    for ref in references(document):
        place: Any = document
        for step in ref.removeprefix("#/").split("/"):
            place = place[step]


@pytest.mark.parametrize(
    ("method", "path", "mode"),
    [(*one, GenerationMode.POSITIVE) for one in ADDRESSES] + [(*one, GenerationMode.NEGATIVE) for one in REFUSING],
)
def test_every_answer_is_one_that_the_document_names(
    gateway: tuple[Any, str], method: str, path: str, mode: GenerationMode
) -> None:
    """No 5xx, only statuses, media types and bodies that are described; a refusal is a problem that says how it is mended."""
    schema, secret = gateway
    schema.config.generation.update(modes=[mode])
    operation = schema[path][method]
    asked = 0

    @settings(
        max_examples=REQUESTS, deadline=None, database=None, derandomize=REQUESTS < 100, print_blob=True,
        suppress_health_check=list(HealthCheck), phases=[Phase.generate],
    )  # fmt: skip
    def ask(case: Any) -> None:
        nonlocal asked
        asked += 1
        answer = case.call(headers={"Authorization": f"Bearer {secret}"})
        # /readyz says no with a 503: nothing proves this gateway ready.
        case.validate_response(answer, checks=CHECKED[1:] if path == "/readyz" else CHECKED)
        batch = answer.headers["content-type"][0] == "application/json" and "events" in answer.json()
        if answer.status_code >= 400 and path != "/readyz" and not batch:
            assert answer.headers["content-type"][0].startswith(MEDIA_TYPE), answer.text
            said = answer.json()
            assert all(said[name] for name in ("detail", "mend", "reason")), said

    given(case=operation.as_strategy(generation_mode=mode))(ask)()
    assert asked
