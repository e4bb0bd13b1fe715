"""One is one, and none are several; and what is secret in a URL is not said."""

import pytest

from imagewave.words import counted, in_json, in_markdown, legible, redacted


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


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("naïve → 東京 👩‍🚀 it's", "naïve → 東京 👩‍🚀 it's"),
        ("a\x1b[31mb\x07\x7f\x9b", "a\\x1b[31mb\\x07\\x7f\\x9b"),
        ("gpj\u202egnp \u2066x\u2069", "gpj\\u202egnp \\u2066x\\u2069"),
        ("caf\udce9 \ud800", "caf\\xe9 \\ud800"),
        ("one\ntwo\tthree", "one\\x0atwo\\x09three"),
    ],
)
def test_legible(text: str, said: str) -> None:
    assert legible(text) == said
    assert legible(text, lines=True) == said.replace("\\x0a", "\n")


def test_in_json() -> None:
    assert in_json('{\n  "a": "\u202e\x9b"\n}') == '{\n  "a": "\\u202e\\u009b"\n}'


def test_in_markdown() -> None:
    assert in_markdown("a|b [x](y) <i>_*\n\x1b") == (
        "a\\|b \\[x\\]\\(y\\) \\<i\\>\\_\\*\\\\x0a\\\\x1b"
    )
