"""The batched step: one kind of message for many households of one process, answered at once.

What each household answers is, to the last bit, what the ClientApp answers for it alone.
"""

from collections.abc import Callable, Sequence

from flwr.app import Context, Message, MessageType

from common.messages import INTERVAL, JOIN, IntervalRequest, Join, encode_metrics
from fl_client.session import HERE

Batch = Callable[[Sequence[Message], Sequence[Context]], list[Message]]


def join(messages: Sequence[Message], contexts: Sequence[Context]) -> list[Message]:
    """Take part in a run. These households step together from now on."""
    joined = HERE.join(Join.decode(messages[0].content), contexts)
    return [Message(j.encode(), reply_to=m) for j, m in zip(joined, messages, strict=True)]


def interval(messages: Sequence[Message], contexts: Sequence[Context]) -> list[Message]:
    """Settle the interval that is over, order for the one that begins."""
    requests = [IntervalRequest.decode(message.content) for message in messages]
    replies = HERE.open(contexts, requests[0].t).group.advance(requests)
    return [Message(r.encode(), reply_to=m) for r, m in zip(replies, messages, strict=True)]


def evaluate(messages: Sequence[Message], contexts: Sequence[Context]) -> list[Message]:
    """Keep the new model, and say how well it does in each household."""
    places = [HERE.place(context) for context in contexts]
    alike: dict[tuple[int, int], list[int]] = {}
    for i, ((found, _), message) in enumerate(zip(places, messages, strict=True)):
        alike.setdefault((id(found), id(message.content)), []).append(i)
    replies = list(messages)
    for which in alike.values():
        households = [places[i][1] for i in which]
        metrics = places[which[0]][0].learner.receive(households, messages[which[0]].content)
        for i, measured in zip(which, metrics, strict=True):
            replies[i] = Message(encode_metrics(measured), reply_to=messages[i])
    return replies


JOIN_TYPE = f"{MessageType.QUERY}.{JOIN}"
INTERVAL_TYPE = f"{MessageType.QUERY}.{INTERVAL}"

STEPS: dict[str, Batch] = {
    JOIN_TYPE: join,
    INTERVAL_TYPE: interval,
    MessageType.EVALUATE: evaluate,
}
"""By message type. All messages of a batch are alike: sent in one round to different households."""

COMPLETE = (JOIN_TYPE, INTERVAL_TYPE)
"""Types whose step takes the households that step together all at once, or not at all."""
