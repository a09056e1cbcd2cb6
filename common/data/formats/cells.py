"""What the text of a table's cells means: numbers with either decimal sign, times of any layout."""

import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from common.arrays import Floats, Ints
from common.data.formats.parquet import is_text
from common.data.formats.table import MISSING, Part
from common.errors import InputError

# What stands between thousands besides comma and point: apostrophes and blanks of any width.
_BETWEEN = r"' \x{a0}\x{2009}\x{202f}\x{2019}"
# Numbers with the decimal sign and, before it, groups of thousands.
_COMMA = rf"^[+-]?(\d+|[1-9]\d{{0,2}}([.{_BETWEEN}]\d{{3}})+)?(,\d+)?([eE][+-]?\d+)?$"
_POINT = rf"^[+-]?(\d+|[1-9]\d{{0,2}}([,{_BETWEEN}]\d{{3}})+)?(\.\d*)?([eE][+-]?\d+)?$"
_EXCEL_DAY = 25569  # 1970-01-01 as spreadsheets count days


def bare(text: pa.Array) -> pa.Array:
    """Return cells without blanks around them and without the ``="..."`` of spreadsheets."""
    return pc.replace_substring_regex(pc.utf8_trim_whitespace(text), r'^="?(.*?)"?$', r"\1")


def decimal_of(cells: Sequence[str]) -> str | None:
    """Return the decimal sign that ``cells`` show; None where they leave it open.

    ``1,234`` may be a thousand or a little more than one: alone it says nothing.
    """
    comma = [c for c in cells if "," in c]
    point = [c for c in cells if "." in c]
    grouped = re.compile(r"[+-]?[1-9]\d{0,2}([.,]\d{3})+")
    if any(not grouped.fullmatch(c) and "." not in c for c in comma):
        return ","
    if any(c.rfind(",") > c.rfind(".") for c in comma if "." in c):
        return ","
    if any("." in c and c.rfind(".") > c.rfind(",") for c in comma):
        return "."
    if comma:
        return None
    return "." if any(not grouped.fullmatch(c) for c in point) or not point else None


def decimals(part: Part, column: str, decimal: str | None, grouped: bool = False) -> Floats:
    """(n,) float64, nan where there is no value. ``decimal``: the sign; None: what cells show.
    ``grouped``: a point may stand between thousands, as where a comma is the decimal sign.

    Raises InputError that names the cell which is no number, or leaves the sign open.
    """
    if not is_text(part.columns[column]):
        return part.numbers(column)
    text = bare(part.columns[column])
    text = pc.if_else(pc.is_in(text, value_set=pa.array(MISSING)), None, text)
    signs = pc.match_substring_regex(text, f"[,{_BETWEEN}]")
    if decimal is None:
        plain = not pc.any(signs).as_py()
        decimal = "." if plain else decimal_of([t for t in text.to_pylist() if t is not None])
        if plain and grouped and _thousands(text):
            decimal = None
            signs = pc.match_substring(text, ".")
        if decimal is None:
            at = int(np.argmax(signs.fill_null(False).to_numpy(zero_copy_only=False)))
            how = "--decimal says which, as does 'decimal' of a mapping"
            raise part.fail(at, column, f"thousands or a decimal comma? {how}")
    if decimal == "," or pc.any(signs).as_py():
        wrong = pc.invert(pc.match_substring_regex(text, _COMMA if decimal == "," else _POINT))
        if pc.any(wrong).as_py():
            at = int(np.argmax(wrong.fill_null(False).to_numpy(zero_copy_only=False)))
            raise part.fail(at, column, f"not a number with decimal sign {decimal!r}")
        text = pc.replace_substring_regex(text, f"[{_BETWEEN}]", "")
        text = pc.replace_substring(text, "." if decimal == "," else ",", "")
        text = pc.replace_substring(text, ",", ".")
    part.columns[column] = text.fill_null("")
    return part.numbers(column)


def _thousands(text: pa.Array) -> bool:
    """Whether all points of ``text`` could stand between thousands: 1.234 beside 567."""
    point = pc.match_substring(text, ".")
    if not pc.any(point).as_py():
        return False
    groups = pc.match_substring_regex(text, r"^[+-]?[1-9]\d{0,2}(\.\d{3})+$")
    return bool(pc.all(pc.or_(pc.invert(point), groups)).as_py())


def stamps(part: Part, columns: Sequence[str], layout: str) -> tuple[Ints, bool, bool]:
    """Return (n,) seconds since 1970, whether they are UTC or else what a clock shows, and whether
    one of them is 24:00, which no clock shows: such stamps number the hours of a day.

    ``columns``: one, or a date and a time. ``layout``: iso, epoch, epoch_ms, excel or a strptime
    format. 24:00 is the midnight after. Raises InputError that names the cell.
    """
    name = " ".join(columns)
    if len(columns) == 1 and not is_text(part.columns[name]):
        if layout in ("epoch", "epoch_ms", "excel"):
            return *_counted(part, name, layout), False
        return *part.times(name), False
    cells = [bare(pc.cast(part.columns[c], pa.string())) for c in columns]
    text = cells[0] if len(cells) == 1 else pc.binary_join_element_wise(*cells, " ")
    part.columns[name] = text
    if layout in ("epoch", "epoch_ms", "excel"):
        return *_counted(part, name, layout), False
    later = np.zeros(len(part), dtype=np.int64)
    midnight = pc.match_substring_regex(text, r"[ T]24:00(:00)?")
    if pc.any(midnight).as_py():
        later = np.where(midnight.fill_null(False).to_numpy(zero_copy_only=False), 86400, 0)
        part.columns[name] = pc.replace_substring_regex(text, r"([ T])24:00", r"\100:00")
    layouts = [word.strip() for word in layout.split("|")]
    for number, one in enumerate(layouts, 1):
        try:
            seconds, zoned = part.times(name, None if one == "iso" else one)
        except InputError:
            if number == len(layouts):
                raise
            continue
        return seconds + later, zoned, bool(later.any())
    raise AssertionError("a layout has at least one alternative")


def _counted(part: Part, name: str, layout: str) -> tuple[Ints, bool]:
    number = decimals(part, name, ".")
    if np.isnan(number).any():
        raise part.fail(int(np.argmax(np.isnan(number))), name, "no time")
    if layout == "excel":
        # Spreadsheets count days of whatever clock; a minute is 0.0007 of one.
        return np.rint((number - _EXCEL_DAY) * 86400 / 60).astype(np.int64) * 60, False
    return np.floor(number / (1000.0 if layout == "epoch_ms" else 1.0)).astype(np.int64), True


def layout_of(text: str) -> str | None:
    """Return the layout of a time that can be told from one cell alone; None: it cannot."""
    text = text.strip()
    if re.fullmatch(r"\d{4}-\d\d-\d\d([T ].*)?", text):
        return "iso"
    if re.fullmatch(r"1\d{9}", text):
        return "epoch"
    if re.fullmatch(r"1\d{12}", text):
        return "epoch_ms"
    return None


def no_layout(part: Part, column: str) -> InputError:
    """Return the error for a time whose layout has to be said."""
    return part.fail(
        0, column, "how is this time to be read? --date-format, for example '%d/%m/%Y %H:%M'"
    )
