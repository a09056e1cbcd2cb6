"""A household's update as it travels, made without a household."""

from collections.abc import Mapping

import numpy as np
from flwr.app import MetricRecord, RecordDict
from numpy.typing import NDArray

from common.messages import ARRAYS, METRICS, encode_arrays


def encode_update(
    arrays: Mapping[str, NDArray[np.float32]], metrics: Mapping[str, float | int]
) -> RecordDict:
    """Trained weights with their metrics; NUM_EXAMPLES is what strategies weight by."""
    return RecordDict({ARRAYS: encode_arrays(arrays), METRICS: MetricRecord(dict(metrics))})
