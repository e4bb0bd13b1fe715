"""What a model has refused is not sent again, in any revision or wave, until its words change."""

from decimal import Decimal

import pytest
from tests.flows.conftest import Bench
from tests.flows.test_wave import LENIENT

from imagewave.storage.store import Store
from imagewave.storage.waves.wave_file import load_wave
from imagewave.tasks.planning.plan import plan_wave

pytestmark = pytest.mark.slow

ONCE = "[draft]\nprobe = 1\nmax_rounds = 1\nmax_oversample = 1\n"


def wave(text: str, *, name: str = "street", want: int = 1, more: str = "") -> str:
    briefs = f'[[brief]]\nid = "crowd"\ntext = "A crowd {text}"\nwant = {want}\n'
    return f'[wave]\nname = "{name}"\n{LENIENT}[final]\nsize = "1K"\n{more}{briefs}'


REFUSED = {
    "draft": ("[[sandbox:block_safety@plain]]", ""),
    # Another draw of a picture may pass its filter, so this one is tried twice within a round.
    "draft by its picture": ("[[sandbox:finish_image_safety@plain]]", ""),
    "final": ("[[sandbox:block_safety@reference]]", ""),
    "judge": ("[[sandbox:block_safety@text]]", ""),
    "expand": ("[[sandbox:block_safety@text]]", '[expand]\nmode = "model"\ncount = 1\n'),
}


@pytest.mark.parametrize(("text", "more"), REFUSED.values(), ids=REFUSED)
def test_what_was_refused_is_not_sent_again(bench: Bench, text: str, more: str) -> None:
    bench.run(wave(text, more=more))
    asked = _refused_lines(bench)
    assert asked

    bench.run(wave(text, more=more, name="other-street"))

    assert _refused_lines(bench) == asked, "words that were refused were sent again"


@pytest.mark.parametrize("stage", ["draft", "draft by its picture", "expand"])
def test_wanting_more_pictures_does_not_send_it_again(bench: Bench, stage: str) -> None:
    text, more = REFUSED[stage]
    # A judge would turn down further pictures of the brief whose expansion was refused.
    unjudged = wave(text, more=more).replace("[judge]", "[judge]\nenabled = false")
    bench.run(unjudged)
    asked = _refused_lines(bench)
    assert asked

    bench.run(unjudged.replace("want = 1", "want = 2"))

    assert _refused_lines(bench) == asked, "words that were refused were sent again"


def test_another_draft_may_have_its_final(bench: Bench) -> None:
    """What a final shows is a part of its words: a further draft is another question."""
    text = "[[sandbox:block_safety@reference]]"
    bench.run(wave(text))
    bench.run(wave(text, want=2))

    lines = [line["key"] for line in bench.billed() if line["outcome"] == "refused"]
    assert len(lines) == len(set(lines))
    (finals,) = bench.sql(
        "SELECT count(DISTINCT reference) AS n FROM requests WHERE kind = 'final'"
    )
    assert finals["n"] == len(lines)


def _refused_lines(bench: Bench) -> int:
    return sum(line["outcome"] == "refused" for line in bench.billed())


def test_the_facts_say_what_became_of_the_brief(bench: Bench) -> None:
    text = "[[sandbox:block_safety@plain]]"
    bench.run(wave(text))
    billed = bench.bill()

    # Its requests are others, in the same words.
    bench.run(wave(text, name="other", want=3).replace("[wave]", '[wave]\ncache = "refresh"'))

    (stop,) = bench.sql("SELECT reason, detail, tried FROM stops WHERE wave = 'other'")
    assert (stop["reason"], stop["tried"]) == ("refused", 1)
    assert stop["detail"] == "every prompt was turned down (PROMPT_SAFETY ×1): change the brief"
    (known,) = bench.sql(
        "SELECT status, reason, message, cost_usd, attempt FROM results"
        " JOIN requests USING (request_id) WHERE requests.wave = 'other'"
    )
    assert (known["status"], known["reason"], known["attempt"]) == ("refused", "PROMPT_SAFETY", 0)
    assert "turned down in the same words as request" in known["message"]
    (refusal,) = bench.sql("SELECT prompt, times, reason FROM refusals")
    assert refusal == {"prompt": f"A crowd {text}", "times": 1, "reason": "PROMPT_SAFETY"}
    assert bench.sql("SELECT sum(cost_usd) AS usd FROM costs") == [{"usd": billed}]


def test_changed_words_are_asked_for(bench: Bench) -> None:
    bench.run(wave("[[sandbox:block_safety@plain]]"))

    bench.run(wave("at a concert"))

    assert bench.sql("SELECT final FROM funnel") == [{"final": 1}]


def test_a_brief_goes_on_with_the_prompts_that_were_not_refused(bench: Bench) -> None:
    templates = '[expand]\ntemplates = ["{text}", "{text} [[sandbox:block_safety@plain]]"]\n'
    bench.run(wave("in spring", more=templates, want=2))
    asked = _refused_lines(bench)
    assert asked

    bench.run(wave("in spring", more=templates, want=4))

    assert _refused_lines(bench) == asked
    assert bench.sql("SELECT final FROM funnel") == [{"final": 4}]


def test_a_person_may_send_it_again_by_name(bench: Bench) -> None:
    # Refused for two asks, then drawn.
    text = "[[sandbox:block_safety@plain x1]]"
    bench.run(wave(text))
    bench.run(wave(text, name="other"))
    before = len(bench.billed())

    bench.run(wave(text, name="other"), rerun="")
    assert len(bench.billed()) == before, "by default, nothing that was refused"
    bench.run(wave(text, name="other"), rerun="status IN ('refused')")

    assert len(bench.billed()) > before
    assert bench.sql("SELECT final FROM funnel WHERE wave = 'other'") == [{"final": 1}]
    assert bench.sql("SELECT * FROM refusals") == [], "it was answered since"


def test_a_plan_says_what_will_not_be_asked_for(bench: Bench) -> None:
    text = "[[sandbox:block_safety@plain]]"
    calm = '[[brief]]\nid = "calm"\ntext = "An empty street"\n'
    bench.run(wave(text))
    path = bench.write(wave(text, name="other", want=2) + calm)

    planned = plan_wave(Store.open(bench.store_url), load_wave(path))

    assert planned.refused == {"crowd": "PROMPT_SAFETY"}
    head = wave(text, name="other").partition("[[brief]]")[0]
    alone = plan_wave(Store.open(bench.store_url), load_wave(bench.write(head + calm)))
    assert planned.usd.high == alone.usd.high
    assert (planned.briefs, planned.wanted) == (2, 3)
    assert planned.delivered.high == 1
    nothing = plan_wave(Store.open(bench.store_url), load_wave(bench.write(wave(text, want=3))))
    assert (nothing.usd.high, nothing.delivered.high) == (Decimal(0), 0)
