"""HTML by construction: what is not already `Html` is escaped, so text from a run can never become markup."""

from __future__ import annotations

import html
from typing import Any

from vivavoce.report.words import plain

_VOID = frozenset({"meta", "link", "img", "br", "input", "hr"})


class Html(str):
    """A string that is HTML already."""

    __slots__ = ()


def text(value: Any) -> Html:
    """Escaped text; `Html` passes unchanged."""
    return value if isinstance(value, Html) else Html(html.escape(plain(value), quote=True))


def join(*parts: Any) -> Html:
    """Parts one after the other; None is left out, text escaped."""
    return Html("".join(text(part) for part in parts if part is not None))


def element(name: str, /, *children: Any, **attributes: Any) -> Html:
    """An element. In attribute names a trailing underscore is dropped and others become hyphens.

    An attribute of None or False is left out, one of True stands without a value.

    >>> element("p", "a < b", class_="note", data_x=1, hidden=True)
    '<p class="note" data-x="1" hidden>a &lt; b</p>'
    """
    opening = f"<{name}{''.join(_attribute(key, value) for key, value in attributes.items())}>"
    return Html(opening) if name in _VOID else Html(f"{opening}{join(*children)}</{name}>")


def _attribute(key: str, value: Any) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{text(value)}"'
