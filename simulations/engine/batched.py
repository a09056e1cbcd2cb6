"""``--engine batched``: a Flower Grid over Ray actors that each answer for a block of households.

Households stay with their actor, whose caches stay warm. Market messages travel one parcel per
actor and round. A message that brings a model back travels alone, and an actor is handed the
next only when a reply has been taken: the server holds a few models however many households
train. A model that goes out is put into Ray's object store once a round.
"""

import logging
import os
import socket
import time
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from flwr.app import ArrayRecord, Message, MessageType
from flwr.serverapp import ServerApp

from common.errors import InputError, RunError
from common.messages import brief
from fl_server.exchange import exchange
from simulations.engine.block import Block
from simulations.engine.local_ray import end_on_sigterm, import_ray
from simulations.engine.loop import FIRST_NODE, RunConfig, SimulatedGrid, server_context, stamp
from simulations.engine.parcel import Model, pack, unpack

# Replies with models per actor: one that waits to be taken, one being made.
_MODELS_IN_FLIGHT = 2
_WAIT_S = 0.5
_RETRIES = 3
_BACK_S = 300.0
"""Ray takes a minute to be sure that a machine is gone, then starts its actors elsewhere."""
_KNOCK_S = 10.0
_STARTS = 3
# What actors on other machines must know of this one.
_PASSED_ON = ("FEDWATT_CACHE", "PYTHONPATH", "OMP_NUM_THREADS")


@dataclass(eq=False)
class _Actor:
    """An actor, the size of its block, and what it has not been handed yet."""

    handle: Any
    size: int
    queue: deque[Message] = field(default_factory=deque)
    models_in_flight: int = 0


@dataclass(frozen=True)
class _Call:
    """A parcel on its way: to whom, and what it asks."""

    actor: _Actor
    messages: Sequence[Message]
    brings_model: bool
    retries: int = 0


class BatchedGrid(SimulatedGrid):
    """``clients`` households on ``actors`` Ray actors, in blocks of the order of partitions.

    An actor that dies, alone or with its machine, is restarted by Ray and asked again; its block
    goes on from the households' own files. One that keeps dying or does not come back, and Ray
    itself where it is lost, is an error before anything of the interval is booked: the run can be
    gone on with.
    """

    def __init__(
        self,
        clients: int,
        actors: int,
        run_config: RunConfig,
        run_id: int,
        block: type[Block] = Block,
    ) -> None:
        super().__init__(run_id)
        self._ray = ray = import_ray(private=False)
        actors = min(actors, clients)
        bounds = [clients * i // actors for i in range(actors + 1)]
        # Asked again by ``_retry``: Ray would have asked the last time before it knows that a
        # machine is gone.
        remote = ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=0)(block)
        remote = remote.options(scheduling_strategy="SPREAD")
        self.actors = [
            _Actor(remote.remote(run_id, run_config, first, last, clients), last - first)
            for first, last in pairwise(bounds)
        ]
        self._actor_of = {
            FIRST_NODE + partition: actor
            for actor, first in zip(self.actors, bounds, strict=False)
            for partition in range(first, first + actor.size)
        }
        self._calls: dict[Any, _Call] = {}
        self._arrived: dict[str, tuple[Message, _Actor | None]] = {}
        self._put: tuple[ArrayRecord, Any] | None = None
        self._round: str | None = None

    def get_node_ids(self) -> Iterable[int]:
        """Node ids of all clients."""
        return list(self._actor_of)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages; a block's parcel leaves as soon as its last message is there."""
        ids: list[str] = []
        parcels: dict[tuple[_Actor, str], list[Message]] = {}
        for message in messages:
            ids.append(stamp(message).metadata.message_id)
            actor = self._actor_of[message.metadata.dst_node_id]
            kind = message.metadata.message_type
            if kind.startswith(MessageType.TRAIN):
                self._enqueue(actor, message)
                continue
            parcel = parcels.setdefault((actor, kind), [])
            parcel.append(message)
            if len(parcel) == actor.size:
                self._call(actor, parcels.pop((actor, kind)))
        for (actor, _), parcel in parcels.items():
            self._call(actor, parcel)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies that have arrived, after waiting half a second for a first one."""
        wanted = set(message_ids)
        if self._calls and not any(i in wanted for i in self._arrived):
            ready, _ = self._ray.wait(list(self._calls), num_returns=1, timeout=_WAIT_S)
            for reference in ready:
                self._receive(reference)
        for message_id in [i for i in self._arrived if i in wanted]:
            message, actor = self._arrived.pop(message_id)
            if actor is not None:
                actor.models_in_flight -= 1
                self._hand_out(actor)
            yield message

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Send messages and wait for the replies."""
        return list(exchange(self, messages, float("inf") if timeout is None else timeout))

    def close(self) -> None:
        """End the actors."""
        for actor in self.actors:
            # Where Ray is lost, they are gone already.
            with suppress(self._ray.exceptions.RayError):
                self._ray.kill(actor.handle)

    # ---- parcels ------------------------------------------------------------------------------

    def _enqueue(self, actor: _Actor, message: Message) -> None:
        if message.metadata.group_id != self._round:
            # Nobody waits for an older round any more.
            self._round = message.metadata.group_id
            for other in self.actors:
                other.queue.clear()
            for message_id in [i for i, (_, a) in self._arrived.items() if a is not None]:
                self._arrived.pop(message_id)[1].models_in_flight -= 1  # type: ignore[union-attr]
        actor.queue.append(message)
        self._hand_out(actor)

    def _hand_out(self, actor: _Actor) -> None:
        while actor.queue and actor.models_in_flight < _MODELS_IN_FLIGHT:
            actor.models_in_flight += 1
            self._call(actor, [actor.queue.popleft()], brings_model=True)

    def _call(self, actor: _Actor, messages: Sequence[Message], brings_model: bool = False) -> None:
        self._send(_Call(actor, messages, brings_model))

    def _send(self, call: _Call) -> None:
        body, records = pack(call.messages)
        reference = call.actor.handle.answer.remote(body, *map(self._reference, records))
        self._calls[reference] = call

    def _reference(self, record: ArrayRecord) -> Any:
        """A model in Ray's object store; the newest is kept there, whoever asks for it."""
        if self._put is None or self._put[0] is not record:
            self._put = record, self._ray.put(Model.of(record))
        return self._put[1]

    def _receive(self, reference: Any) -> None:
        call = self._calls.pop(reference)
        errors = self._ray.exceptions
        try:
            body, models = self._ray.get(reference)
            replies = unpack(body, [model.record() for model in models])
        except errors.RayError as error:
            # With a machine go its actors, and what they had answered and was not fetched yet.
            gone = isinstance(error, (errors.RayActorError, errors.ObjectLostError))
            if not gone or call.retries == _RETRIES:
                raise _lost(error) from error
            self._retry(call, error)
            return
        if call.brings_model and call.messages[0].metadata.group_id != self._round:
            call.actor.models_in_flight -= 1
            self._hand_out(call.actor)
            return
        for reply in replies:
            holder = call.actor if call.brings_model else None
            self._arrived[reply.metadata.reply_to_message_id] = reply, holder

    def _retry(self, call: _Call, error: Exception) -> None:
        """Wait until the actor is there again, wherever that is, and ask once more."""
        end = time.monotonic() + _BACK_S
        while True:
            try:
                self._ray.get(call.actor.handle.__ray_ready__.remote(), timeout=_BACK_S)
                break
            except self._ray.exceptions.RayError:
                if time.monotonic() > end:
                    raise _lost(error) from error
                time.sleep(_WAIT_S)
        self._send(replace(call, retries=call.retries + 1))


def _lost(error: Exception) -> RunError:
    return RunError(
        f"the processes that households run in were lost ({brief(str(error))}); "
        "--resume goes on from the last checkpoint"
    )


def run(
    server_app: ServerApp,
    clients: int,
    run_config: RunConfig,
    run_id: int,
    actors: int = 0,
    address: str | None = None,
    block: type[Block] = Block,
) -> None:
    """Run both apps to the end; whatever the ServerApp raises is raised here.

    ``actors``: how many, 0 for one per core. ``address``: a Ray cluster whose machines see the run
    directory under the same path; None starts Ray on this machine, for this run.
    Raises InputError where no cluster answers at ``address``.
    """
    context = server_context(run_id, run_config)
    ray = import_ray(private=address is None)
    try:
        _start_ray(ray, actors, address)
        end_on_sigterm()
        cores: dict[str, float] = ray.cluster_resources()
        count = actors or max(1, int(cores["CPU"]))
        grid = BatchedGrid(clients, count, run_config, run_id, block)
        try:
            server_app(grid, context)
        finally:
            grid.close()
    finally:
        ray.shutdown()


def _start_ray(ray: Any, actors: int, address: str | None) -> None:
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address is None:
        _start_here(ray, actors or os.cpu_count() or 1, quiet)
        return
    known = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    _knock(address)
    try:
        ray.init(address=address, runtime_env={"env_vars": known}, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise InputError(f"--ray-address {address}: {' '.join(str(error).split())}") from None


def _knock(address: str) -> None:
    """Raise InputError where nobody listens: Ray itself goes on asking for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdecimal():  # "auto", which Ray looks up on this machine
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_S).close()
    except (OSError, OverflowError) as error:
        raise InputError(
            f"--ray-address {address}: nobody answers there ({error}); 'ray start --head' starts a "
            "cluster and says its address"
        ) from None


def _start_here(ray: Any, cores: int, quiet: dict[str, Any]) -> None:
    for attempt in range(_STARTS):
        try:
            ray.init(address="local", num_cpus=cores, include_dashboard=False, **quiet)
            return
        except Exception as error:  # Ray raises nothing narrower
            ray.shutdown()
            # Ray gives its own processes 30 s to start; a busy machine may need more.
            if attempt == _STARTS - 1 or "timed out during startup" not in str(error):
                raise


__all__ = ["BatchedGrid", "Block", "run"]
