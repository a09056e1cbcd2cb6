"""What survives a restart beside the model, as JSON and arrays: a run folder holds no code.

Python's own pickles run what they are told when they are read; a run folder may come from others.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord
from numpy.typing import NDArray

Arrays = dict[str, NDArray[np.generic]]

_PLAIN = (bool, int, float, str)


def to_json(value: object) -> tuple[str, Arrays]:
    """Return a value of plain types, arrays and ArrayRecords as text, and the arrays it names.

    Raises TypeError for anything else.
    """
    arrays: Arrays = {}
    return json.dumps(_flat(value, arrays)), arrays


def from_json(text: str, arrays: Mapping[str, NDArray[np.generic]]) -> Any:
    """The value that ``to_json`` took. Raises ValueError or KeyError for other text."""
    return _whole(json.loads(text), arrays)


def _flat(value: object, arrays: Arrays) -> object:
    if value is None or isinstance(value, _PLAIN):
        return value.item() if isinstance(value, np.generic) else value
    if isinstance(value, np.ndarray | np.generic):
        name = str(len(arrays))
        # A copy in C order: arrays may be views of one another.
        arrays[name] = np.array(value, order="C")
        return {"array": name}
    if isinstance(value, ArrayRecord):
        return {"record": [[name, _flat(a.numpy(), arrays)] for name, a in value.items()]}
    if isinstance(value, list):
        return {"list": [_flat(one, arrays) for one in value]}
    if isinstance(value, tuple):
        return {"tuple": [_flat(one, arrays) for one in value]}
    if isinstance(value, set | frozenset):
        return {"set": [_flat(one, arrays) for one in sorted(value)]}
    if isinstance(value, Mapping):
        return {"dict": [[_flat(k, arrays), _flat(v, arrays)] for k, v in value.items()]}
    raise TypeError(f"a {type(value).__name__} cannot be kept")


def _whole(value: Any, arrays: Mapping[str, NDArray[np.generic]]) -> Any:
    if not isinstance(value, dict):
        return value
    [(kind, held)] = value.items()
    if kind == "array":
        return arrays[held]
    if kind == "record":
        return ArrayRecord({name: Array(np.asarray(_whole(a, arrays))) for name, a in held})
    if kind == "dict":
        return {_whole(k, arrays): _whole(v, arrays) for k, v in held}
    parts = [_whole(one, arrays) for one in held]
    return {"list": list, "tuple": tuple, "set": set}[kind](parts)
