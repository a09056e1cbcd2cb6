"""What stands on a bill beside the energy itself: markup, network fee, levies, VAT.

Prices are currency per kWh, before VAT unless they are called all-in. VAT is a share of everything
before it. In micro (1e-6 currency) the parts of a price sum to it exactly: VAT is what is left.
"""

from dataclasses import dataclass

from common.arrays import Floats
from common.market_rules import to_micro


@dataclass(frozen=True)
class Charges:
    """What comes on top of the energy price of a kWh drawn from the grid.

    ``markup`` is the supplier's, ``network_fee`` the grid operator's, ``levies`` the state's, each
    currency per kWh before VAT and of either sign; ``vat`` is a share of them and of the energy
    price. ``standing_charge`` is currency per day before the same VAT.
    """

    markup: float = 0.0
    network_fee: float = 0.0
    levies: float = 0.0
    vat: float = 0.0
    standing_charge: float = 0.0

    def all_in(self, energy: Floats) -> Floats:
        """Import prices of energy prices (any shape): ``(energy + charges) * (1 + vat)``."""
        if not any((self.markup, self.network_fee, self.levies, self.vat)):
            return energy
        return (energy + (self.markup + self.network_fee + self.levies)) * (1.0 + self.vat)

    @property
    def standing_micro(self) -> tuple[int, int]:
        """The standing charge of a day and the VAT on it [micro]."""
        charge = to_micro(self.standing_charge)
        return charge, to_micro(self.standing_charge * (1.0 + self.vat)) - charge


@dataclass(frozen=True)
class LocalFee:
    """What is charged on a kWh that a member delivers to another, in place of ``Charges``.

    Whole micro per delivered kWh; ``vat`` is the VAT on the other two.
    """

    network: int = 0
    levies: int = 0
    vat: int = 0

    @classmethod
    def of(cls, network_fee: float, levies: float, vat: float) -> "LocalFee":
        """Of charges in currency per kWh before VAT and a share of VAT."""
        network, state = to_micro(network_fee), to_micro(levies)
        whole = to_micro(all_in_fee(network_fee, levies, vat))
        return cls(network, state, whole - network - state)

    def __bool__(self) -> bool:
        return bool(self.network or self.levies or self.vat)


def all_in_fee(network_fee: float, levies: float, vat: float) -> float:
    """What a buyer pays beside the seller's price [currency per delivered kWh], VAT included."""
    return (network_fee + levies) * (1.0 + vat)
