"""``--engine loop``: every household in this process, one after the other.

The floor that the other engines are measured against, and what tests run on: the same ServerApp,
ClientApp, messages and strategies, with nothing in between.
"""

from collections.abc import Iterable
from uuid import uuid4

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp.typing import ClientAppCallable
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid, ServerApp
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

RunConfig = dict[str, bool | float | int | str]
_SERVER_NODE = 1
FIRST_NODE = 1000


def client_context(run_id: int, partition: int, partitions: int, run_config: RunConfig) -> Context:
    """Return the context of one virtual client, as Flower's simulation engine fills it.

    ``pinned`` tells the household that no other process will answer for it.
    """
    return Context(
        run_id=run_id,
        node_id=FIRST_NODE + partition,
        node_config={"partition-id": partition, "num-partitions": partitions, "pinned": True},
        state=RecordDict(),
        run_config=run_config,
    )


class SimulatedGrid(Grid):
    """What grids of one machine have in common: one run, and messages that need no transport."""

    def __init__(self, run_id: int) -> None:
        self._run = Run.create_empty(run_id)

    def set_run(self, run: Run) -> None:
        """Set the run."""
        self._run = run

    @property
    def run(self) -> Run:
        """Run information."""
        return self._run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Build a message."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)


class LoopGrid(SimulatedGrid):
    """Calls the ClientApp for each message when its reply is pulled; nothing is kept waiting."""

    def __init__(
        self, app: ClientAppCallable, clients: int, run_config: RunConfig, run_id: int
    ) -> None:
        super().__init__(run_id)
        self._app = app
        self._contexts = {
            context.node_id: context
            for context in (
                client_context(run_id, partition, clients, run_config)
                for partition in range(clients)
            )
        }
        self._waiting: dict[str, Message] = {}

    def get_node_ids(self) -> Iterable[int]:
        """Node ids of all clients."""
        return list(self._contexts)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Take messages; they are answered when their replies are pulled."""
        pushed = {m.metadata.message_id: m for m in map(stamp, messages)}
        self._waiting |= pushed
        return list(pushed)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Answer these messages one by one, as the caller consumes the replies."""
        for message_id in [i for i in message_ids if i in self._waiting]:
            message = self._waiting.pop(message_id)
            yield answer(self._app, message, self._contexts[message.metadata.dst_node_id])

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Send messages and return all replies; nothing can be late here."""
        return list(self.pull_messages(self.push_messages(messages)))


def answer(app: ClientAppCallable, message: Message, context: Context) -> Message:
    """Run the app on one message; what it raises becomes an error reply, as in every engine."""
    try:
        reply = app(message, context)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        reply = Message(
            Error(code=ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason=reason), reply_to=message
        )
    return stamp(reply)


def stamp(message: Message) -> Message:
    """Give a message its id, as a SuperLink does."""
    message.metadata.__dict__["_message_id"] = str(uuid4())
    return message


def server_context(run_id: int, run_config: RunConfig) -> Context:
    """Return the ServerApp's context, and take its identity: messages carry it."""
    TaskIdentity.task_id = 1
    TaskIdentity.run_id = run_id
    TaskIdentity.node_id = _SERVER_NODE
    return Context(
        run_id=run_id,
        node_id=_SERVER_NODE,
        node_config={},
        state=RecordDict(),
        run_config=run_config,
    )


def run(
    server_app: ServerApp,
    client_app: ClientAppCallable,
    clients: int,
    run_config: RunConfig,
    run_id: int,
) -> None:
    """Run both apps to the end; whatever the ServerApp raises is raised here."""
    context = server_context(run_id, run_config)
    server_app(LoopGrid(client_app, clients, run_config, run_id), context)
