"""What Flower's engine answers for a household is not taken for the household's answer."""

from collections.abc import Iterable
from typing import Any

import pytest
from flwr.app import Error, Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.supercore.task_identity import TaskIdentity

from common.errors import RunError
from simulations.engine.loop import LoopGrid
from simulations.engine.whole import Whole


@pytest.fixture(autouse=True)
def task() -> None:
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1


class Answers(LoopGrid):
    """A grid that gives each message the error ``code``, or an empty answer for None."""

    def __init__(self, code: int | None) -> None:
        self._code = code

    def _reply(self, message: Message) -> Message:
        if self._code is None:
            return Message(RecordDict(), reply_to=message)
        return Message(Error(self._code, "the actor died"), reply_to=message)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        message = Message(RecordDict(), dst_node_id=1, message_type="query")
        return [self._reply(message) for _ in message_ids]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        return [self._reply(message) for message in messages]


def _both(grid: Whole) -> Iterable[Any]:
    message = Message(RecordDict(), dst_node_id=1, message_type="query")
    yield lambda: grid.pull_messages(["1"])
    yield lambda: grid.send_and_receive([message])


@pytest.mark.parametrize("code", [None, ErrorCode.CLIENT_APP_RAISED_EXCEPTION])
def test_an_answer_and_a_households_own_error_pass(code: int | None) -> None:
    """Both ways of asking hand on what the household says, its error too."""
    for ask in _both(Whole(Answers(code))):
        [reply] = ask()
        assert reply.has_error() == (code is not None)


def test_a_lost_process_ends_the_run() -> None:
    """Both ways of asking raise, and name the way to go on."""
    for ask in _both(Whole(Answers(ErrorCode.UNKNOWN))):
        with pytest.raises(RunError, match=r"lost \(the actor died\); --resume"):
            ask()
