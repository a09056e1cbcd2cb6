"""McAfee's double auction: truthful prices, bought with the marginal trade.

McAfee (1992), "A dominant strategy double auction", with quantities as in Huang, Scheller-Wolf and
Sycara (2002), "Design of a multi-unit double auction e-market". The marginal buyer and seller
of the efficient trade set the prices and do not trade themselves: buyers pay the marginal bid,
sellers earn the marginal ask, and the market keeps the difference, margin included. Where the
efficient trade ends with both orders whole, and the middle of the two next orders suits both
marginal ones, all of them trade at that middle (sellers: less the margin) instead.

The longer side shares in proportion to quantity, which no price report alters. Stating the true
price is then a dominant strategy for a household with one order. One with several may still
gain by holding a step back; ``muda`` is the mechanism for curves.
"""

from common.market_rules import MarketRules, Mask
from fl_server.market.book import Clearing, Grid, OrderBook
from fl_server.market.matching import cross, ladder, without_trade
from fl_server.market.sharing import trade_at


def clear(book: OrderBook, active: Mask, rules: MarketRules, grid: Grid, seed: int) -> Clearing:
    """Clear the active orders with a trade reduction."""
    steps = ladder(book, active, rules, seed)
    crossing = cross(steps)
    if crossing is None:
        return without_trade(book, rules)
    buyers, sellers = crossing.buy, crossing.sell  # those before the marginal orders
    buy_price, sell_price = int(steps.bids[buyers]), int(steps.asks[sellers])
    whole = steps.demand[buyers] == crossing.volume == steps.supply[sellers]
    if whole and buyers + 1 < len(steps.buys) and sellers + 1 < len(steps.sells):
        middle = int(steps.bids[buyers + 1] + steps.asks[sellers + 1]) // 2
        if sell_price <= middle <= buy_price:
            buyers, sellers, buy_price, sell_price = buyers + 1, sellers + 1, middle, middle
    return trade_at(
        book,
        steps.buys[:buyers],
        steps.sells[:sellers],
        rules,
        seed,
        buy_price=buy_price,
        sell_price=rules.truthful_earning(sell_price),
        longer_side="shares",
    )
