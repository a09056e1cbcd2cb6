"""Who takes part: the nodes of a grid, in the order of their households' names or accounts.

Flower draws node ids from the operating system's entropy. Everything that samples or orders
nodes therefore goes through the household's own name, or a seed would fix nothing. In a deployment
households come, go and change their node while a run goes on; a household's position stays.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

from flwr.app import Message
from flwr.serverapp import Grid

from fl_server.passing_grid import PassingGrid


class Roster(PassingGrid):
    """A grid that lists only joined households, sorted by name.

    ``names`` are those of all positions and ``node_ids`` their nodes, None for who has left.
    Raises ValueError when two nodes claim one name.
    """

    def __init__(self, grid: Grid, names: Mapping[int, str]) -> None:
        if len(set(names.values())) != len(names):
            twice = sorted(n for n in set(names.values()) if list(names.values()).count(n) > 1)
            raise ValueError(f"more than one node claims household {twice[0]!r}")
        super().__init__(grid)
        nodes = sorted(names, key=names.__getitem__)
        self.take_over([names[node] for node in nodes], nodes)

    def take_over(
        self,
        names: Sequence[str],
        node_ids: Sequence[int | None],
        leaving: Collection[int] = (),
    ) -> None:
        """From now on these households are in, by position, with these nodes.

        Those in ``leaving`` are not in, but may still be asked for what they owe.
        """
        self.names, self.node_ids, self.leaving = list(names), list(node_ids), frozenset(leaving)
        self._index_of = {
            node: index for index, node in enumerate(self.node_ids) if node is not None
        }
        self._name_of = {node: self.names[index] for node, index in self._index_of.items()}

    @property
    def present(self) -> list[int]:
        """Positions of the households that are in."""
        return [
            index
            for index, node in enumerate(self.node_ids)
            if node is not None and index not in self.leaving
        ]

    def name(self, node_id: int) -> str:
        """Return the household's name."""
        return self._name_of[node_id]

    def online(self) -> set[int]:
        """Positions in ``names`` of the households that are connected."""
        there = set(self._grid.get_node_ids())
        return {index for node, index in self._index_of.items() if node in there}

    def index(self, node_id: int) -> int | None:
        """Return the household's position in ``names``; None for a node that never joined."""
        return self._index_of.get(node_id)

    def sorted(self, replies: Iterable[Message]) -> list[Message]:
        """Replies in the order of household names, strangers left out."""
        known = [m for m in replies if m.metadata.src_node_id in self._index_of]
        return sorted(known, key=lambda m: self._index_of[m.metadata.src_node_id])

    def get_node_ids(self) -> Iterable[int]:
        """Node ids of those who are in, by position."""
        return [node for node, index in self._index_of.items() if index not in self.leaving]
