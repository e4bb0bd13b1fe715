"""One is one, and none are several."""

import pytest

from imagewave.words import counted


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0 jobs"), (1, "1 job"), (2, "2 jobs"), (1000, "1000 jobs")]
)
def test_counted(number: int, words: str) -> None:
    assert counted(number, "job") == words
