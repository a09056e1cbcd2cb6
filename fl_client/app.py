"""The household's ClientApp: decode, call, encode. Nothing else happens here."""

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from common.messages import (
    ARRAYS,
    CONFIG,
    INTERVAL,
    JOIN,
    IntervalRequest,
    Join,
    decode_arrays,
    encode_metrics,
    encode_update,
)
from fl_client import session

app = ClientApp()


@app.query(JOIN)
def join(message: Message, context: Context) -> Message:
    """Take part in a run."""
    joined = session.join(Join.decode(message.content), context)
    return Message(joined.encode(), reply_to=message)


@app.query(INTERVAL)
def interval(message: Message, context: Context) -> Message:
    """Settle the interval that is over, order for the one that begins."""
    request = IntervalRequest.decode(message.content)
    [reply] = session.open_session([context]).group.advance([request])
    return Message(reply.encode(), reply_to=message)


def _model(content: RecordDict) -> tuple[ArrayRecord, ConfigRecord]:
    return content.array_records[ARRAYS], content.config_records[CONFIG]


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train the global model on this household's own past."""
    arrays, config = _model(message.content)
    learner = session.open_session([context]).learner
    weights, metrics = learner.train(0, int(config["server-round"]), decode_arrays(arrays))  # type: ignore[arg-type]
    return Message(encode_update(weights, metrics), reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Keep the new global model, and say how well it does here."""
    arrays, config = _model(message.content)
    weights = decode_arrays(arrays)
    learner = session.open_session([context]).learner
    learner.receive(0, int(config["server-round"]), weights)  # type: ignore[arg-type]
    return Message(encode_metrics(learner.evaluate(0, weights)), reply_to=message)
