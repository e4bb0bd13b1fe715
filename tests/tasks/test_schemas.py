"""Answers of text models against their schemas: sound, or a sentence that says what is wrong."""

import json

import pytest

from imagewave.tasks.judge import schema
from imagewave.tasks.schemas import schema_error

SCHEMA = schema(("brief_fit", "composition"), rules=True)
SOUND = {"brief_fit": 0.8, "composition": 1, "keeps_rules": True, "reason": "Fine."}


def test_a_sound_answer_has_no_error() -> None:
    assert schema_error(json.dumps(SOUND), SCHEMA) == ""


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
    assert said in schema_error(json.dumps(values), SCHEMA)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I would give it a 1.0.",
        json.dumps(SOUND)[:-9],
        json.dumps(SOUND) + " And that is final.",
        "```json\n" + json.dumps(SOUND) + "\n```",
        json.dumps(SOUND | {"brief_fit": float("nan")}),
        json.dumps(SOUND | {"brief_fit": float("inf")}),
        "[" * 100_000,
    ],
)
def test_what_is_not_strictly_json_is_an_error(text: str) -> None:
    assert schema_error(text, SCHEMA).startswith("the answer is not JSON")


@pytest.mark.parametrize("text", ["[]", "1.0", "null", '"pass"', json.dumps([SOUND])])
def test_json_of_another_kind_is_an_error(text: str) -> None:
    assert "is not of type 'object'" in schema_error(text, SCHEMA)


def test_a_long_answer_does_not_make_a_long_error() -> None:
    assert len(schema_error(json.dumps(SOUND | {"x" * 5000: 1}), SCHEMA)) <= 300
