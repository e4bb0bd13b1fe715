"""Answers of text models against their schemas: sound, or a sentence that says what is wrong."""

import json

import pytest

from imagewave.tasks.json_answers import BadAnswer, read_answer
from imagewave.tasks.judging.judge import schema

SCHEMA = schema(("brief_fit", "composition"), rules=True)
SOUND = {"brief_fit": 0.8, "composition": 1, "keeps_rules": True, "reason": "Fine."}


PLAIN = json.dumps(SOUND)
FENCED = f"```json\n{json.dumps(SOUND, indent=2)}\n```"


def fault(text: str) -> str:
    with pytest.raises(BadAnswer) as caught:
        read_answer(text, SCHEMA)
    return str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        FENCED,
        f"```\n{PLAIN}```\n",
        f"\ufeff{PLAIN}",
        f"\ufeff{FENCED}",
        f"{PLAIN} And that is final.",
        f"Here is my judgement:\n\n{FENCED}\n\nIt is a fine picture.",
        f"<think>The brief asks for tulips.</think>{PLAIN}",
    ],
)
def test_a_sound_answer_is_read_whatever_it_is_wrapped_in(text: str) -> None:
    assert read_answer(text, SCHEMA) == SOUND


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"brief_fit": 1.01}, "brief_fit: 1.01 is greater than the maximum"),
        ({"brief_fit": -0.001}, "brief_fit: -0.001 is less than the minimum"),
        ({"brief_fit": True}, "brief_fit: True is not of type 'number'"),
        ({"brief_fit": "1.0"}, "brief_fit: '1.0' is not of type 'number'"),
        ({"brief_fit": None}, "brief_fit: None is not of type 'number'"),
        ({"brief_fit": [0.9]}, "brief_fit: [0.9] is not of type 'number'"),
        ({"keeps_rules": 1}, "keeps_rules: 1 is not of type 'boolean'"),
        ({"reason": 3}, "reason: 3 is not of type 'string'"),
        ({"verdict": "pass"}, "'verdict' was unexpected"),
        ({"composition": ...}, "'composition' is a required property"),
    ],
)
def test_an_answer_that_deviates_is_told_how(change: dict[str, object], said: str) -> None:
    values = {name: value for name, value in (SOUND | change).items() if value is not ...}
    assert said in fault(json.dumps(values))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I would give it a 1.0.",
        PLAIN[:-9],
        "```json\n" + PLAIN[:-9],
        PLAIN + "\n" + PLAIN,
        f"First {PLAIN}, on second thoughts {PLAIN}",
        f"```json\n[{PLAIN}]\n```",
        '{"brief_fit": 0.9, "more": ' + PLAIN,
        "{brief} is met: " + PLAIN,
        json.dumps(SOUND | {"brief_fit": float("nan")}),
        json.dumps(SOUND | {"brief_fit": float("inf")}),
        "[" * 100_000,
        '{"a":' * 100_000 + "}" * 100_000,
    ],
)
def test_what_is_not_clearly_one_json_is_an_error(text: str) -> None:
    assert fault(text).startswith("the answer is not JSON")


@pytest.mark.parametrize("text", ["[]", "1.0", "null", '"pass"', json.dumps([SOUND])])
def test_json_of_another_kind_is_an_error(text: str) -> None:
    assert "is not of type 'object'" in fault(text)


def test_a_long_answer_does_not_make_a_long_error() -> None:
    assert len(fault(json.dumps(SOUND | {"x" * 5000: 1}))) <= 300
