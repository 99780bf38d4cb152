"""The parts of every chart: scales, axes, marks and labels as inline SVG, coloured by the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from loadtest.report.format import significant
from loadtest.report.markup import Child, Html, element

WIDTH = 440.0
LEFT, RIGHT, TOP, BOTTOM, HEIGHT = 38.0, WIDTH - 78, 30.0, 262.0, 300.0
"""The frame of a chart with two axes."""
SHAPES = ("circle", "square", "triangle", "diamond")
HUES = 4
"""Colours in the style sheet, `.hue-0` and on; a fifth protocol starts again with another shape."""


@dataclass(frozen=True)
class Scale:
    """From a value to a place on the page; logarithmic where `log` is set."""

    low: float
    high: float
    start: float
    end: float
    log: bool = True

    def __call__(self, value: float) -> float:
        low, high, place = map(self._position, (self.low, self.high, min(max(value, self.low), self.high)))
        return self.start + (self.end - self.start) * (place - low) / (high - low)

    def _position(self, value: float) -> float:
        return math.log10(value) if self.log else value

    def ticks(self) -> list[float]:
        """Round values inside the scale, at most seven."""
        if not self.log:
            step = _round_step((self.high - self.low) / 4)
            return [step * i for i in range(math.ceil(self.low / step), math.floor(self.high / step + 1e-9) + 1)]
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for steps in ((1, 2, 5), (1, 3), (1,)):
            ticks = [step * 10.0**d for d in decades for step in steps if self.low <= step * 10.0**d <= self.high]
            if len(ticks) <= 7:
                break
        return ticks


def _round_step(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * (1 - 1e-9))


def spanning(values: Iterable[float], start: float, end: float, margin: float = 1.15) -> Scale:
    """A logarithmic scale over all positive values with a margin at both ends."""
    positive = [value for value in values if value > 0 and math.isfinite(value)] or [1.0, 10.0]
    low, high = min(positive) / margin, max(positive) * margin
    return Scale(low, max(high, low * 2), start, end)


def from_zero(values: Iterable[float], start: float, end: float) -> Scale:
    """A linear scale from zero to a little above the largest value."""
    return Scale(0.0, max(values, default=0.0) * 1.04 or 1.0, start, end, log=False)


def picture(height: float, label: str, *children: Child) -> Html:
    """An SVG image of `WIDTH` × `height` whose `label` is read out in its place."""
    return element("svg", children, viewBox=f"0 0 {WIDTH:.0f} {height:.0f}", role="img", aria_label=label)


def text(x: float, y: float, content: str, class_: str = "", anchor: str = "start") -> Html:
    """A label whose baseline starts (ends, is centred) at `x`, `y`."""
    return element("text", content, x=x, y=y, class_=class_ or None, text_anchor=None if anchor == "start" else anchor)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Html:
    """A straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def polyline(places: Sequence[tuple[float, float]], class_: str) -> Html:
    """A line through all places."""
    return element("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in places), class_=class_)


def marker(shape: str, x: float, y: float, title: str, class_: str = "", radius: float = 4.0) -> Html:
    """A mark that tells `title` under the pointer; `class_` `hollow` draws its outline only."""
    return element(
        "g", element("title", title) if title else None, _outline(shape, x, y, radius), class_=f"mark {class_}".strip()
    )


def _outline(shape: str, x: float, y: float, r: float) -> Html:
    if shape == "circle":
        return element("circle", cx=x, cy=y, r=r)
    corners = {
        "square": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
        "triangle": ((0, -1.2), (1.1, 0.9), (-1.1, 0.9)),
        "diamond": ((0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)),
    }[shape]
    return element("polygon", points=" ".join(f"{x + dx * r:.1f},{y + dy * r:.1f}" for dx, dy in corners))


def cross(x: float, y: float, radius: float = 4.5) -> Html:
    """The strokes over a mark that must not be ranked."""
    strokes = (
        line(x - radius, y - radius, x + radius, y + radius, "cross"),
        line(x - radius, y + radius, x + radius, y - radius, "cross"),
    )
    return element("g", strokes)


def axis_below(scale: Scale, top: float, bottom: float, name: str) -> Html:
    """A horizontal axis: grid lines up to `top`, figures and a name below."""
    parts = [
        (
            line(scale(t), top, scale(t), bottom, "grid"),
            text(scale(t), bottom + 14, significant_tick(t), "tick", "middle"),
        )
        for t in scale.ticks()
    ]
    return element("g", parts, text((scale.start + scale.end) / 2, bottom + 30, name, "axis", "middle"))


def axis_left(scale: Scale, left: float, right: float, name: str) -> Html:
    """A vertical axis: grid lines to `right`, figures on the left, its name above the top end."""
    parts = [
        (
            line(left, scale(t), right, scale(t), "grid"),
            text(left - 6, scale(t) + 3.5, significant_tick(t), "tick", "end"),
        )
        for t in scale.ticks()
    ]
    return element("g", parts, text(0, min(scale.start, scale.end) - 10, name, "axis"))


def significant_tick(value: float) -> str:
    """A tick's figure without needless zeros: 0.5, 20, 5k."""
    if value >= 1000:
        return f"{value / 1000:g}k"
    return f"{value:g}" if value >= 1e-3 else significant(value, 1)


def spread(places: Sequence[float], distance: float, lowest: float) -> list[float]:
    """Move labels apart so that neighbours keep `distance` and none lies below `lowest`, in the order given."""
    order = sorted(range(len(places)), key=places.__getitem__)
    moved = list(places)
    for before, after in pairwise(order):
        moved[after] = max(moved[after], moved[before] + distance)
    floor = lowest
    for index in reversed(order):
        moved[index] = min(moved[index], floor)
        floor = moved[index] - distance
    return moved


@dataclass(frozen=True)
class Style:
    """How a protocol (colour and shape) and a framework (stroke) look in every chart."""

    hue: int
    shape: str
    dashed: bool

    @property
    def class_(self) -> str:
        """The classes of the style sheet."""
        return f"hue-{self.hue}{' dashed' if self.dashed else ''}"


def style_of(protocols: Sequence[str], frameworks: Callable[[str], int]) -> Callable[[str, str], Style]:
    """The style by protocol and artifact: colour and shape tell the protocol, dashes every framework but the first."""

    def styled(protocol: str, artifact: str) -> Style:
        place = protocols.index(protocol)
        return Style(place % HUES, SHAPES[place % len(SHAPES)], frameworks(artifact) > 0)

    return styled
