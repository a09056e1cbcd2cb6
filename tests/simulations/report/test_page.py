import re

from markupsafe import Markup

from simulations.report.page import (
    Choices,
    Section,
    Tile,
    badge,
    beside,
    details,
    figure,
    label,
    page,
    paragraph,
    table,
    tiles,
    verdict,
)
from tests.simulations.report.reading import Reader, validate

EVIL = "</script><script>alert(1)</script>\"'&<b>"


def test_text_from_data_cannot_become_markup():
    """Hostile text in every piece comes back as text: no element more than with plain text."""

    def built(text):
        parts = [
            tiles([Tile(text, text, text)]),
            table((text, text), [(text, text)], caption=text),
            figure(
                text,
                [{"type": "scatter", "x": [1], "name": text}],
                choices=Choices(text, [text], [[[1.0]]], [text]),
                caption=text,
            ),
            details(text, text),
            beside(text, paragraph(text)),
            badge(text),
            text,
        ]
        return page(text, [Section(text, parts, lead=text)], subtitle=text, footer=text)

    evil, plain = Reader(built(EVIL)), Reader(built("plain"))
    assert [tag for tag, _ in evil.tags] == [tag for tag, _ in plain.tags]
    assert evil.text.count(EVIL) == plain.text.count("plain")
    assert evil.specs[0]["choices"]["names"] == [EVIL]


def test_plotly_text_keeps_its_signs():
    """Plotly reads some tags; a name that looks like one must be shown as it is."""
    assert label("<b>A&B") == "&lt;b>A&amp;B"


def test_page_can_make_no_request():
    """The policy forbids every source, and no element names one."""
    html = page("T", [Section("S", [figure("F", [{"type": "scatter", "x": [1], "y": [2]}])])])
    reader = Reader(html)
    policies = [a["content"] for t, a in reader.tags if a.get("http-equiv")]
    assert [p for p in policies if p and p.startswith("default-src 'none';")] == policies != []
    assert not any({"src", "href"} & set(a) for t, a in reader.tags if t not in ("a",))
    assert all(a["href"].startswith("#") for t, a in reader.tags if t == "a")
    assert not re.search(r"@import|url\(", html.split("</style>")[0])


def test_plotly_is_there_once_and_only_when_asked_for():
    """Ten figures cost one library; a page of tables costs none."""
    section = Section("S", [figure("F", [{"type": "bar", "y": [1]}]) for _ in range(10)])
    assert page("T", [section]).count('id="plotly"') == 1
    plain = page("T", [Section("S", ["text"])], plots=False)
    assert 'id="plotly"' not in plain
    assert len(plain) < 40_000


def test_what_is_not_a_number_is_left_out_of_a_figure():
    """JSON has no nan; plotly draws null as a gap."""
    trace = {"type": "scatter", "y": [1.0, float("nan"), float("inf")]}
    spec = Reader(page("T", [Section("S", [figure("F", [trace])])])).specs[0]
    assert spec["traces"][0]["y"] == [1.0, None, None]
    validate(spec)


def test_sections_are_linked_and_empty_ones_left_out():
    """Each entry of the navigation leads to a section that is there."""
    html = page("T", [Section("First & last", ["x"]), Section("Empty", ["", Markup("")])])
    tags = Reader(html).tags
    anchors = [a["id"] for t, a in tags if t == "section"]
    assert anchors == ["first-last"]
    assert [a["href"] for t, a in tags if t == "a" and a["href"] != "#main"] == ["#first-last"]


def test_verdict_says_it_in_words():
    """Colour alone is not read by everyone."""
    assert "pass" in verdict(True)
    assert "fail" in verdict(False)
    assert "not known" in verdict(None)
