"""The household's plan: a stochastic dynamic programme over stored energy, compiled.

The value V_k(s) of s kWh in store at the start of step k is piecewise linear on a grid between
the lowest and the highest permitted store. With W equally likely scenarios of net load n and of
prices, each step has recourse: the battery acts when n is known,

    V_k(s) = mean_w max_a [ -buy (n+a)+ + sell (n+a)- - wear |a| + V_{k+1}(s + eta a+ - a-/eta) ]

a is energy at the terminals, charging positive, within power, store and connection. While 0 <= sell
<= buy, V is concave, so the best action is known in closed form: absorb the net load while the
marginal value of stored energy lies between sell and buy; else charge up or discharge down to the
level where it does. At other prices (below zero, or export above import) the best action is at an
end of something: it is searched among the grid's levels, and V is replaced by its concave envelope.

One household's numbers do not depend on who else is in the batch: every loop is per household.
Times: currency and kWh throughout; a battery is the row (low, high, eta, power, wear), a
connection the row (import limit, export limit), all per interval.
"""

# mypy: disable-error-code="no-any-return"
# (indexing an array gives Any to mypy; numba infers the real types)

import numba
import numpy as np
from numpy.typing import NDArray

from common.arrays import Floats
from common.compiled import compiled

# Columns of a battery's row and of a connection's.
LOW, HIGH, ETA, POWER, WEAR = range(5)
IMPORT, EXPORT = range(2)
# Differences of marginal values below this [currency per kWh] are rounding, not worth acting on.
TOLERANCE = 1e-9


@compiled
def level(value: Floats, low: float, cell: float, marginal: float) -> float:
    """Highest store up to which one more kWh in store is worth more than ``marginal``."""
    first, last = 0, value.shape[0] - 1
    while first < last:
        middle = (first + last) // 2
        if (value[middle + 1] - value[middle]) > (marginal + TOLERANCE) * cell:
            first = middle + 1
        else:
            last = middle
    return low + first * cell


@compiled
def worth(value: Floats, low: float, cell: float, store: float) -> float:
    """V at ``store``: linear between grid points and beyond the ends."""
    x = (store - low) / cell
    i = min(max(int(x), 0), value.shape[0] - 2)
    return value[i] * (1.0 - (x - i)) + value[i + 1] * (x - i)


@compiled
def slope(value: Floats, low: float, cell: float, store: float) -> float:
    """Marginal value at ``store``: cell slopes, linear between the middles of the cells."""
    x = (store - low) / cell - 0.5
    last = value.shape[0] - 2
    i = int(np.floor(x))
    if i < 0:
        return (value[1] - value[0]) / cell
    if i >= last:
        return (value[last + 1] - value[last]) / cell
    f = x - i
    return ((value[i + 1] - value[i]) * (1.0 - f) + (value[i + 2] - value[i + 1]) * f) / cell


@compiled
def towards(store: float, charge_to: float, discharge_to: float, eta: float, power: float) -> float:
    """Action that moves the store up to ``charge_to`` or down to ``discharge_to``."""
    if store < charge_to:
        return min((charge_to - store) / eta, power)
    if store > discharge_to:
        return -min((store - discharge_to) * eta, power)
    return 0.0


@compiled
def plain(buy: float, sell: float) -> bool:
    """Whether the best action at these prices is known in closed form."""
    return 0.0 <= sell <= buy


@compiled
def searched(
    value: Floats,
    store: float,
    size: float,
    eta: float,
    power: float,
    wear: float,
    net: float,
    buy: float,
    sell: float,
    limits: Floats,
    soft_import: float,
) -> tuple[float, float]:
    """Best action at any prices, and what it is worth with ``value`` (G,) of what is stored then.

    ``store`` and ``size`` count from the lowest permitted store. Tried: rest, serve the house, full
    power, and every grid point within power; each as the connection permits it.
    """
    points = value.shape[0]
    cell = size / (points - 1)
    best, most = 0.0, -np.inf
    for c in range(points + 4):
        if c < points:
            rise = c * cell - store
            a = rise / eta if rise > 0.0 else rise * eta
        elif c == points:
            a = 0.0
        elif c == points + 1:
            a = -net
        else:
            a = power if c == points + 2 else -power
        a = min(max(a, -min(store * eta, power)), min((size - store) / eta, power))
        a = confined_plan(
            a, net, store, size, eta, power, limits[IMPORT], limits[EXPORT], soft_import
        )
        flow = max(net + a, -limits[EXPORT])
        after = store + (eta * a if a > 0.0 else a / eta)
        gain = worth(value, 0.0, cell, after) - wear * abs(a)
        gain -= buy * flow if flow > 0.0 else sell * flow
        if gain > most + TOLERANCE:
            best, most = a, gain
    return best, most


@compiled
def envelope(row: Floats) -> None:
    """Replace ``row`` (G,), values on an even grid, by its least concave majorant, in place."""
    points = row.shape[0]
    hull = np.empty(points, np.int64)
    count = 0
    for g in range(points):
        while count >= 2:
            i, j = hull[count - 2], hull[count - 1]
            if (row[j] - row[i]) * (g - j) >= (row[g] - row[j]) * (j - i):
                break
            count -= 1
        hull[count] = g
        count += 1
    for k in range(count - 1):
        i, j = hull[k], hull[k + 1]
        for g in range(i + 1, j):
            row[g] = row[i] + (row[j] - row[i]) * (g - i) / (j - i)


@compiled
def best_action(
    value: Floats,
    battery: Floats,
    limits: Floats,
    store: float,
    net: float,
    buy: float,
    sell: float,
) -> float:
    """Best action for a known net load, ``value`` being V at the end of the interval."""
    low, high, eta, power, wear = battery
    cell = (high - low) / (value.shape[0] - 1)
    if not cell > 0.0:
        return 0.0
    if not plain(buy, sell):
        size = high - low
        inside = min(max(store - low, 0.0), size)
        action, _ = searched(value, inside, size, eta, power, wear, net, buy, sell, limits, np.inf)
        return action
    least = towards(
        store,
        level(value, low, cell, (buy + wear) / eta),
        level(value, low, cell, (buy - wear) * eta),
        eta,
        power,
    )
    most = towards(
        store,
        level(value, low, cell, (sell + wear) / eta),
        level(value, low, cell, (sell - wear) * eta),
        eta,
        power,
    )
    return confined(min(max(-net, least), max(most, least)), net, limits)


@compiled
def confined(action: float, net: float, limits: Floats) -> float:
    """Keep the flow at the connection, ``net + action``, within its limits where possible."""
    if net + action > limits[IMPORT]:
        action = min(action, limits[IMPORT] - net)
    if net + action < -limits[EXPORT]:
        action = max(action, -limits[EXPORT] - net)
    return action


@compiled
def first_at_most(slopes: Floats, marginal: float) -> int:
    """Number of leading cells whose slope (falling) is above ``marginal``."""
    first, last = 0, slopes.shape[0]
    while first < last:
        middle = (first + last) // 2
        if slopes[middle] > marginal + TOLERANCE:
            first = middle + 1
        else:
            last = middle
    return first


# No nan reaches this loop (``plan`` sees to it); saying so lets the compiler use vector minima.
@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"nnan", "nsz"})
def backward(
    net: Floats,
    buy: Floats,
    sell: Floats,
    final: Floats,
    battery: Floats,
    limits: Floats,
    soft_import: float,
    length: Floats,
    value: Floats,
) -> None:
    """Fill ``value`` (N+1, G); row k is V at the start of step k, row N is ``final``.

    net, buy, sell: (W, N). ``soft_import``: planned grid charging stays below it (a community
    cap); inf without. ``length`` (N,): of each step, in units of what the limits are meant for.
    """
    scenarios, steps = net.shape
    points = final.shape[0]
    low, high, eta, full_power, wear = battery
    cell = (high - low) / (points - 1)
    per_cell, per_eta, top = 1.0 / cell, 1.0 / eta, np.int32(points - 2)
    share = 1.0 / scenarios
    slopes = np.empty(points - 1)
    action, store = np.empty(points), np.empty(points)
    bounds = np.empty(2)
    for g in range(points):
        store[g] = g * cell  # counted from ``low``
    value[steps] = final
    for k in range(steps - 1, -1, -1):
        after, row = value[k + 1], value[k]
        row[:] = 0.0
        power, soft = full_power * length[k], soft_import * length[k]
        bounds[IMPORT], bounds[EXPORT] = limits[IMPORT] * length[k], limits[EXPORT] * length[k]
        for g in range(points - 1):
            slopes[g] = (after[g + 1] - after[g]) * per_cell
        concave = True
        last_buy, last_sell = np.inf, np.inf
        up_buy, down_buy, up_sell, down_sell = 0.0, 0.0, 0.0, 0.0
        for w in range(scenarios):
            b, e, n = buy[w, k], sell[w, k], net[w, k]
            if not plain(b, e):
                concave = False
                for g in range(points):
                    row[g] += (
                        share
                        * searched(
                            after, store[g], high - low, eta, power, wear, n, b, e,
                            bounds, soft,
                        )[1]
                    )  # fmt: skip
                continue
            if b != last_buy:
                up_buy = cell * first_at_most(slopes, (b + wear) * per_eta)
                down_buy = cell * first_at_most(slopes, (b - wear) * eta)
                last_buy = b
            if e != last_sell:
                up_sell = cell * first_at_most(slopes, (e + wear) * per_eta)
                down_sell = cell * first_at_most(slopes, (e - wear) * eta)
                last_sell = e
            free = (
                n + power <= min(bounds[IMPORT], soft) and n - power >= -bounds[EXPORT]
            )  # neither limit can bind
            for g in range(points):
                s = store[g]
                least = min(max((up_buy - s) * per_eta, 0.0), power) - min(
                    max((s - down_buy) * eta, 0.0), power
                )
                most = min(max((up_sell - s) * per_eta, 0.0), power) - min(
                    max((s - down_sell) * eta, 0.0), power
                )
                action[g] = min(max(-n, least), max(most, least))
            if not free:
                for g in range(points):
                    action[g] = confined_plan(
                        action[g], n, store[g], high - low, eta, power,
                        bounds[IMPORT], bounds[EXPORT], soft,
                    )  # fmt: skip
            for g in range(points):
                a = action[g]
                flow = max(n + a, -bounds[EXPORT])
                x = (store[g] + eta * max(a, 0.0) + per_eta * min(a, 0.0)) * per_cell
                i = min(max(np.int32(x), np.int32(0)), top)
                x -= i
                row[g] += share * (
                    after[i]
                    + (after[i + 1] - after[i]) * x
                    - b * max(flow, 0.0)
                    - e * min(flow, 0.0)
                    - wear * (max(a, 0.0) - min(a, 0.0))
                )
        if not concave:
            envelope(row)


@compiled
def confined_plan(
    a: float,
    net: float,
    store: float,
    size: float,
    eta: float,
    power: float,
    most_import: float,
    most_export: float,
    soft_import: float,
) -> float:
    """The action kept within the connection's limits; ``store`` and ``size`` count from empty."""
    if a > 0.0 and net + a > soft_import:
        a = max(min(soft_import - net, a), min(-net, a), 0.0)
    if net + a > most_import:
        a = max(most_import - net, -min(store * eta, power))
    elif net + a < -most_export:
        a = min(-most_export - net, min((size - store) / eta, power))
    return a


@compiled
def plan(
    net: Floats,
    buy: Floats,
    sell: Floats,
    final: Floats,
    battery: Floats,
    limits: Floats,
    soft_import: Floats,
    length: Floats,
) -> Floats:
    """V at the end of the first step, (H, G).

    net, buy, sell (H, W, N); final (H, G); battery (H, 5); limits (H, 2); soft_import (H,);
    length (N,): of each step, in units of what battery, limits and soft_import are meant for.
    A scenario row that is not finite makes the household's plan nan.
    """
    households, _, steps = net.shape
    points = final.shape[1]
    result = np.empty((households, points))
    value = np.empty((steps + 1, points))
    for h in range(households):
        if battery[h, HIGH] > battery[h, LOW] and battery[h, POWER] > 0.0:
            backward(
                net[h], buy[h], sell[h], final[h], battery[h], limits[h], soft_import[h],
                length, value,
            )  # fmt: skip
            result[h] = value[min(1, steps)]
        else:
            result[h] = 0.0
    return result


@compiled
def marginal_curve(
    value: Floats,
    battery: Floats,
    limits: Floats,
    store: Floats,
    net: Floats,
    buy: Floats,
    sell: Floats,
    shortfall: float,
    unused: float,
    quantity: Floats,
    width: float,
) -> Floats:
    """Worth of one more kWh bought (or not sold) at each ``quantity``; (H, B), falling.

    buy, sell (H,): the grid's prices now. ``shortfall`` is what energy sold and not sent costs, at
    least ``buy``; ``unused`` what energy bought and not used earns, at most ``sell``.
    The household does not know this interval's net load: the marginal value is the mean over
    net (H, W) of what absorbing the energy saves. Beyond what the battery can take or give the grid
    pays or charges: for what is bought ``unused`` and ``buy``, for what is sold ``sell`` and
    ``shortfall``. Blocks of ``width`` around a quantity that do not fit the household's connection
    are nan.
    """
    households, scenarios = net.shape
    blocks = quantity.shape[0]
    result = np.empty((households, blocks))
    for h in range(households):
        low, high, eta, power, wear = battery[h]
        cell = (high - low) / (value.shape[1] - 1)
        works = cell > 0.0 and power > 0.0
        previous = max(shortfall, buy[h])
        for j in range(blocks):
            q = quantity[j]
            if q + width / 2 > limits[h, IMPORT] + 1e-9 or width / 2 - q > limits[h, EXPORT] + 1e-9:
                result[h, j] = np.nan
                continue
            most = buy[h] if q > 0.0 else max(shortfall, buy[h])
            least = min(unused, sell[h]) if q > 0.0 else sell[h]
            total = 0.0
            for w in range(scenarios):
                a = q - net[h, w]
                if a > 0.0:
                    after = store[h] + eta * a
                    if not works or a > power or after > high:
                        v = least
                    else:
                        v = eta * slope(value[h], low, cell, after) - wear
                else:
                    after = store[h] + a / eta
                    if not works or a < -power or after < low:
                        v = most
                    else:
                        v = slope(value[h], low, cell, after) / eta + wear
                total += min(max(v, least), most)
            previous = min(previous, total / scenarios)
            result[h, j] = previous
    return result


@compiled
def order_steps(
    worth: Floats, quantity: Floats, width: float, lowest: float, highest: float, dearest: float
) -> tuple[NDArray[np.int8], Floats, Floats]:
    """Turn curves (H, B) into orders: side, kWh and price (H, B), packed to the left.

    Below zero a block is an offer to sell at its worth, if that is less than the ``highest`` price
    an order may name and than the ``dearest``, what not delivering it would cost; above zero a bid,
    if that is more than the ``lowest``. A worth beyond the other end is offered at that end: nobody
    trades at a price at which it would lose. Neighbours of one price join.
    """
    households, blocks = worth.shape
    most = min(highest, dearest)
    side = np.zeros((households, blocks), np.int8)
    energy, price = np.zeros((households, blocks)), np.zeros((households, blocks))
    for h in range(households):
        used = 0
        for j in range(blocks):
            v = worth[h, j]
            if not np.isfinite(v):
                continue
            way = (-1 if v < most else 0) if quantity[j] < 0.0 else 1 if v > lowest else 0
            if way == 0:
                continue
            v = min(max(v, lowest), highest)
            if used > 0 and side[h, used - 1] == way and abs(price[h, used - 1] - v) < 5e-7:
                energy[h, used - 1] += width
            else:
                side[h, used], energy[h, used], price[h, used] = way, width, v
                used += 1
    return side, energy, price


@compiled
def actions(
    value: Floats,
    battery: Floats,
    limits: Floats,
    store: Floats,
    net: Floats,
    buy: Floats,
    sell: Floats,
) -> Floats:
    """Best action of every household (H,) for its known net load; rests where there is no plan."""
    result = np.zeros(store.shape[0])
    for h in range(store.shape[0]):
        if np.isfinite(value[h, 0]) and np.isfinite(buy[h]):
            result[h] = best_action(
                value[h], battery[h], limits[h], store[h], net[h], buy[h], sell[h]
            )
    return result


@compiled
def gains(
    value: Floats,
    battery: Floats,
    limits: Floats,
    store: Floats,
    net: Floats,
    buy: Floats,
    sell: Floats,
) -> Floats:
    """Expected gain (H,) of the best action over a battery that rests, over scenarios (H, W)."""
    households, scenarios = net.shape
    result = np.zeros(households)
    for h in range(households):
        low, high, eta, _, wear = battery[h]
        cell = (high - low) / (value.shape[1] - 1)
        if not cell > 0.0:
            continue
        rest = worth(value[h], low, cell, store[h])
        for w in range(scenarios):
            n, b, e = net[h, w], buy[h], sell[h]
            a = best_action(value[h], battery[h], limits[h], store[h], n, b, e)
            after = store[h] + (eta * a if a > 0.0 else a / eta)
            flow = n + a
            acts = worth(value[h], low, cell, after) - wear * abs(a)
            acts -= b * flow if flow > 0.0 else e * flow
            rests = rest - (b * n if n > 0.0 else e * n)
            result[h] += (acts - rests) / scenarios
    return result


@compiled
def expected_import(
    value: Floats,
    battery: Floats,
    limits: Floats,
    store: Floats,
    net: Floats,
    buy: Floats,
    sell: Floats,
) -> Floats:
    """Energy (H,) [kWh] the household expects to draw from the grid if it trades nothing."""
    households, scenarios = net.shape
    result = np.zeros(households)
    for h in range(households):
        for w in range(scenarios):
            n = net[h, w]
            a = best_action(value[h], battery[h], limits[h], store[h], n, buy[h], sell[h])
            result[h] += max(n + a, 0.0) / scenarios
    return result
