"""What the fields of each event type are, so that a mapping is checked against them and its values get the right kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from engine.imports.expressions import Row, columns_of, number_of, shown, text_of, truth_of, whole_of
from engine.imports.mapping import TYPES, WITH_LINES, EventOf, Table, TimeOf, ValueOf
from rules.draft import Draft
from rules.draft import Path as Place
from rules.errors import did_you_mean
from schemas.facts import DATA_MODELS
from schemas.normalise import plain

#: What a line says, or the mapping as a whole.
_MADE_HERE = frozenset({"lines", "currency"})
#: What is made when the mapping does not say it.
_HAS_DEFAULT = frozenset({"order_id", "total"})
Cast = Callable[[Row], Any]


def model_of(event: EventOf) -> type[BaseModel]:
    """Return the model of an event's data."""
    return DATA_MODELS[TYPES[event.type]]


def check_fields(draft: Draft, event: EventOf, place: Place) -> None:
    """Report fields that the type does not have, and needed ones that nobody says."""
    model = model_of(event)
    made = _MADE_HERE if event.line is not None else frozenset({"currency"})
    known = [name for name in model.model_fields if name not in made]
    for name, said in event.data.items():
        if name in made:
            draft.report((*place, "data", name), f"{name} comes from the mapping as a whole or its line", "take it out")
        elif name not in known:
            draft.report((*place, "data", name), f"a {event.type} has no {name}", did_you_mean(name, known))
        elif isinstance(said, dict) != _is_nested(model.model_fields[name]):
            mend = "write its fields below it" if not isinstance(said, dict) else "write one value"
            draft.report((*place, "data", name), f"{name} is written another way", mend)
        elif isinstance(said, dict):
            _check_inner(draft, model.model_fields[name], said, (*place, "data", name))
    given = _HAS_DEFAULT if event.type in WITH_LINES else frozenset[str]()
    for name in known:
        if model.model_fields[name].is_required() and name not in event.data and name not in given:
            draft.report(
                (*place, "data"), f"a {event.type} needs {name}", f"write data: {name}: and text with <Column>"
            )


def _check_inner(draft: Draft, field: FieldInfo, said: dict[str, ValueOf], place: Place) -> None:
    inner = _inner_model(field)
    for name in said if inner is not None else ():
        known = list(inner.model_fields) if inner is not None else []
        if name not in known:
            draft.report((*place, name), f"there is no {name} here", did_you_mean(name, known))


def casts(event: EventOf, file: Table) -> Cast:
    """Return what gives an event's data for a row; what is empty is left out. What it gives raises Wrong."""
    model = model_of(event)
    made: dict[str, Cast] = {}
    for name, said in event.data.items():
        if isinstance(said, dict):
            inner = _inner_model(model.model_fields[name])
            parts = {
                key: cast_of(value, inner.model_fields[key].annotation if inner else None, file)
                for key, value in said.items()
            }
            made[name] = _nested(parts)
        else:
            made[name] = cast_of(said, model.model_fields[name].annotation, file)
    return _nested(made, empty={})


def _nested(parts: dict[str, Cast], empty: Any = None) -> Cast:
    def cast(row: Row) -> Any:
        said = {name: value for name, part in parts.items() if (value := part(row)) is not None}
        return said or empty

    return cast


def cast_of(value: ValueOf, annotation: Any, file: Table) -> Cast:
    """Return what gives a value in the kind that a field takes, or that the mapping says."""
    kind = value.is_ or _kind(annotation)
    if kind == "number":
        number = number_of(value, file)
        return lambda row: None if (given := number(row)) is None else plain(given)
    if kind == "whole":
        return whole_of(value, file)
    if kind == "truth":
        return truth_of(value)
    text = text_of(value)
    if kind == "list":
        return lambda row: None if (given := text(row)) is None else [one.strip() for one in given.split(",")]
    return text


def _kind(annotation: Any) -> str:
    """Return number, whole, truth, list or text: what the leaves of a field's type are."""
    held = set(_leaves(annotation)) - {type(None)}
    if len(held) != 1:
        return "text"
    return {Decimal: "number", int: "whole", bool: "truth", list: "list"}.get(held.pop(), "text")


def _leaves(annotation: Any) -> Iterator[Any]:
    origin = get_origin(annotation)
    if origin is None:
        yield annotation
    elif origin in (list, dict):
        yield origin
    else:
        arguments = get_args(annotation)
        # Of `Annotated` the first alone is a type.
        for argument in arguments[:1] if hasattr(annotation, "__metadata__") else arguments:
            yield from _leaves(argument)


def _is_nested(field: FieldInfo) -> bool:
    return _inner_model(field) is not None or dict in set(_leaves(field.annotation))


def _inner_model(field: FieldInfo) -> type[BaseModel] | None:
    for leaf in _leaves(field.annotation):
        if isinstance(leaf, type) and issubclass(leaf, BaseModel):
            return leaf
    return None


def values_of(event: EventOf) -> Iterator[tuple[Place, ValueOf]]:
    """Yield every value of an event with its place below it."""
    for name in ("id", "source", "member"):
        value = getattr(event, name)
        if value is not None:
            yield (name,), value
    for name, said in event.data.items():
        if isinstance(said, dict):
            yield from (((("data", name, key)), value) for key, value in said.items())
        else:
            yield ("data", name), said
    for name in type(event.line).model_fields if event.line is not None else ():
        value = getattr(event.line, name)
        if value is not None:
            yield ("line", name), value


def columns_behind(event: EventOf, time: TimeOf, field: str) -> tuple[str, ...]:
    """Return the columns from which a field of the event was made, as far as that is known: ``data.lines.0.sku``."""
    if field == "time":
        return columns_of((event.time or time).from_)
    steps = field.split(".")
    if steps[0] == "subject":
        place: Place = ("member",)
    elif steps[:2] == ["data", "lines"]:
        place = ("line", steps[-1])
    else:
        place = tuple(steps)
    for at, value in values_of(event):
        if at == place or at == place[: len(at)]:
            return columns_of(value.from_)
    return ()


def example(columns: tuple[str, ...], row: Row) -> str:
    """Return what stands in these columns of a row, for an error."""
    return ", ".join(f"{name} {shown(row[name])}" for name in columns)
