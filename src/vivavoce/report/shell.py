"""The frame of every page: one HTML file that needs nothing else, under a policy that lets it load nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from functools import cache
from importlib import resources

from vivavoce.report.markup import Html, element

GENERATOR = "vivavoce"  # in <meta name="generator">: how an earlier page of ours is told from another file


def document(title: str, skip: str, banner: Html, main: Html, footer: Html) -> Html:
    """A whole page. `skip` names the section that the first link of the page leads to, whose id is `verdict`."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_policy()),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="generator", content=GENERATOR),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", Html(_asset("page.css"))),
    )
    body = element(
        "body",
        element("a", f"Skip to the {skip}", class_="skip", href="#verdict"),
        banner,
        main,
        footer,
        element("script", Html(_asset("page.js"))),
    )
    return element("html", head, body, lang="en")


@cache
def _asset(name: str) -> str:
    return resources.files("vivavoce.report").joinpath("assets", name).read_text(encoding="utf-8")


def _policy() -> str:
    """Only this page's own script may run, and nothing may be loaded: the page cannot phone home, nor be made to."""
    digest = base64.b64encode(hashlib.sha256(_asset("page.js").encode("utf-8")).digest()).decode("ascii")
    return (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'"
    )


def banner(name: str, sections: Iterable[tuple[str, str]]) -> Html:
    """The head of the page: what it is about, links to its sections (id, title), and the switch of the theme."""
    links = (element("li", element("a", title, href=f"#{key}")) for key, title in sections)
    return element(
        "header",
        element("p", "Vivavoce", element("span", name), class_="brand"),
        element("nav", element("ul", *links), aria_label="Sections"),
        element("button", "Dark", type_="button", id_="theme", aria_pressed="false", hidden=True),
    )


def section(key: str, title: str, content: Iterable[Html]) -> Html:
    """A section with its heading; `key` is its id."""
    return element("section", element("h2", title), *content, id_=key, aria_label=title)


def figure(name: str, value: str) -> Html:
    """A name and a value of a description list."""
    return element("div", element("dt", name), element("dd", value))


def code_block(code: str, label: str) -> Html:
    """Code with a button that copies it; `label` says so to those who hear the page."""
    button = element("button", "Copy", type_="button", class_="copy", hidden=True, aria_label=label)
    block = element("pre", element("code", code), tabindex=0)
    return element("div", block, button, class_="code")
