"""Tokens as providers and gateways report them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagewave.providers.wire.usage import read_usage
from imagewave.storage.catalog.prices import Usage


def read(reported: object, *, drawn: bool = True, wrote: bool = False) -> Usage | None:
    return read_usage(
        reported, drawn=drawn, wrote=wrote, pictures_apart=True, note=lambda said: None
    )


def of_picture(prompt: int, image: int, text: int = 0, thoughts: int = 0, seen: int = 0) -> Usage:
    return Usage(prompt, image, text, thoughts, seen)


@pytest.mark.parametrize(
    "reported",
    [
        {"promptTokenCount": 10, "candidatesTokenCount": 272},
        {"prompt_token_count": 10, "candidates_token_count": 272},
        {"prompt_tokens": 10, "completion_tokens": 272},
        {"promptTokens": 10, "completionTokens": 272},
        {"input_tokens": 10, "output_tokens": 272, "total_tokens": 282},
        {"inputTokens": "10", "outputTokens": "272"},
        {"inputTokenCount": 10.0, "outputTokenCount": 272.0},
        {"total_input_tokens": 10, "total_output_tokens": 272},
        {"prompt_tokens": 10, "total_tokens": 282},
        {"input_tokens": 10, "prompt_tokens": 10, "output_tokens": 272, "completion_tokens": 272},
        {"prompt_tokens": 10, "responseTokenCount": 272},
    ],
)
def test_a_picture_s_tokens_are_read_by_any_name(reported: dict[str, Any]) -> None:
    assert read(reported) == of_picture(10, 272, seen=10)


@pytest.mark.parametrize(
    ("reported", "wanted"),
    [
        (
            {
                "prompt_tokens_details": {"text_tokens": 22},
                "completion_tokens_details": {"image_tokens": 1372},
            },
            of_picture(22, 1372),
        ),
        (
            {
                "input_tokens": 300,
                "input_tokens_details": {"text_tokens": 20, "image_tokens": 280},
                "output_tokens": 300,
                "output_tokens_details": {"image_tokens": 272, "text_tokens": 28},
            },
            of_picture(300, 272, 28, seen=280),
        ),
        (
            {"input_tokens": 50, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 9},
            of_picture(50, 9, seen=50),
        ),
        (
            {
                "promptTokensDetails": [{"modality": "TEXT", "tokenCount": "7"}],
                "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1120}],
                "thoughtsTokenCount": 40,
            },
            of_picture(7, 1120, thoughts=40),
        ),
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 1000,
                "completion_tokens_details": {"reasoning_tokens": 600, "image_tokens": 272},
            },
            of_picture(10, 272, 128, 600, seen=10),
        ),
        (
            {"input_tokens_by_modality": [{"modality": "text", "tokens": 5}], "output_tokens": 9},
            of_picture(5, 9),
        ),
        (
            {
                "prompt_tokens": 10,
                "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 560}] * 2,
                "output_tokens_details": {"image_tokens": 1120},
            },
            of_picture(10, 1120, seen=10),
        ),
        (
            {
                "input_tokens": 30,
                "input_tokens_details": {"text_tokens": 0, "image_tokens": 0},
                "output_tokens": 9,
            },
            of_picture(30, 9, seen=30),
        ),
        (  # Google's count leaves out what its total has
            {"promptTokenCount": 10, "candidatesTokenCount": 4, "totalTokenCount": 1134},
            of_picture(10, 1124, seen=10),
        ),
    ],
)
def test_details_stand_in_for_counts(reported: dict[str, Any], wanted: Usage) -> None:
    assert read(reported) == wanted


@pytest.mark.parametrize(
    "reported",
    [
        None,
        [],
        "12",
        {},
        {"prompt_tokens": 10, "completion_tokens": 0},
        {"prompt_tokens": 10},
        {"total_tokens": 1130},
        {"words": 7},
        {"output_tokens": {"image": 4}},
        {"output_tokens": float("inf")},
    ],
)
def test_usage_that_counts_no_tokens_for_a_picture_is_none(reported: object) -> None:
    assert read(reported) is None


def test_words_want_tokens_of_their_own() -> None:
    assert read({"prompt_tokens": 10}, drawn=False, wrote=True) is None
    assert read({"prompt_tokens": 10}, drawn=False) == Usage(10, 0, 0, 0, 10)
    assert read({"output_tokens": 4}, drawn=False, wrote=True) == Usage(0, 0, 4, 0)


def test_what_a_cache_took_and_gave_is_input() -> None:
    reported = {
        "input_tokens": 5,
        "cache_creation_input_tokens": 7,
        "cache_read_input_tokens": 11,
        "output_tokens": 20,
        "output_tokens_details": {"thinking_tokens": 15},
        "cache_creation": {"ephemeral_5m_input_tokens": 7},
    }
    found = read_usage(reported, drawn=False, wrote=True, note=lambda said: None)
    assert found == Usage(23, 0, 5, 15)


def test_what_is_odd_is_said() -> None:
    said: list[str] = []
    read_usage({"output_tokens": 4}, drawn=True, wrote=False, note=said.append)
    read_usage(
        {"input_tokens": 1, "output_tokens": 4, "total_tokens": 9},
        drawn=True,
        wrote=False,
        note=said.append,
    )
    assert [word.split()[-1] for word in said] == ["prompt", "total"]


NAMES = st.sampled_from(
    [
        *("promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount", "totalTokenCount"),
        *("input_tokens", "output_tokens", "total_tokens", "completion_tokens"),
        *("promptTokensDetails", "candidatesTokensDetails", "output_tokens_details", "x"),
    ]
)
COUNTS = st.one_of(
    st.integers(), st.floats(), st.text(max_size=6), st.none(), st.booleans(), st.integers(0, 5000)
)
DETAILS = st.one_of(
    st.dictionaries(st.sampled_from(["image_tokens", "text_tokens", "reasoning_tokens"]), COUNTS),
    st.lists(st.fixed_dictionaries({"modality": st.sampled_from(["IMAGE", "x"]), "n": COUNTS})),
)


@given(st.dictionaries(NAMES, COUNTS | DETAILS), st.booleans(), st.booleans())
def test_usage_of_any_kind_is_none_or_counts_what_came(
    reported: dict[str, Any], drawn: bool, wrote: bool
) -> None:
    found = read(reported, drawn=drawn, wrote=wrote)
    if found is None:
        return
    counts = (
        found.prompt_tokens,
        found.image_tokens,
        found.text_tokens,
        found.thought_tokens,
        found.reference_tokens,
    )
    assert min(counts) >= 0
    assert found.reference_tokens <= found.prompt_tokens
    assert sum(counts) > 0
    assert found.image_tokens > 0 or not drawn
