"""Mid-market rate: everybody trades at the middle of retail and feed-in price.

Long, Wu, Zhang, Cheng and Al-Wakeel (2017), "Peer-to-peer energy trading in a community microgrid".
The price depends on no order. Whoever bids at least that much buys, whoever's grossed ask is at
most that much sells, and the longer side shares in proportion to quantity. What peers leave is
settled with the grid, household by household, not averaged into the rate.
"""

from common.market_rules import MarketRules, Mask
from fl_server.market.book import Clearing, Grid, OrderBook
from fl_server.market.sharing import trade_at, willing


def clear(book: OrderBook, active: Mask, rules: MarketRules, grid: Grid, seed: int) -> Clearing:
    """Clear the active orders half way between retail and feed-in plus fee, per delivered kWh."""
    price = (grid.retail + grid.feed_in + rules.local_fee_micro) // 2
    buys, sells = willing(book, active, rules, price, price)
    return trade_at(
        book,
        buys,
        sells,
        rules,
        seed,
        buy_price=price,
        sell_price=price - rules.local_fee_micro,
        longer_side="shares",
    )
