"""``fedwatt market``: clear a book of orders."""

import math
import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from common.console import group
from common.data.prices import check_prices
from common.errors import InputError
from common.market_rules import MICRO, MILLI_WH_PER_KWH, MarketRules, to_micro
from fl_server.market import MECHANISMS, Clearing, Grid, OrderBook
from fl_server.market import clear as clear_book
from simulations.orders_csv import read_orders, write_trades

app = group(help="clear a book of orders")
_INTERVAL_HOURS = 0.5
_SHOWN = 10
_DEFAULT = MarketRules()
_CAP = "kW over the community's transformer; the grid then serves what peers leave"


@app.callback()
def _group() -> None:
    """Clear a book of orders."""


@app.command()
def clear(
    orders: Annotated[Path, typer.Argument(help="order_id,household,side,quantity_kwh,price")],
    out: Annotated[Path, typer.Option(help="file of trades to write")],
    mechanism: Annotated[str, typer.Option(help=", ".join(MECHANISMS))] = "uniform",
    loss: Annotated[float, typer.Option(help="share of sent energy")] = _DEFAULT.loss,
    margin: Annotated[
        float, typer.Option("--margin", "--min-margin", help="bid over ask")
    ] = _DEFAULT.min_margin,
    k: Annotated[float, typer.Option(help="price between ask 0 and bid 1")] = _DEFAULT.k,
    seed: Annotated[int, typer.Option(min=0, help="breaks ties, draws lots")] = 0,
    retail: Annotated[float, typer.Option(help="grid's price")] = 0.30,
    feed_in: Annotated[float, typer.Option(help="grid's price for what it takes")] = 0.05,
    cap: Annotated[float | None, typer.Option(help="import and export cap, " + _CAP)] = None,
    import_cap: Annotated[
        float | None, typer.Option("--import-cap", "--import-cap-kw", help=_CAP)
    ] = None,
    export_cap: Annotated[
        float | None, typer.Option("--export-cap", "--export-cap-kw", help=_CAP)
    ] = None,
    local_fee: Annotated[
        float, typer.Option(help="network charges and levies per delivered kWh between peers")
    ] = _DEFAULT.local_fee,
    grid: Annotated[bool, typer.Option(help="the grid serves what peers leave")] = False,
    feeder_loss: Annotated[
        float, typer.Option(help="hierarchical: more loss across feeders")
    ] = _DEFAULT.feeder_loss,
    feeder_fee: Annotated[
        float, typer.Option(help="hierarchical: fee per delivered kWh across feeders")
    ] = _DEFAULT.feeder_fee,
) -> None:
    """Clear ORDERS and write the trades. The same orders in any order give the same trades."""
    if mechanism not in MECHANISMS:
        raise InputError(f"--mechanism {mechanism!r}: expected {', '.join(MECHANISMS)}")
    rules = MarketRules(
        loss=loss,
        min_margin=margin,
        max_steps=sys.maxsize,  # a file is nobody's flood
        k=k,
        feeder_loss=feeder_loss,
        feeder_fee=feeder_fee,
        local_fee=local_fee,
    )
    terms = Grid(
        retail=_price("--retail", retail),
        feed_in=_price("--feed-in", feed_in),
        counterparty=grid,
        import_cap=_energy("--import-cap", cap if import_cap is None else import_cap),
        export_cap=_energy("--export-cap", cap if export_cap is None else export_cap),
    )
    file = read_orders(orders, rules)
    trades = clear_book(mechanism, OrderBook.of(file.admitted), rules, terms, seed)
    write_trades(out, trades, file)
    for order, household, reason in file.refused[:_SHOWN]:
        typer.echo(f"refused: order {order} of {household}: {reason}", err=True)
    if len(file.refused) > _SHOWN:
        typer.echo(f"refused: {len(file.refused) - _SHOWN} more", err=True)
    typer.echo(_summary(mechanism, trades, len(file.order_id)))


def _price(name: str, value: float) -> int:
    check_prices(np.array([value]), lambda _: name)
    return to_micro(value)


def _energy(name: str, kw: float | None) -> int | None:
    if kw is None:
        return None
    if not (math.isfinite(kw) and 0 <= kw <= 1e9):
        raise InputError(f"{name} {kw}: expected 0 kW or more")
    return round(kw * _INTERVAL_HOURS * MILLI_WH_PER_KWH)


def _summary(mechanism: str, trades: Clearing, orders: int) -> str:
    price = "no price" if trades.price is None else f"price {trades.price / MICRO:.6f}"
    sent, delivered, from_grid, to_grid = (
        milliwh / MILLI_WH_PER_KWH
        for milliwh in (
            trades.sent_milliwh,
            trades.delivered_milliwh,
            trades.grid_import_milliwh,
            trades.grid_export_milliwh,
        )
    )
    energy = f"{sent:.6f} kWh sent, {delivered:.6f} delivered"
    grid = f", grid {from_grid:.6f} in, {to_grid:.6f} out" if from_grid or to_grid else ""
    return f"{mechanism}: {len(trades)} trades of {orders} orders, {energy}{grid}, {price}"
