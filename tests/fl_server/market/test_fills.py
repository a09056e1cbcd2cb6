import numpy as np

from fl_server.market.book import Fills


def test_no_trade_is_four_arrays_of_their_own():
    """Whoever fills in what a household bought has not thereby written what it sold or paid."""
    fills = Fills.none(2)
    fills.bought[0] = 7
    for other in (fills.sold, fills.paid, fills.received):
        np.testing.assert_array_equal(other, [0, 0])
