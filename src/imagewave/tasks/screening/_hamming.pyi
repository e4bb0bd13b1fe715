import numpy as np
from numpy.typing import NDArray

# stored: hashes in the order of their band's 16 bits. starts: where each of the 65,536 buckets
# begins, and the last one ends. asked: hashes to find the neighbours of, in buckets first to last.
# Returns pairs of uint64, asked and stored, each once over all bands. Releases the GIL. Raises
# ValueError where the buckets do not fit the hashes.
def near(
    stored: NDArray[np.uint64],
    starts: NDArray[np.uint32],
    band: int,
    asked: NDArray[np.uint64],
    first: int,
    last: int,
    radius: int,
    /,
) -> bytes: ...
