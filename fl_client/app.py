"""The household's ClientApp: decode, call, encode. Nothing else happens here."""

from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import ClientAppCallable

from common.messages import (
    FILLS,
    INTERVAL,
    JOIN,
    Announcement,
    IntervalRequest,
    Join,
    Kept,
    NotJoined,
    encode_metrics,
    not_joined,
)
from common.secure.messages import SECURE
from fl_client.membership import membership
from fl_client.secure import SecureMember
from fl_client.session import HERE, announce


def ask_to_join(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Tell the coordinator, by a code, where this household has to join first."""
    try:
        return call_next(message, context)
    except NotJoined as error:
        return not_joined(error, message)


app = ClientApp(mods=[ask_to_join])


@app.query(JOIN)
def join(message: Message, context: Context) -> Message:
    """Take part in a run."""
    [joined] = HERE.join(Join.decode(message.content), [context])
    return Message(joined.encode(), reply_to=message)


@app.query(INTERVAL)
def interval(message: Message, context: Context) -> Message:
    """Settle the interval that is over, order for the one that begins."""
    request = IntervalRequest.decode(message.content)
    [reply] = HERE.open([context], request.t).group.advance([request])
    return Message(reply.encode(), reply_to=message)


@app.query(FILLS)
def fills(message: Message, context: Context) -> Message:
    """Learn at once what was traded for the interval that has begun."""
    kept = announce(Announcement.decode(message.content), context)
    return Message(Kept(kept).encode(), reply_to=message)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train the global model on this household's own past."""
    found, h = HERE.place(context)
    if SECURE in message.content.config_records:
        member = SecureMember(membership(context).directory, found.group.join.run)
        masked = member.masked(message.content, lambda: found.learner.train(h, message.content))
        return Message(masked, reply_to=message)
    reply = found.learner.train(h, message.content)
    return Message(reply.encode(), reply_to=message)


@app.query(SECURE)
def secure(message: Message, context: Context) -> Message:
    """Hold up this household's end of a secure sum."""
    found, _ = HERE.place(context)
    member = SecureMember(membership(context).directory, found.group.join.run)
    return Message(member.answer(message.content), reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Keep the new model, and say how well it does here."""
    found, h = HERE.place(context)
    [metrics] = found.learner.receive([h], message.content)
    return Message(encode_metrics(metrics), reply_to=message)
