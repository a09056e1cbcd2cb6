import re

import pytest

from simulations.report.page_style import STYLE

CSS = STYLE
BLOCKS = {
    "light": r"^:root \{(.*?)\n\}",
    "dark, by the system": r'  :root:not\(\[data-theme="light"\]\) \{(.*?)\n  \}',
    "dark, by the button": r':root\[data-theme="dark"\] \{(.*?)\n\}',
}


def colours(theme):
    block = re.search(BLOCKS[theme], CSS, re.DOTALL | re.MULTILINE).group(1)
    return dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})", block))


def contrast(one, other):
    """WCAG 2.2: (L1 + 0.05) / (L2 + 0.05) of the relative luminances, the lighter above."""

    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_of_black_on_white():
    """The formula's known end point: 21 to 1."""
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


@pytest.mark.parametrize("theme", BLOCKS)
def test_text_and_pictures_can_be_read(theme):
    """WCAG AA: 4.5 to 1 for text on each ground it stands on, 3 to 1 for lines and bars."""
    c = colours(theme)
    text = [(ink, ground) for ink in ("ink", "muted", "link") for ground in ("paper", "panel")]
    text += [("good", "good-back"), ("bad", "bad-back")]
    for ink, ground in text:
        assert contrast(c[ink], c[ground]) >= 4.5, (ink, ground)
    for line in ("c1", "c2", "c3", "c4", "c5", "c6", "c7", "focus"):
        assert contrast(c[line], c["paper"]) >= 3, line


def test_both_ways_to_dark_are_the_same():
    """The system's dark and the button's dark show the same colours."""
    assert colours("dark, by the system") == colours("dark, by the button")
