"""Names for the arrays that pass between modules: what they hold, never how long they are.

Shapes stand in the docstrings of whoever takes or returns them.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Ints = NDArray[np.int64]
Codes = NDArray[np.int8]
Mask = NDArray[np.bool_]
