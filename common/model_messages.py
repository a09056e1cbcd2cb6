"""Messages of a model round: what a strategy asks of a household, and what comes back.

The model travels as an ``ArrayRecord``, as every Flower strategy expects. What a strategy wants
beside plain training travels in the config record under the keys below, so a strategy of one's
own only has to set them; a compressed update travels as bytes and is expanded on arrival.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from numpy.typing import NDArray

from common.compression import Compression, parse_compression
from common.messages import (
    ARRAYS,
    CONFIG,
    METRICS,
    MessageError,
    encode_arrays,
    view_arrays,
)

ROUND = "server-round"
LOCAL_STEPS = "local-steps"
PROXIMAL_MU = "proximal-mu"
PERSONAL_LAYERS = "personal-layers"
HEAD_STEPS = "head-steps"
DITTO_LAMBDA = "ditto-lambda"
DITTO_STEPS = "ditto-steps"
FINE_TUNE_STEPS = "fine-tune-steps"
COMPRESSION = "compression"
PRIVACY_CLIP = "privacy-clip"
PRIVACY_NOISE = "privacy-noise"
CHANGE_CLIP = "change-clip"

HELD_ROUND = "held-round"
"""The model is the one of this round, which the household holds, or a change of it."""
KEEP_MODEL = "keep-model"

CONTROL = "control"
"""Array record: SCAFFOLD's server variate on the way down, the change of the household's own up."""
COMPRESSED = "compressed"
_DELTA = "delta"
_INTERVAL = "interval"
TRAIN_STEPS = "train_steps"

Weights = dict[str, NDArray[np.float32]]
Held = Callable[[int], Weights | None]


@dataclass(frozen=True)
class ModelRequest:
    """A global model and what to do with it. Its arrays are read-only views of the message.

    ``local_steps``: None leaves the number of training steps to the household's settings.
    ``proximal_mu``: FedProx pulls training towards the model sent by mu/2 ||w - w_sent||^2.
    ``personal_layers``: prefixes of arrays that stay at home; they go back as they came.
    ``head_steps``: FedRep trains the personal layers alone for so many steps, then the others.
    ``ditto_steps``, ``ditto_lambda``: Ditto trains a model of the household's own as well.
    ``fine_tune_steps``: the household trains what it received before it forecasts with it.
    ``control``: SCAFFOLD's server variate. ``compression`` of the update.
    ``privacy_clip``: norm the update is clipped to, None without privacy; ``privacy_noise``:
    standard deviation of the Gaussian noise the household adds to each value.
    ``change_clip``: length the change is shortened to where the server cannot see it. ``keep``:
    later messages may build on this model.
    """

    round: int
    weights: Weights
    local_steps: int | None = None
    proximal_mu: float = 0.0
    personal_layers: tuple[str, ...] = ()
    head_steps: int = 0
    ditto_lambda: float = 0.0
    ditto_steps: int = 0
    fine_tune_steps: int = 0
    control: Weights | None = None
    compression: Compression = field(default_factory=Compression)
    privacy_clip: float | None = None
    privacy_noise: float = 0.0
    change_clip: float | None = None
    keep: bool = False

    @classmethod
    def decode(cls, content: RecordDict, held: Held = lambda _: None) -> "ModelRequest":
        """Read a train or evaluate message; raises MessageError where a value makes no sense.

        ``held`` gives the model of an earlier round, or None, where the message builds on it.
        """
        if CONFIG not in content.config_records:
            raise MessageError("a model message without config")
        config: Mapping[str, object] = content.config_records[CONFIG]
        control = content.array_records.get(CONTROL)
        steps = _number(config, LOCAL_STEPS, None)
        layers = str(config.get(PERSONAL_LAYERS, ""))
        return cls(
            round=int(_number(config, ROUND, 0) or 0),
            weights=_model(content, config, held),
            keep=bool(config.get(KEEP_MODEL, False)),
            local_steps=None if steps is None else int(steps),
            proximal_mu=_number(config, PROXIMAL_MU, 0.0) or 0.0,
            personal_layers=tuple(part for part in layers.split(",") if part),
            head_steps=int(_number(config, HEAD_STEPS, 0) or 0),
            ditto_lambda=_number(config, DITTO_LAMBDA, 0.0) or 0.0,
            ditto_steps=int(_number(config, DITTO_STEPS, 0) or 0),
            fine_tune_steps=int(_number(config, FINE_TUNE_STEPS, 0) or 0),
            control=None if control is None else view_arrays(control),
            compression=parse_compression(str(config.get(COMPRESSION, "none"))),
            privacy_clip=_number(config, PRIVACY_CLIP, None),
            change_clip=_number(config, CHANGE_CLIP, None),
            privacy_noise=_number(config, PRIVACY_NOISE, 0.0) or 0.0,
        )


def _model(content: RecordDict, config: Mapping[str, object], held: Held) -> Weights:
    if ARRAYS in content.array_records:
        return view_arrays(content.array_records[ARRAYS])
    round_ = config.get(HELD_ROUND)
    base = held(round_) if isinstance(round_, int) else None
    if base is None:
        raise MessageError(f"the model of round {round_} is not held here")
    if COMPRESSED not in content.array_records:
        return base
    blob = content.array_records[COMPRESSED][_DELTA].numpy()
    try:
        change = Compression.expand(blob.tobytes(), {name: a.shape for name, a in base.items()})
    except ValueError as error:
        raise MessageError(str(error)) from None
    return {name: base[name] + change[name] for name in base}


def _number(config: Mapping[str, object], key: str, default: float | None) -> float | None:
    value = config.get(key, default)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
        raise MessageError(f"{key}: {value!r} is not a number of at least 0")
    return float(value)


@dataclass(frozen=True)
class ModelReply:
    """A household's update: ``weights``, or ``compressed`` bytes of their change; and metrics."""

    metrics: Mapping[str, float | int]
    weights: Weights | None = None
    compressed: bytes | None = None
    control: Weights | None = None

    def encode(self) -> RecordDict:
        """Return the Flower record."""
        content = RecordDict({METRICS: MetricRecord(dict(self.metrics))})
        if self.compressed is not None:
            content[COMPRESSED] = packed(self.compressed)
        else:
            assert self.weights is not None
            content[ARRAYS] = encode_arrays(self.weights)
        if self.control is not None:
            content[CONTROL] = encode_arrays(self.control)
        return content


def instruction(interval: int) -> ConfigRecord:
    """What goes along with a model: which interval was decided last when it was sent."""
    return ConfigRecord({_INTERVAL: interval})


def packed(change: bytes) -> ArrayRecord:
    """Compressed changes as they travel."""
    return ArrayRecord({_DELTA: Array(np.frombuffer(change, dtype=np.uint8))})


def expand_reply(content: RecordDict, sent: ArrayRecord) -> None:
    """Turn a compressed update into the weights it stands for, in place.

    ``sent`` is the model the household started from. Raises ValueError for bytes that are no
    update of that model.
    """
    record = content.array_records.get(COMPRESSED)
    if record is None:
        return
    blob = view_arrays(record).get(_DELTA)
    if blob is None or blob.dtype != np.uint8 or blob.ndim != 1:
        raise ValueError("a compressed update without bytes")
    base = view_arrays(sent)
    delta = Compression.expand(blob.tobytes(), {name: a.shape for name, a in base.items()})
    del content[COMPRESSED]
    content[ARRAYS] = encode_arrays({name: base[name] + delta[name] for name in base})
