import numpy as np
from numpy.typing import NDArray

# Importing this raises ImportError on processors without AVX2. What the functions mean is said in
# pixels.py. All take pixels as uint8 without gaps between rows, release the GIL, and raise
# ValueError where sizes do not fit each other.

# out: (rows // 2, columns // 2, 3).
def halve(pixels: NDArray[np.uint8], out: NDArray[np.uint8], columns: int, /) -> None: ...

# gray: (rows, columns), written.
def luma(pixels: NDArray[np.uint8], gray: NDArray[np.uint8], /) -> None: ...
def tones(
    gray: NDArray[np.uint8], columns: int, step: int, /
) -> tuple[float, float, float, float, float]: ...
def saturation(pixels: NDArray[np.uint8], dark: int, /) -> tuple[int, int]: ...
def squares(
    gray: NDArray[np.uint8], columns: int, /
) -> tuple[int, int, int, int, int, int, int, int]: ...
def edges(gray: NDArray[np.uint8], columns: int, /) -> tuple[int, int, int, int]: ...

# of_rows, of_columns: (rows, 8) and (columns, 8). Returns 64 values, row by row.
def project(
    gray: NDArray[np.uint8], of_rows: NDArray[np.int32], of_columns: NDArray[np.int32], /
) -> list[float]: ...
