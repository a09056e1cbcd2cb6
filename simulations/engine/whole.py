"""The ServerApp as Flower's engine runs it: a household that its actor has lost ends the run.

Flower answers for an actor that died with an error of unknown kind, as if the household had raised
it, and goes on.
"""

from collections.abc import Iterable

from flwr.app import Context, Message
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid, ServerApp

from common.errors import RunError
from common.messages import brief
from fl_server.app import app as server_app
from fl_server.passing_grid import PassingGrid

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the coordinator's own ServerApp on a grid that hides no loss."""
    server_app(Whole(grid), context)


class Whole(PassingGrid):
    """A grid whose replies are those of households: what the engine answers instead is an error."""

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies that have arrived. Raises RunError for what no household has said."""
        return _of_households(self._grid.pull_messages(message_ids))

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Send messages and wait for the replies. Raises RunError as ``pull_messages`` does."""
        return _of_households(self._grid.send_and_receive(messages, timeout=timeout))


def _of_households(replies: Iterable[Message]) -> list[Message]:
    found = list(replies)
    for reply in found:
        if reply.has_error() and reply.error.code == ErrorCode.UNKNOWN:
            raise RunError(
                f"a process that households run in was lost ({brief(str(reply.error.reason))});"
                " --resume goes on from the last checkpoint"
            )
    return found
