"""One is one, and none are several; and what is secret in a URL is not said."""

import pytest

from imagewave.words import counted, redacted


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0 jobs"), (1, "1 job"), (2, "2 jobs"), (1000, "1000 jobs")]
)
def test_counted(number: int, words: str) -> None:
    assert counted(number, "job") == words


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("https://me:pw@host/a.csv?sig=x%2B==&v=1: gone.", "https://host/a.csv?sig=…&v=…: gone."),
        (
            "see (s3://bucket/a@b.csv), http://host:1?TOKEN",
            "see (s3://bucket/a@b.csv), http://host:1?…",
        ),
        ("no URL: a?b=c, me@host", "no URL: a?b=c, me@host"),
    ],
)
def test_redacted(text: str, said: str) -> None:
    assert redacted(text) == said
