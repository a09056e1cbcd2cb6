"""The style of every page, as a module: a Flower app carries no other kind of file."""

STYLE = r""":root {
  --paper: #ffffff; --panel: #f6f7f9; --ink: #16202b; --muted: #55616e; --line: #d9dee4;
  --grid: #e6eaee; --link: #0b5c95; --good: #00664a; --good-back: #dff3ea; --bad: #a02c00;
  --bad-back: #fbe6dc; --focus: #0b5c95;
  /* Okabe and Ito's colour-blind safe set, darkened where it is thin on white. */
  --c1: #0072b2; --c2: #d55e00; --c3: #008a65; --c4: #b5578f; --c5: #3a9bd9; --c6: #b67d00;
  --c7: #5b6672;
}
@media (prefers-color-scheme: dark) {
  :root:not([data-theme="light"]) {
    --paper: #10161d; --panel: #18212b; --ink: #e8edf2; --muted: #a3b0bd; --line: #2e3a46;
    --grid: #26313c; --link: #7cc4f5; --good: #6fdcb2; --good-back: #12382c; --bad: #ff9e70;
    --bad-back: #45210f; --focus: #7cc4f5; --c1: #4fb0ea; --c2: #ff8a3c; --c3: #2fc596;
    --c4: #e59bc8; --c5: #9ad4fa; --c6: #e9b949; --c7: #9aa7b4;
    color-scheme: dark;
  }
}
:root[data-theme="dark"] {
  --paper: #10161d; --panel: #18212b; --ink: #e8edf2; --muted: #a3b0bd; --line: #2e3a46;
  --grid: #26313c; --link: #7cc4f5; --good: #6fdcb2; --good-back: #12382c; --bad: #ff9e70;
  --bad-back: #45210f; --focus: #7cc4f5; --c1: #4fb0ea; --c2: #ff8a3c; --c3: #2fc596;
  --c4: #e59bc8; --c5: #9ad4fa; --c6: #e9b949; --c7: #9aa7b4;
  color-scheme: dark;
}
:root[data-theme="light"] { color-scheme: light; }
* { box-sizing: border-box; }
html { scroll-behavior: smooth; scroll-padding-top: 3.5rem; }
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
header, main, footer { max-width: 1120px; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: 1.25rem; }
main:focus { outline: none; }
a { color: var(--link); }
:focus-visible { outline: 3px solid var(--focus); outline-offset: 2px; border-radius: 3px; }
.skip { position: absolute; left: -999rem; }
.skip:focus { left: 1rem; top: 1rem; background: var(--paper); padding: .5rem 1rem; z-index: 9; }
.bar { display: flex; justify-content: space-between; align-items: center; min-height: 2.25rem; }
.brand { font-weight: 700; letter-spacing: .02em; color: var(--c1); }
button, select {
  font: inherit; font-size: .9rem; color: var(--ink); background: var(--paper);
  border: 1px solid var(--line); border-radius: 8px; padding: .4rem .75rem; min-height: 2.25rem;
}
button { cursor: pointer; }
button:hover, select:hover { border-color: var(--muted); }
button:disabled { opacity: .45; cursor: default; }
h1 { font-size: clamp(1.6rem, 4.5vw, 2.4rem); line-height: 1.15; letter-spacing: -.02em; margin: .6rem 0 .4rem; }
h2 { font-size: 1.45rem; letter-spacing: -.01em; line-height: 1.25; margin: 0 0 .5rem; }
h3 { font-size: 1.05rem; margin: 0 0 .35rem; }
.subtitle { color: var(--muted); margin: 0 0 .6rem; font-size: 1.05rem; max-width: 46rem; }
.badges { display: flex; flex-wrap: wrap; gap: .5rem; margin: 0 0 1.25rem; }
.badge {
  display: inline-block; font-size: .82rem; font-weight: 600; line-height: 1.4; white-space: nowrap;
  border-radius: 99px; padding: .12rem .65rem; background: var(--panel); color: var(--muted);
}
.badge.good { background: var(--good-back); color: var(--good); }
.badge.bad { background: var(--bad-back); color: var(--bad); }
nav { position: sticky; top: 0; background: var(--paper); border-bottom: 1px solid var(--line); z-index: 5; }
nav ul {
  display: flex; gap: 1.4rem; overflow-x: auto; list-style: none; max-width: 1120px; margin: 0 auto;
  padding: .65rem 1.25rem; scrollbar-width: thin;
}
nav a { color: var(--muted); text-decoration: none; white-space: nowrap; font-size: .95rem; }
nav a:hover, nav a:focus-visible { color: var(--ink); text-decoration: underline; }
section { padding: 2.25rem 0 1rem; }
section + section { border-top: 1px solid var(--line); }
.lead { max-width: 46rem; margin: 0 0 1.25rem; color: var(--muted); }
.note { color: var(--muted); font-size: .9rem; max-width: 46rem; }
.warning { background: var(--bad-back); color: var(--bad); border-radius: 10px; padding: .75rem 1rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr)); gap: .9rem; margin: 0 0 1rem; }
.tile { background: var(--panel); border-radius: 12px; padding: 1rem 1.15rem; border-left: 4px solid var(--line); }
.tile.good { border-left-color: var(--c3); }
.tile.bad { border-left-color: var(--c2); }
.tile dt { color: var(--muted); font-size: .9rem; }
.tile dd { margin: 0; }
.value { display: block; font-size: 1.9rem; font-weight: 650; letter-spacing: -.02em; line-height: 1.3; font-variant-numeric: tabular-nums; }
.hint { display: block; color: var(--muted); font-size: .88rem; line-height: 1.4; }
.beside { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 0 2rem; }
figure { margin: 0 0 2rem; min-width: 0; }
figcaption { color: var(--muted); font-size: .9rem; max-width: 52rem; margin-top: .25rem; }
.plot { width: 100%; overflow: hidden; }
.plot:empty { background: var(--panel); border-radius: 10px; }
.chooser { display: flex; flex-wrap: wrap; gap: .5rem; align-items: center; margin: .25rem 0; }
.chooser select { min-width: 8rem; max-width: 60vw; margin-left: .35rem; }
.choice-note { margin: .35rem 0 0; font-size: .95rem; font-variant-numeric: tabular-nums; }
.table { overflow: auto; margin: 0 0 1.25rem; }
.table.tall { max-height: 26rem; border: 1px solid var(--line); border-radius: 10px; }
table { border-collapse: collapse; width: 100%; font-size: .93rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .35rem 0; }
.tall caption { padding: .6rem .75rem; }
th, td { text-align: left; padding: .42rem .75rem; border-bottom: 1px solid var(--line); vertical-align: top; }
thead th { color: var(--muted); font-weight: 600; font-size: .85rem; vertical-align: bottom; }
.tall thead th { position: sticky; top: 0; background: var(--paper); }
tbody th { font-weight: 500; }
td.number, th.number { text-align: right; white-space: nowrap; }
tbody tr:hover { background: var(--panel); }
details { margin: .5rem 0 1rem; }
summary { cursor: pointer; color: var(--link); font-size: .92rem; padding: .25rem 0; width: fit-content; }
footer { color: var(--muted); font-size: .88rem; padding-top: 1.5rem; padding-bottom: 3rem; }
@media (max-width: 40rem) {
  .tiles { grid-template-columns: repeat(2, minmax(0, 1fr)); gap: .6rem; }
  .tile { padding: .7rem .8rem; }
  .value { font-size: 1.4rem; }
  th, td { padding: .4rem .5rem; }
  tbody th { min-width: 7.5rem; }
}
@media print {
  nav, .bar button, .chooser, .skip { display: none; }
  body { font-size: 11pt; }
  section, figure, .tile { break-inside: avoid; }
  .table.tall { max-height: none; }
}
"""
