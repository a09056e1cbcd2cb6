"""The household's ClientApp: decode, call, encode. Nothing else happens here."""

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from common.messages import (
    CONFIG,
    FILLS,
    INTERVAL,
    JOIN,
    Announcement,
    IntervalRequest,
    Join,
    encode_metrics,
)
from fl_client.session import HERE, announce

app = ClientApp()


@app.query(JOIN)
def join(message: Message, context: Context) -> Message:
    """Take part in a run."""
    [joined] = HERE.join(Join.decode(message.content), [context])
    return Message(joined.encode(), reply_to=message)


@app.query(INTERVAL)
def interval(message: Message, context: Context) -> Message:
    """Settle the interval that is over, order for the one that begins."""
    request = IntervalRequest.decode(message.content)
    [reply] = HERE.open([context]).group.advance([request])
    return Message(reply.encode(), reply_to=message)


@app.query(FILLS)
def fills(message: Message, context: Context) -> Message:
    """Learn at once what was traded for the interval that has begun."""
    kept = announce(Announcement.decode(message.content), context)
    return Message(RecordDict({CONFIG: ConfigRecord({"kept": kept})}), reply_to=message)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train the global model on this household's own past."""
    found, h = HERE.place(context)
    reply = found.learner.train(h, message.content)
    return Message(reply.encode(), reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Keep the new model, and say how well it does here."""
    found, h = HERE.place(context)
    [metrics] = found.learner.receive([h], message.content)
    return Message(encode_metrics(metrics), reply_to=message)
