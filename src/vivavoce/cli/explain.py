"""`viva explain`: the page of a finding."""

from __future__ import annotations

import sys

import click

from vivavoce.examine.slugs import SLUGS
from vivavoce.settings import did_you_mean


@click.command(name="explain")
@click.argument("slug", required=False)
@click.pass_context
def command(context: click.Context, slug: str | None) -> None:
    """Explain a finding: what it means, how it is measured, what to try. Without SLUG, list all findings.

    \b
    viva explain exploding-gradients
    """
    if slug is None:
        click.echo(_catalogue(), nl=False)
    elif slug not in SLUGS:
        raise click.UsageError(f"there is no finding {slug!r}{did_you_mean(slug, SLUGS)}", context)
    else:
        _show(_page(slug))


def _page(slug: str) -> str:
    from vivavoce.report.pages import page

    entry = SLUGS[slug]
    return page(slug) or f"# {slug}\n\n{entry.title}.\n\nThis finding has no page yet.\n"


def _show(page: str) -> None:
    """Laid out on a terminal; as it is where a program reads it."""
    if not sys.stdout.isatty():
        click.echo(page, nl=not page.endswith("\n"))
        return
    from rich.console import Console
    from rich.markdown import Markdown

    from vivavoce.report.text import WIDEST

    console = Console()
    console.print(Markdown(page), width=min(console.width, WIDEST))


def _catalogue() -> str:
    from vivavoce.report.words import QUESTIONS

    width = max(map(len, SLUGS))
    lines = []
    for question in [*range(1, len(QUESTIONS)), 0]:
        head = f"Question {question}: {QUESTIONS[question]}" if question else QUESTIONS[question].capitalize()
        lines += ["", head]
        lines += [f"  {slug.name:<{width}}  {slug.title}" for slug in SLUGS.values() if slug.question == question]
    return "\n".join(lines[1:]) + "\n"
