"""Splitting a stream into lines."""

import tracemalloc
from collections.abc import Iterator
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from imagewave.tasks.providers.jsonl import KEPT_OF_CUT, Line, split_lines

LINES = st.lists(st.binary(max_size=40).map(lambda b: b.replace(b"\n", b"").replace(b"\r", b"")))


def cut_up(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


@settings(deadline=None)
@given(
    LINES,
    st.sampled_from([b"\n", b"\r\n"]),
    st.booleans(),
    st.lists(st.integers(0, 10_000)),
)
def test_how_a_stream_is_chunked_changes_no_line(
    lines: list[bytes], newline: bytes, closed: bool, cuts: list[int]
) -> None:
    data = newline.join(lines) + newline * closed
    wanted = [Line(line) for line in lines if line.strip()]
    assert list(split_lines(cut_up(data, cuts))) == wanted


@settings(deadline=None)
@given(st.binary(max_size=300), st.lists(st.integers(0, 10_000)), st.integers(0, 20))
def test_how_a_stream_is_chunked_changes_no_cut(data: bytes, cuts: list[int], limit: int) -> None:
    whole = list(split_lines([data], limit=limit))
    assert list(split_lines(cut_up(data, cuts), limit=limit)) == whole


def test_a_line_beyond_the_limit_is_cut_and_the_next_is_whole() -> None:
    long = b"x" * (KEPT_OF_CUT + 10)
    chunks = [long[:7], long[7:], b"\nshort\n"]
    assert list(split_lines(chunks, limit=KEPT_OF_CUT)) == [
        Line(long[:KEPT_OF_CUT], cut=True),
        Line(b"short"),
    ]


def test_a_line_of_exactly_the_limit_is_whole() -> None:
    assert list(split_lines([b"12345\n123456\n"], limit=5)) == [
        Line(b"12345"),
        Line(b"12345", True),
    ]


def test_memory_holds_one_line_and_not_the_file() -> None:
    def file() -> Iterator[bytes]:
        for _ in range(200):
            yield b"x" * 999_999 + b"\n"

    tracemalloc.start()
    count = sum(1 for _ in split_lines(file()))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 200
    assert peak < 8_000_000
