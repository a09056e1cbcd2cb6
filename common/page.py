"""What the product's pages have in common: one style, one frame, no script, nothing from elsewhere.

A page is drawn anew each time and asks for itself again; it follows the browser's light or dark.
"""

from collections.abc import Iterable, Sequence

from markupsafe import Markup

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --accent: #2a78d6; --soft: #2a78d655;
  --sun: #d99a00; --card: #8881; }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 62rem; padding: 1.5rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.05rem; margin: 2rem 0 .5rem; }
p { margin: .4rem 0; } p.sub { margin: .2rem 0 1.2rem; opacity: .75; }
.tiles { display: grid; gap: .8rem; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); }
.tile { border: 1px solid var(--line); border-radius: .5rem; padding: .7rem .9rem; }
.tile b { display: block; font-size: 1.35rem; font-variant-numeric: tabular-nums; }
.tile span { font-size: .85rem; opacity: .75; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--line); padding: .35rem .6rem; text-align: right; }
th:first-child, td:first-child { text-align: left; } td + td { white-space: nowrap; }
th { font-weight: 600; font-size: .85rem; }
tr.sum td { font-weight: 600; border-bottom: 0; }
.off { color: #c2410c; } svg { display: block; width: 100%; height: auto; }
svg text { font: 11px system-ui, sans-serif; fill: currentColor; opacity: .75; }
.box { background: var(--card); border-radius: .5rem; padding: .8rem 1rem; }
summary { cursor: pointer; padding: .3rem 0; } p.sub + p.sub { margin-top: -1rem; }
form { display: flex; flex-wrap: wrap; gap: .6rem; align-items: center; margin: .6rem 0 0; }
button, select { font: inherit; padding: .45rem .9rem; border-radius: .4rem;
  border: 1px solid var(--line); background: Canvas; color: CanvasText; }
button { border-color: var(--accent); cursor: pointer; }
@media (prefers-color-scheme: dark) { .off { color: #fb923c; } }
@media (max-width: 34rem) { body { padding: 1rem .8rem; }
  .tiles { grid-template-columns: 1fr 1fr; gap: .5rem; } .tile { padding: .5rem .7rem; }
  .tile b { font-size: 1.15rem; } table { font-size: .9rem; } th, td { padding: .3rem; }
  svg text { font-size: 24px; } }
"""


def document(title: str, body: Markup, refresh_s: int) -> str:
    """A page as HTML; it asks for itself again every ``refresh_s`` seconds."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="refresh" content="{refresh_s}">'
        f"<title>{Markup.escape(title)}</title><style>{_STYLE}</style></head><body>{body}</body></html>"
    )


def tiles(shown: Iterable[tuple[str, str]]) -> Markup:
    """Figures with what they are, side by side."""
    return (
        Markup('<div class="tiles">')
        + Markup("").join(
            Markup('<div class="tile"><b>{}</b><span>{}</span></div>').format(value, text)
            for value, text in shown
        )
        + Markup("</div>")
    )


def table(head: Sequence[str], rows: Iterable[Sequence[object]], *, sums: bool = False) -> Markup:
    """Rows under a head, the first column left; with ``sums`` the last row stands out."""
    lines = [Markup("").join(Markup("<td>{}</td>").format(cell) for cell in row) for row in rows]
    body = [Markup("<tr>{}</tr>").format(line) for line in lines]
    if sums and body:
        body[-1] = Markup('<tr class="sum">{}</tr>').format(lines[-1])
    return Markup(
        '<div class="wide"><table><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>'
    ).format(
        Markup("").join(Markup("<th>{}</th>").format(cell) for cell in head),
        Markup("").join(body),
    )
