"""What SlotTransformer reads, made from readings alone: whatever carries no gradient is made here.

Arrays hold windows on their last axis, so that sums over days run over contiguous memory. A day's
48 slots stand as (2, 24): the first slots of its 24 tokens, then the second ones.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from common.arrays import Floats32, Ints
from common.forecast.streams import HORIZONS, QUANTILE_LEVELS, SLOTS

DAYS = 28
PATCH = 2
"""Slots in a token."""
TOKENS = SLOTS // PATCH
TOKEN_WIDTH = PATCH * (DAYS + 4) + 4 + 3
"""Of each slot: 28 loads, mean and spread of 7 and 28 days. Of the token: calendar, level of the
last day and the last 7, last load."""
DAY_CANDIDATES = DAYS + 2
"""Of each slot: its load on 28 days, its mean of 7 and of 28 days."""
CANDIDATES = 7 + 4 + 2
"""Of a step: its slot on the last 7 days, on the same weekday of 4 weeks, its usual value, its mean
of 28 days. Usual is the mean of 7 days, of prices their median."""
HEAD_WIDTH = CANDIDATES + 1 + 4 + 1
"""Of a step: candidates, spread of 28 days, calendar, distance."""

_FLOOR = np.float32(0.05)  # of the household's scale: an empty home has no level of its own
_SEASON_UNIT = np.float32(1 / 3)  # of the season's inputs: a step of Adam has a season's effect
_CLIP = np.float32(8.0)  # levels: a spike tells that there was one, not how large a correction
_EXCHANGES = (
    *((0, 5), (0, 3), (1, 6), (2, 4), (0, 1), (3, 5), (2, 6)),
    *((2, 3), (3, 6), (4, 5), (1, 4), (1, 3), (3, 4)),
)
_USUAL, _MEAN28, _SPREAD28 = DAYS, DAYS + 1, DAYS + 2


def slot_inputs(
    days: Floats32, ahead: Floats32, steps: Mapping[str, Ints]
) -> dict[str, NDArray[np.generic]]:
    """Return the inputs of B windows.

    ``days`` (3, B, 28, 48) are the household's load, price and temperature by slot, first the day
    before the origin, in the units of ``inputs.past_block``. ``steps`` (n,) are those wanted of
    each horizon, in the order of ``HORIZONS``, and all 48 of the day if any; ``ahead`` (6, n, B) is
    what is known of all of them in one (``inputs.ahead_block``).

    ``load_level`` and ``price_level`` (B,): what outputs are multiples of. Of the day, where
    wanted: ``tokens`` (71, 24, B), ``candidates`` (30, 2, 24, B), ``quantiles`` (7, 2, 24, B) of
    the last 28 days, ``season`` (4, 2, 24, B). Of all other horizons in one, ``long_*``, and of all
    horizons, ``price_*``: ``tokens`` (19, n, B), ``candidates`` (13, n, B), ``season`` (2, n, B).
    Of each horizon ``*_steps``.
    """
    made: dict[str, NDArray[np.generic]] = {f"{name}_steps": at for name, at in steps.items()}
    load, price, temperature = days
    level, loads, clipped = _levels(load)
    np.add.reduce(loads[:7], 0, out=loads[_USUAL])
    loads[_USUAL] /= 7
    at = np.concatenate(list(steps.values()))
    far = slice(len(steps.get("day", ())), None)
    if "day" in steps:
        made |= _day(load, level, loads, clipped, _warmer(temperature), ahead[:, :SLOTS])
    if len(at[far]):
        made |= _head("long", loads, ahead[:, far], at[far])
    unit, prices, _ = _levels(price)
    prices[_USUAL] = _median7(prices)
    return made | _head("price", prices, ahead, at) | {"load_level": level, "price_level": unit}


def _levels(values: Floats32) -> tuple[Floats32, Floats32, Floats32]:
    """(B, 28, 48) -> level (B,), days in levels, what days have in common; both in slot order.

    Days (31, 2, 24, B): 28 days, room for the usual value, mean of 28 days, spread of them.
    Clipped (28, 2, 24, B).
    """
    count = len(values)
    level = np.maximum(np.abs(values.reshape(count, -1)).mean(1), _FLOOR)
    days = np.empty((DAYS + 3, PATCH, TOKENS, count), np.float32)
    by_slot = values.reshape(count, DAYS, TOKENS, PATCH).transpose(1, 3, 2, 0)
    np.divide(by_slot, level, out=days[:DAYS])
    np.add.reduce(days[:DAYS], 0, out=days[_MEAN28])
    days[_MEAN28] /= DAYS
    clipped = np.clip(days[:DAYS], -_CLIP, _CLIP)
    days[_SPREAD28] = _spread(clipped)
    return level, days, clipped


def _median7(days: Floats32) -> Floats32:
    """Median of the first seven, by a network that only swaps pairs: twice as fast as sorting.

    13 exchanges lead it to the middle (Devillard 1998, "Fast median search").
    """
    own: list[Floats32] = list(days[:7])
    for low, high in _EXCHANGES:
        own[low], own[high] = np.minimum(own[low], own[high]), np.maximum(own[low], own[high])
    return own[3]


def _spread(days: Floats32) -> Floats32:
    mean = np.add.reduce(days, 0) / np.float32(len(days))
    away = days - mean
    np.square(away, out=away)
    spread: Floats32 = np.sqrt(np.add.reduce(away, 0) / np.float32(len(days)))
    return spread


def _warmer(temperature: Floats32) -> Floats32:
    """(B, 28, 48) -> (2, B): yesterday against the last week, that against the last 28 days."""
    daily = temperature.mean(2)
    week = daily[:, :7].mean(1)
    return np.stack([daily[:, 0] - week, week - daily.mean(1)])


def _day(
    load: Floats32,
    level: Floats32,
    days: Floats32,
    clipped: Floats32,
    warmer: Floats32,
    ahead: Floats32,
) -> dict[str, Floats32]:
    count = len(level)
    tokens = np.empty((TOKEN_WIDTH, TOKENS, count), np.float32)
    slots = tokens[: PATCH * (DAYS + 4)].reshape(PATCH, DAYS + 4, TOKENS, count)
    slots = slots.transpose(1, 0, 2, 3)
    slots[:DAYS] = clipped
    np.clip(days[_USUAL : _MEAN28 + 1], -_CLIP, _CLIP, out=slots[DAYS : DAYS + 2])
    slots[DAYS + 2] = _spread(clipped[:7])
    slots[DAYS + 3] = days[_SPREAD28]
    rest = tokens[PATCH * (DAYS + 4) :]
    rest[:4] = ahead[:4, ::PATCH]
    daily = clipped[:7].reshape(7, SLOTS, count).mean(1)
    rest[4], rest[5] = daily[0], daily.mean(0)
    rest[6] = clipped[0, -1, -1]
    change = np.empty((4, PATCH, TOKENS, count), np.float32)
    change[:2] = ahead[4:].reshape(2, TOKENS, PATCH, count).transpose(0, 2, 1, 3)
    change[2:] = warmer[:, None, None]
    return {
        "day_tokens": tokens,
        "day_candidates": days[:DAY_CANDIDATES],
        "day_quantiles": _quantiles(load, level),
        "day_season": change * (days[_MEAN28] / _SEASON_UNIT),
    }


def _quantiles(load: Floats32, level: Floats32) -> Floats32:
    """Each slot's quantiles of its last 28 days, (7, 2, 24, B) in levels."""
    count = len(load)
    ordered = np.sort(load.transpose(0, 2, 1), axis=2)  # (B, 48, 28)
    at = np.array(QUANTILE_LEVELS) * (DAYS - 1)
    low = at.astype(int)
    share = (at - low).astype(np.float32)
    under, over = ordered[..., low], ordered[..., low + 1]
    quantiles = (under + share * (over - under)) / level[:, None, None]
    by_slot = quantiles.reshape(count, TOKENS, PATCH, len(at)).transpose(3, 2, 1, 0)
    return np.ascontiguousarray(by_slot)


def _head(kind: str, days: Floats32, ahead: Floats32, at: Ints) -> dict[str, Floats32]:
    count = days.shape[-1]
    slot, weekday = at % SLOTS, at // SLOTS % 7
    place = slot % PATCH * TOKENS + slot // PATCH
    days_ago = np.empty((CANDIDATES + 1, len(at)), np.int64)
    days_ago[:7] = np.arange(7)[:, None]
    days_ago[7:11] = np.arange(1, 5)[:, None] * 7 - 1 - weekday
    days_ago[11:] = np.array([_USUAL, _MEAN28, _SPREAD28])[:, None]
    found = days.reshape(-1, count).take(days_ago * SLOTS + place, axis=0)  # (14, n, B)
    tokens = np.empty((HEAD_WIDTH, len(at), count), np.float32)
    np.clip(found[:CANDIDATES], -_CLIP, _CLIP, out=tokens[:CANDIDATES])
    tokens[CANDIDATES] = found[CANDIDATES]
    tokens[CANDIDATES + 1 : -1] = ahead[:4]
    tokens[-1] = (at / HORIZONS["month"])[:, None]
    return {
        f"{kind}_tokens": tokens,
        f"{kind}_candidates": found[:CANDIDATES],
        f"{kind}_season": ahead[4:] * (found[CANDIDATES - 1] / _SEASON_UNIT),
    }
