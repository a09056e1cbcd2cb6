"""Compiled loops: numba, set up in one way."""

from typing import Any

import numba


def compiled(function: Any) -> Any:
    """Numba, with the machine code kept on disk: a new process loads it instead of compiling."""
    return numba.njit(cache=True, nogil=True)(function)
