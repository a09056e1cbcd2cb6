"""Pieces of a web page in one file: shell, sections, tiles, tables, figures.

A page opens offline: style, scripts and plotly.js are inlined, and its content security policy
forbids every request. All pages of fedwatt are built from these pieces:

    body = [Section("Bills", [table(("household", "bill"), rows, caption="Bills")])]
    Path("bills.html").write_text(page("Bills", body))

Every piece returns ``Markup``; plain strings given to a piece are escaped, so text from data is
safe. A figure is a plotly specification (a dict); colours are written as theme names ("@1" to
"@7", "@ink", "@muted", "@grid") and the page fills them in for light and dark.
"""

import base64
import gzip
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from markupsafe import Markup, escape

from simulations.report.page_script import SCRIPT
from simulations.report.page_style import STYLE

Content = str | Markup
Trace = Mapping[str, Any]


@dataclass(frozen=True)
class Section:
    """A titled part of a page, with an entry in the page's navigation."""

    title: str
    parts: Sequence[Content]
    lead: Content = ""

    @property
    def anchor(self) -> str:
        """The id of the section."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


@dataclass(frozen=True)
class Tile:
    """One headline figure: what it is, the figure, and what to compare it with."""

    label: str
    value: str
    note: Content = ""
    tone: str = ""
    """"good", "bad" or "" (neutral)."""


@dataclass(frozen=True)
class Choices:
    """A figure drawn for one of many: the y values of its traces, for each name.

    ``values[i][k]`` are the y values of trace k for ``names[i]``, multiplied by ``scale`` on
    the page (integers keep the page small); ``notes[i]`` is the text under the figure.
    """

    label: str
    names: Sequence[str]
    values: Sequence[Sequence[Sequence[float | None]]]
    notes: Sequence[str] = field(default_factory=tuple)
    scale: float = 1.0


def join(parts: Iterable[Content]) -> Markup:
    """Parts one after the other; plain strings are escaped."""
    return Markup("\n").join(escape(part) for part in parts)


def beside(*parts: Content) -> Markup:
    """Parts next to each other where the screen is wide enough; empty ones are left out."""
    cells = join(Markup("<div>{}</div>").format(part) for part in parts if part)
    return Markup('<div class="beside">{}</div>').format(cells)


def paragraph(text: Content, kind: str = "") -> Markup:
    """A paragraph; ``kind`` is "", "note" (small, muted) or "warning"."""
    return Markup('<p class="{}">{}</p>').format(kind, text)


def badge(text: str, tone: str = "") -> Markup:
    """A short label with a tone: "good", "bad" or neutral."""
    return Markup('<span class="badge {}">{}</span>').format(tone, text)


def verdict(ok: bool | None) -> Markup:
    """Passed, failed or not known: said in words, never by colour alone."""
    if ok is None:
        return badge("not known")
    return badge("✓ pass", "good") if ok else badge("✗ fail", "bad")


def tiles(items: Iterable[Tile]) -> Markup:
    """Headline figures, as many side by side as fit."""
    cell = Markup(
        '<div class="tile {}"><dt>{}</dt><dd><span class="value">{}</span>'
        '<span class="hint">{}</span></dd></div>'
    )
    cells = join(cell.format(t.tone, t.label, t.value, t.note) for t in items)
    return Markup('<dl class="tiles">{}</dl>').format(cells)


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[Content]],
    *,
    caption: str,
    text_columns: int = 1,
    tall: bool = False,
) -> Markup:
    """A table whose first ``text_columns`` columns are text and the others figures.

    The first column heads its row. The table scrolls inside itself when it is wider than the
    screen and, if ``tall``, when it is longer than half of it.
    """
    head = Markup("").join(
        Markup('<th scope="col"{}>{}</th>').format(_align(i, text_columns), name)
        for i, name in enumerate(columns)
    )
    lines = []
    for row in rows:
        cells = [Markup('<th scope="row">{}</th>').format(row[0])]
        cells += [
            Markup("<td{}>{}</td>").format(_align(i, text_columns), cell)
            for i, cell in enumerate(row[1:], 1)
        ]
        lines.append(Markup("<tr>{}</tr>").format(Markup("").join(cells)))
    return Markup(
        '<div class="table{}" tabindex="0" role="region" aria-label="{}"><table>'
        "<caption>{}</caption><thead><tr>{}</tr></thead>\n<tbody>{}</tbody></table></div>"
    ).format(" tall" if tall else "", caption, caption, head, Markup("\n").join(lines))


def _align(column: int, text_columns: int) -> Markup:
    return Markup("") if column < text_columns else Markup(' class="number"')


def details(summary: str, *parts: Content) -> Markup:
    """Parts folded away behind a line."""
    return Markup("<details><summary>{}</summary>{}</details>").format(summary, join(parts))


def figure(
    title: str,
    traces: Sequence[Trace],
    layout: Mapping[str, Any] | None = None,
    *,
    caption: Content = "",
    height: int = 340,
    choices: Choices | None = None,
    table: Content = "",
) -> Markup:
    """A plotly figure with its title, a caption that says what to see, and its numbers.

    ``table`` is the same content for readers who do not see the picture, folded away. With
    ``choices`` the figure gets a selector; its x values and styles are those of ``traces``.
    """
    spec: dict[str, Any] = {"traces": traces, "layout": layout or {}, "title": title}
    selector: Content = ""
    if choices is not None:
        spec["choices"] = {
            "names": choices.names,
            "values": choices.values,
            "notes": choices.notes,
            "scale": choices.scale,
        }
        options = Markup("").join(Markup("<option>{}</option>").format(n) for n in choices.names)
        selector = Markup(
            '<div class="chooser"><label>{} <select>{}</select></label>'
            '<button type="button" data-step="-1">← Previous</button>'
            '<button type="button" data-step="1">Next →</button></div>'
            '<p class="choice-note" aria-live="polite"></p>'
        ).format(choices.label, options)
    return Markup(
        '<figure><h3>{title}</h3>{selector}<div class="plot" role="img" aria-label="{title}" '
        'style="height:{height}px"></div><script type="text/plain" class="spec">{spec}</script>'
        "<figcaption>{caption}</figcaption>{table}</figure>"
    ).format(
        title=title,
        selector=selector,
        height=height,
        spec=_packed(json.dumps(_finite(spec), separators=(",", ":"))),
        caption=caption,
        table=details("The figures as a table", table) if table else "",
    )


def page(
    title: str,
    sections: Sequence[Section],
    *,
    subtitle: Content = "",
    badges: Sequence[Markup] = (),
    footer: Content = "",
    plots: bool = True,
) -> str:
    """A whole page; sections without content are left out.

    Without ``plots`` plotly.js is left out (2 MB) and figures are not drawn.
    """
    sections = [section for section in sections if any(section.parts)]
    nav = Markup("").join(
        Markup('<li><a href="#{}">{}</a></li>').format(s.anchor, s.title) for s in sections
    )
    body = Markup("\n").join(
        Markup('<section id="{}"><h2>{}</h2>{}{}</section>').format(
            s.anchor,
            s.title,
            Markup('<p class="lead">{}</p>').format(s.lead) if s.lead else "",
            join(s.parts),
        )
        for s in sections
    )
    plotly = Markup('<script type="text/plain" id="plotly">{}</script>').format(_plotly())
    return str(
        _SHELL.format(
            title=title,
            style=Markup(STYLE),
            badges=Markup(" ").join(badges),
            subtitle=subtitle,
            nav=nav,
            body=body,
            footer=footer,
            plotly=plotly if plots else "",
            script=Markup(SCRIPT),
        )
    )


_SHELL = Markup(
    """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; \
style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<a class="skip" href="#main">Skip to the content</a>
<header>
<div class="bar"><span class="brand">fedwatt</span>
<button type="button" id="theme" hidden>Theme: system</button></div>
<h1>{title}</h1>
<p class="subtitle">{subtitle}</p>
<p class="badges">{badges}</p>
</header>
<nav aria-label="Sections"><ul>{nav}</ul></nav>
<main id="main" tabindex="-1">
<noscript><p class="warning">The pictures need JavaScript. The tables hold the same \
figures.</p></noscript>
{body}
</main>
<footer>{footer}</footer>
{plotly}
<script>{script}</script>
</body>
</html>
"""
)


@cache
def _plotly() -> Markup:
    from plotly.offline import get_plotlyjs  # here: pages without pictures do not need it

    return _packed(get_plotlyjs())


def _packed(text: str) -> Markup:
    """Gzip in base64: a fifth of the size, and nothing in it can end the script element."""
    return Markup(base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode("ascii"))


def label(text: str) -> str:
    """Text from data for use inside a plotly specification, which reads some HTML tags."""
    return text.replace("&", "&amp;").replace("<", "&lt;")


def _finite(value: Any) -> Any:
    """The value with nan and infinity as null, which JSON has and plotly leaves out."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
