"""A mapping file read: every mistake of it at once, with its line and how to mend it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from engine.imports.errors import MappingError
from engine.imports.mapping import EventOf, LeftOut, LineOf, Mapping, Table, Test, TimeOf, ValueOf
from rules.draft import Draft, read_yaml
from rules.draft import Path as Place
from rules.errors import did_you_mean
from rules.values import shown

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_FIRST_KEYS = "begin with mapping: and a name, source, currency, time and events"
_KEYS_OF: dict[str, type[BaseModel]] = {
    "file": Table,
    "time": TimeOf,
    "leave_out": LeftOut,
    "events": EventOf,
    "line": LineOf,
    "when": Test,
}


def read_mapping(path: Path) -> tuple[Mapping, Draft]:
    """Return the mapping, and the draft that knows its lines.

    Raises:
        MappingError: with every mistake that was found.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MappingError([f"{path}: not UTF-8 (byte {error.start}): save it as UTF-8"]) from error
    except OSError as error:
        raise MappingError([f"{path}: cannot be read ({error.strerror or error})"]) from error
    draft = read_yaml(text, str(path))
    if not isinstance(draft.tree, dict):
        found = [str(problem) for problem in draft.problems if "is empty" not in problem.message]
        raise MappingError(found or [f"{path}: this is no mapping: {_FIRST_KEYS}"])
    mapping: Mapping | None = None
    try:
        mapping = Mapping.model_validate(draft.tree)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            _translate(draft, detail)
    if draft.problems or mapping is None:
        raise MappingError([str(problem) for problem in sorted(set(draft.problems))])
    return mapping, draft


def _translate(draft: Draft, detail: ErrorDetails) -> None:
    """Report one mistake that the models found, in our words, where it stands."""
    place = _place(draft, detail["loc"])
    kind, key = detail["type"], str(detail["loc"][-1]) if detail["loc"] else ""
    if kind == "extra_forbidden" and detail["input"] is None:
        draft.report(place, f"a column is written <{key}>, without braces")
    elif kind == "extra_forbidden":
        draft.report(place, f"there is no key {key}", did_you_mean(key, _keys_beside(place)))
    elif key == "from" and kind == "missing" and all(value is None for value in detail["input"].values()):
        return  # braces around a column, told above
    elif kind == "missing":
        draft.report(place, f"{key} is missing", _mend_of(key))
    elif kind == "value_error":
        draft.report(place, str(detail["ctx"]["error"]))
    elif kind == "model_type":
        draft.report(place, f"{shown(detail['input'])} is not what belongs here", "write text with <Column>, or from:")
    else:
        draft.report(place, f"{shown(detail['input'])}: {detail['msg'][:1].lower()}{detail['msg'][1:]}")


def _place(draft: Draft, loc: tuple[int | str, ...]) -> Place:
    """The steps of a mistake's path that stand in the file: the models put names of their own between them."""
    place: Place = ()
    for step in loc:
        held: Any = draft.at(*place)
        if (isinstance(held, dict) and step in held) or (
            isinstance(held, list) and isinstance(step, int) and step < len(held)
        ):
            place = (*place, step)
    return place


def _keys_beside(place: Place) -> list[str]:
    """The keys that may stand where the last step of ``place`` stands."""
    names = [step for step in place[:-1] if isinstance(step, str)]
    if not names:
        return _names(Mapping)
    if "when" in names:
        return _names(Test)
    model = _KEYS_OF.get(names[-1])
    return _names(model if model is not None else ValueOf)


def _names(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _mend_of(key: str) -> str:
    return {
        "id": "write text that is different for every receipt, such as id: <Till>-<Receipt>",
        "time": "write from, format and zone below it",
        "source": "write a name that you keep for ever, such as urn:my-shop:till",
        "currency": "write its ISO 4217 code, such as EUR",
        "from": "write text with <Column>",
    }.get(key, "")


def mapping_schema() -> dict[str, Any]:
    """Return the JSON Schema of a mapping file, so that an editor completes it."""
    schema = Mapping.model_json_schema(by_alias=True, mode="validation")
    return {"$schema": DIALECT, **schema, "title": "Stammgast mapping of a till export"}
