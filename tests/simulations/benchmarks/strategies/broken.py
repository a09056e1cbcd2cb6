"""Code of a user's own that fails, each in its own place."""

from collections.abc import Iterable

from flwr.app import ArrayRecord, Message, MetricRecord

from fl_server.strategy.fedavg import FedAvg


class Boom(FedAvg):
    """Raises whenever it should make a model."""

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        raise RuntimeError("boom")


class Lazy(FedAvg):
    """Makes no model in its first round."""

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        made = super().aggregate_train(server_round, replies)
        return made if server_round > 1 else (None, None)


class Never(FedAvg):
    """Never makes a model."""

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        super().aggregate_train(server_round, replies)
        return None, None


def raises(sent, trained, scale, rng):  # type: ignore[no-untyped-def]
    """An attack that cannot run."""
    raise ZeroDivisionError("no attack")


def nothing(sent, trained, scale, rng):  # type: ignore[no-untyped-def]
    """An attack that returns nothing."""


def change(loads, local, rng):  # type: ignore[no-untyped-def]
    """A change of loads that cannot run."""
    raise KeyError("no change")


NUMBER = 3
