"""Waves by other lanes than Gemini's batches: the same flow, the same facts, the same cents."""

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.flows.conftest import Bench
from tests.servers import environment

from imagewave.errors import ImagewaveError

# Whole waves by each lane: minutes, so not in `make test`.
pytestmark = pytest.mark.slow

LENIENT = """
[screen]
min_blur = 0
min_brightness = 0
max_brightness = 1
max_cast = 1
duplicate_distance = 0
"""
WAVE = (
    """
[wave]
name = "garden"
lane = "{lane}"
[draft]
model = "{model}"
probe = 2
[judge]
model = "{judge}"
min_score = 0.0
min_brief_fit = 0.0
[final]
model = "{model}"
[[brief]]
id = "tulips"
text = "Red tulips in the rain"
want = 2
aspect_ratio = "16:9"
"""
    + LENIENT
)
OPENAI, GOOGLE = "gpt-image-2", "gemini-3.1-flash-lite-image"
LUNA, FLASH, HAIKU = "gpt-5.6-luna", "gemini-3.5-flash-lite", "claude-haiku-5-5"


@pytest.fixture
def both(bench: Bench) -> Iterator[Bench]:
    """The bench, with all the APIs of the same sandbox."""
    with environment(**bench.sandbox.environment()):
        yield bench


@pytest.mark.parametrize(
    ("lane", "model", "judge", "lanes"),
    [
        ("openai-batch", OPENAI, LUNA, {"openai-batch"}),
        ("openai-batch", OPENAI, FLASH, {"openai-batch", "gemini-batch"}),
        ("gemini-batch", GOOGLE, LUNA, {"gemini-batch", "openai-batch"}),
        ("gemini-batch", GOOGLE, HAIKU, {"gemini-batch", "anthropic-batch"}),
        ("openai-batch", OPENAI, HAIKU, {"openai-batch", "anthropic-batch"}),
        ("interactive", OPENAI, FLASH, {"interactive"}),
    ],
)
def test_a_wave_is_delivered_by_its_lanes_to_the_cent(
    both: Bench, lane: str, model: str, judge: str, lanes: set[str]
) -> None:
    report = both.run(WAVE.format(lane=lane, model=model, judge=judge))

    assert "<html" in Path(both.store_url, report).read_text()
    assert both.sql("SELECT final FROM funnel") == [{"final": 2}]
    assert {row["lane"] for row in both.sql("SELECT lane FROM jobs")} == lanes
    (costs,) = both.sql("SELECT sum(cost_usd) AS usd, count(*) AS n FROM costs")
    assert costs == {"usd": both.bill(), "n": len(both.billed())}
    (jobs,) = both.sql("SELECT sum(captured_usd) AS usd, sum(held_usd) AS held FROM jobs")
    assert jobs == {"usd": both.bill(), "held": 0}

    billed = both.billed()
    both.run(WAVE.format(lane=lane, model=model, judge=judge))
    assert both.billed() == billed


def test_a_judge_without_a_key_is_missed_before_drafts_are_paid_for(bench: Bench) -> None:
    with pytest.raises(ImagewaveError, match="Set ANTHROPIC_API_KEY"):
        bench.run(WAVE.format(lane="gemini-batch", model=GOOGLE, judge=HAIKU))
    assert bench.billed() == []


def test_a_lost_answer_to_a_create_is_adopted_at_openai_too(both: Bench) -> None:
    faults = {"create_dropped": 2, "list_lag": {"times": 1, "seconds": 0.2}}
    httpx.put(f"{both.sandbox.url}/sandbox/faults", json=faults).raise_for_status()

    both.run(WAVE.format(lane="openai-batch", model=OPENAI, judge=LUNA))

    assert both.sql("SELECT final FROM funnel") == [{"final": 2}]
    (costs,) = both.sql("SELECT sum(cost_usd) AS usd, count(*) AS n FROM costs")
    assert costs == {"usd": both.bill(), "n": len(both.billed())}


def waits(bench: Bench, wave: str) -> bool:
    """Whether a run that does not wait leaves jobs with the provider."""
    return not bench.run(wave, wait=False)


def test_what_claude_may_have_taken_is_waited_for_like_what_it_has(both: Bench) -> None:
    wave = WAVE.format(lane="gemini-batch", model=GOOGLE, judge=HAIKU)
    assert waits(both, wave)
    time.sleep(1)  # the drafts' job ends
    faults = {"create_dropped": 1, "job_stuck": 1}
    httpx.put(f"{both.sandbox.url}/sandbox/faults", json=faults).raise_for_status()

    # The judge's answer is lost, and its batch goes on: nobody can tell whether it is there.
    for _ in range(2):
        assert waits(both, wave)
        judges = both.sql("SELECT event, provider_job FROM jobs WHERE kind = 'judge'")
        assert judges == [{"event": "claimed", "provider_job": None}]

    jobs = httpx.get(f"{both.sandbox.url}/sandbox/jobs").json()
    (stuck,) = [job["name"] for job in jobs if not job.get("done")]
    path = stuck.replace("batches/", "sandbox/jobs/")
    httpx.post(f"{both.sandbox.url}/{path}:release").raise_for_status()
    both.run(wave)
    assert both.sql("SELECT final FROM funnel") == [{"final": 2}]
    (costs,) = both.sql("SELECT sum(cost_usd) AS usd, count(*) AS n FROM costs")
    assert costs == {"usd": both.bill(), "n": len(both.billed())}


@pytest.mark.parametrize(
    ("lane", "fault"), [("openai-batch", "job_expired"), ("interactive", "call_dropped")]
)
def test_what_a_job_lost_is_asked_again_and_nothing_else(
    both: Bench, lane: str, fault: str
) -> None:
    httpx.put(f"{both.sandbox.url}/sandbox/faults", json={fault: 1}).raise_for_status()

    both.run(WAVE.format(lane=lane, model=OPENAI, judge=LUNA))

    assert both.sql("SELECT final FROM funnel") == [{"final": 2}]
    lost = both.sql("SELECT reason, cost_usd FROM attempts WHERE status = 'missing'")
    assert len(lost) >= 1
    (costs,) = both.sql("SELECT sum(cost_usd) AS usd FROM costs")
    if fault == "job_expired":
        assert {row["reason"] for row in lost} == {"BATCH_EXPIRED"}
        assert costs["usd"] == both.bill()
    else:  # what was drawn for nobody is charged as estimated, with a finding that says so
        assert [row["reason"] for row in lost] == ["CALL_UNANSWERED"]
        assert lost[0]["cost_usd"] > 0
        assert costs["usd"] >= both.bill()
        assert both.sql("SELECT kind FROM findings WHERE kind = 'no usage'") == [
            {"kind": "no usage"}
        ]
