"""Builds HTML and SVG so that data is always escaped: only what `element` made counts as markup."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

VOID = frozenset({"br", "col", "hr", "img", "input", "link", "meta", "wbr"})


class Html(str):
    """Text that is markup already; every other string is escaped before it reaches the page."""

    __slots__ = ()


Child = str | int | float | None | Iterable["Child"]
Attribute = str | int | float | bool | None


def element(name: str, /, *children: Child, **attributes: Attribute) -> Html:
    """One element: `class_` becomes `class`, other underscores hyphens; None and False leave an attribute out."""
    opening = name + "".join(_attribute(key, value) for key, value in attributes.items())
    if name in VOID:
        return Html(f"<{opening}>")
    return Html(f"<{opening}>{join(children)}</{name}>")


def join(children: Child) -> Html:
    """The children one after the other, escaped where they are not markup."""
    if children is None:
        return Html("")
    if isinstance(children, Html):
        return children
    if isinstance(children, str | int | float):
        return Html(escape(str(children)))
    return Html("".join(join(child) for child in children))


def breakable(text: str) -> Html:
    """A name with slashes that a narrow column may break after one."""
    first, *rest = text.split("/")
    return join([first, [("/", element("wbr"), part) for part in rest]])


def _attribute(key: str, value: Attribute) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    if value is True:
        return f" {name}"
    if isinstance(value, float):
        value = f"{value:.1f}".removesuffix(".0")
    return f' {name}="{escape(str(value))}"'
