"""The geometry of plots; templates/plots.html draws them as SVG. No script, no library: the server knows all the numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

LEFT, RIGHT, TOP, BOTTOM = 52.0, 10.0, 10.0, 24.0
X_LABELS = 5
SERIES_MAX = 4
#: Of a picture of intervals: the height of a row, and the room for names at its left.
ROW, NAMES = 26.0, 190.0
NODE_WIDTH, NODE_GAP = 12.0, 6.0


class Bar(NamedTuple):
    """A bar: its rectangle, which series it belongs to, and what it says."""

    x: float
    y: float
    width: float
    height: float
    series: int
    says: str


class Tick(NamedTuple):
    """A place on an axis and what is written there."""

    at: float
    text: str


class Line(NamedTuple):
    """A line: its SVG path, its series, its name, and its last point."""

    path: str
    series: int
    name: str
    end_x: float
    end_y: float


@dataclass(frozen=True, slots=True)
class Chart:
    """A plot ready to be drawn.

    Attributes:
        width, height: of the view box.
        says: the plot in one sentence, for whoever does not see it.
    """

    width: float
    height: float
    says: str
    lines: list[Line] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    ys: list[Tick] = field(default_factory=list)
    xs: list[Tick] = field(default_factory=list)
    names: list[str] = field(default_factory=list)


def short(value: float) -> str:
    """A number as an axis shows it: 1.2k, 3M, 0.25."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def steps(low: float, high: float) -> list[float]:
    """Three to seven round numbers (1, 2 or 5 times a power of ten apart) from at most `low` to at least `high`."""
    span = high - low
    if span <= 0 or not math.isfinite(span):
        return [low, low + 1]
    rough = 10 ** math.floor(math.log10(span / 4))
    step = next(size * rough for size in (1, 2, 5, 10) if span / (size * rough) <= 5)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [number * step for number in range(first, last + 1)]


def spark(values: Sequence[float], name: str, width: float = 240.0, height: float = 48.0) -> Chart:
    """A small line without axes."""
    if not values:
        return Chart(width, height, f"{name}: nothing yet")
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    wide = (width - 8) / max(len(values) - 1, 1)
    points = [(4 + wide * n, height - 5 - (height - 10) * (value - low) / span) for n, value in enumerate(values)]
    says = f"{name}: from {short(values[0])} to {short(values[-1])}, lowest {short(low)}, highest {short(high)}"
    return Chart(width, height, says, lines=[Line(_path(points), 0, name, *points[-1])])


def line(
    labels: Sequence[str], series: Mapping[str, Sequence[float]], width: float = 460.0, height: float = 220.0
) -> Chart:
    """Lines over an axis; at most four series, which begin at zero where no value is below it."""
    chosen, low, high, places = _frame(labels, series, width)
    ticks, y_of = _scale(low, high, height)
    lines = []
    for number, (name, values) in enumerate(chosen.items()):
        points = [(places[n], y_of(value)) for n, value in enumerate(values)]
        lines.append(Line(_path(points), number, name, *(points[-1] if points else (0.0, 0.0))))
    ys = [Tick(y_of(value), short(value)) for value in ticks]
    return Chart(
        width, height, _sentence(labels, chosen), lines=lines, ys=ys, xs=_under(labels, places), names=list(chosen)
    )


def bar(
    labels: Sequence[str], series: Mapping[str, Sequence[float]], width: float = 460.0, height: float = 220.0
) -> Chart:
    """Bars side by side from zero; at most four series."""
    chosen, low, high, places = _frame(labels, series, width)
    ticks, y_of = _scale(min(low, 0.0), max(high, 0.0), height)
    room = (width - LEFT - RIGHT) / max(len(labels), 1)
    thick = min(room * 0.8 / max(len(chosen), 1), 48.0)
    bars = []
    for number, (name, values) in enumerate(chosen.items()):
        for n, value in enumerate(values):
            x = places[n] + thick * (number - len(chosen) / 2)
            top, foot = y_of(max(value, 0.0)), y_of(min(value, 0.0))
            bars.append(Bar(x, top, max(thick - 1, 0.5), foot - top, number, f"{labels[n]}, {name}: {value:,.6g}"))
    ys = [Tick(y_of(value), short(value)) for value in ticks]
    return Chart(
        width, height, _sentence(labels, chosen), bars=bars, ys=ys, xs=_under(labels, places), names=list(chosen)
    )


class Interval(NamedTuple):
    """One row of a picture of intervals: a bar from low to high with a point on it."""

    y: float
    low: float
    at: float
    high: float
    text: str
    says: str
    sure: bool


@dataclass(frozen=True, slots=True)
class Intervals:
    """Intervals one below the other over one axis; `nought` is where it crosses nought."""

    width: float
    height: float
    says: str
    rows: list[Interval]
    xs: list[Tick]
    nought: float


def _percent(value: float) -> str:
    return f"{100 * value:+.3g} %"


def intervals(
    rows: Sequence[tuple[str, float, float, float]], width: float = 640.0, written: Callable[[float], str] = _percent
) -> Intervals:
    """Draw (name, low, value, high), of shares unless `written` otherwise; `sure` is an interval that does not hold nought."""
    height = TOP + ROW * len(rows) + BOTTOM
    if not rows:
        return Intervals(width, height, "nothing to show", [], [], 0.0)
    ticks = steps(min(0.0, *(low for _, low, _, _ in rows)), max(0.0, *(high for *_, high in rows)))
    room, span = width - NAMES - RIGHT - 16, (ticks[-1] - ticks[0]) or 1.0

    def x_of(value: float) -> float:
        return NAMES + room * (value - ticks[0]) / span

    drawn = [
        Interval(
            TOP + ROW * (n + 0.5), x_of(low), x_of(value), x_of(high), name,
            f"{name}: {written(value)} ({written(low)} to {written(high)})", low > 0 or high < 0,
        )
        for n, (name, low, value, high) in enumerate(rows)
    ]  # fmt: skip
    says = "; ".join(one.says for one in drawn[:SERIES_MAX])
    xs = [Tick(x_of(value), written(value) if value else "0") for value in ticks]
    return Intervals(width, height, says, drawn, xs, x_of(0.0))


def _frame(
    labels: Sequence[str], series: Mapping[str, Sequence[float]], width: float
) -> tuple[dict[str, Sequence[float]], float, float, list[float]]:
    chosen = dict(list(series.items())[:SERIES_MAX])
    values = [value for one in chosen.values() for value in one] or [0.0]
    room = (width - LEFT - RIGHT) / max(len(labels), 1)
    places = [LEFT + room * (n + 0.5) for n in range(len(labels))]
    return chosen, min(0.0, *values), max(values), places


def _scale(low: float, high: float, height: float) -> tuple[list[float], _Placing]:
    ticks = steps(low, high)
    return ticks, _Placing(ticks[0], (ticks[-1] - ticks[0]) or 1.0, height)


class _Placing(NamedTuple):
    """From a value to its height on the plot."""

    low: float
    span: float
    height: float

    def __call__(self, value: float) -> float:
        return TOP + (self.height - TOP - BOTTOM) * (1 - (value - self.low) / self.span)


def _under(labels: Sequence[str], places: Sequence[float]) -> list[Tick]:
    every = max(1, math.ceil(len(labels) / X_LABELS))
    return [Tick(places[n], labels[n]) for n in range(0, len(labels), every)]


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def _sentence(labels: Sequence[str], series: Mapping[str, Sequence[float]]) -> str:
    if not labels:
        return "nothing to show"
    told = "; ".join(
        f"{name} from {short(values[0])} to {short(values[-1])}" for name, values in series.items() if values
    )
    return f"{labels[0]} to {labels[-1]}: {told}"


class Node(NamedTuple):
    """A place that members come from or go to, with its rectangle."""

    name: str
    members: int
    x: float
    y: float
    height: float
    side: str


class Ribbon(NamedTuple):
    """Members who went from one node to another; `stays` marks those who stayed what they were."""

    path: str
    says: str
    stays: bool


@dataclass(frozen=True, slots=True)
class Flows:
    """A picture of movements between two moments."""

    width: float
    height: float
    says: str
    nodes: list[Node]
    ribbons: list[Ribbon]


def flows(
    moves: Sequence[tuple[str, str, int]], order: Sequence[str], width: float = 460.0, height: float = 340.0
) -> Flows:
    """Draw (before, after, members) as ribbons between two columns; `order` says which name stands where.

    The height of a node and the thickness of a ribbon are shares of all members.
    """
    total = sum(count for _, _, count in moves)
    if not total:
        return Flows(width, height, "nobody yet", [], [])
    left = _stack([(b, c) for b, _, c in moves], order, height, 4.0, "before")
    right = _stack([(a, c) for _, a, c in moves], order, height, width - 4.0 - NODE_WIDTH, "after")
    used_left, used_right = {n.name: n.y for n in left}, {n.name: n.y for n in right}
    nodes = {("before", n.name): n for n in left} | {("after", n.name): n for n in right}
    ribbons = []
    for before, after, count in sorted(moves, key=lambda m: (_place(order, m[0]), _place(order, m[1]))):
        source, target = nodes["before", before], nodes["after", after]
        thick = source.height * count / source.members
        y1, y2 = used_left[before], used_right[after]
        used_left[before] += thick
        used_right[after] += target.height * count / target.members
        x1, x2 = source.x + NODE_WIDTH, target.x
        middle, thick2 = (x1 + x2) / 2, target.height * count / target.members
        path = (
            f"M{x1:.1f} {y1:.1f} C{middle:.1f} {y1:.1f} {middle:.1f} {y2:.1f} {x2:.1f} {y2:.1f} L{x2:.1f} {y2 + thick2:.1f} "
            f"C{middle:.1f} {y2 + thick2:.1f} {middle:.1f} {y1 + thick:.1f} {x1:.1f} {y1 + thick:.1f} Z"
        )
        ribbons.append(Ribbon(path, f"{before} to {after}: {count:,}", before == after))
    stayed = sum(count for before, after, count in moves if before == after)
    says = f"{stayed:,} of {total:,} members stayed what they were"
    return Flows(width, height, says, left + right, ribbons)


def _place(order: Sequence[str], name: str) -> tuple[int, str]:
    return (order.index(name) if name in order else len(order), name)


def _stack(parts: Sequence[tuple[str, int]], order: Sequence[str], height: float, x: float, side: str) -> list[Node]:
    counts: dict[str, int] = {}
    for name, count in parts:
        counts[name] = counts.get(name, 0) + count
    total, room = sum(counts.values()), height - NODE_GAP * (len(counts) + 1)
    nodes, y = [], NODE_GAP
    for name in sorted(counts, key=lambda one: _place(order, one)):
        tall = room * counts[name] / total
        nodes.append(Node(name, counts[name], x, y, tall, side))
        y += tall + NODE_GAP
    return nodes
