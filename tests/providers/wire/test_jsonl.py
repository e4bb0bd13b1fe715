"""Splitting a stream into lines."""

import tracemalloc
from collections.abc import Iterable, Iterator
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from imagewave.providers.wire.jsonl import KEPT_OF_CUT, split_lines

LINES = st.lists(st.binary(max_size=40).map(lambda b: b.replace(b"\n", b"").replace(b"\r", b"")))


def cut_up(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


def split(chunks: Iterable[bytes], **options: int) -> list[tuple[bytes, bool]]:
    return [(line.copy(), line.cut) for line in split_lines(chunks, **options)]


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
    wanted = [(line, False) for line in lines if line.strip()]
    assert split(cut_up(data, cuts)) == wanted


@settings(deadline=None)
@given(st.binary(max_size=300), st.lists(st.integers(0, 10_000)), st.integers(0, 20))
def test_how_a_stream_is_chunked_changes_no_cut(data: bytes, cuts: list[int], limit: int) -> None:
    assert split(cut_up(data, cuts), limit=limit) == split([data], limit=limit)


def test_a_line_beyond_the_limit_is_cut_and_the_next_is_whole() -> None:
    long = b"x" * (KEPT_OF_CUT + 10)
    chunks = [long[:7], long[7:], b"\nshort\n"]
    assert split(chunks, limit=KEPT_OF_CUT) == [(long[:KEPT_OF_CUT], True), (b"short", False)]


def test_a_line_of_exactly_the_limit_is_whole() -> None:
    assert split([b"12345\n123456\n"], limit=5) == [(b"12345", False), (b"12345", True)]


def test_lines_outgrow_the_first_buffer() -> None:
    lines = [bytes([65 + n]) * (1_000_000 << n) for n in range(5)]
    data = b"\n".join(lines)
    chunks = [data[at : at + 700_000] for at in range(0, len(data), 700_000)]
    assert split(chunks) == [(line, False) for line in lines]


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
