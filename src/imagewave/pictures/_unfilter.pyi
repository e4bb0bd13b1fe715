import numpy as np
from numpy.typing import NDArray

# filtered: what the file's data inflate to, a filter byte before each row. pixels: where the
# samples go, (rows, columns, 3). Releases the GIL. Raises ValueError where the sizes do not fit
# each other, or a row has an unknown filter.
def unfilter(filtered: bytes | bytearray, pixels: NDArray[np.uint8], columns: int, /) -> None: ...
