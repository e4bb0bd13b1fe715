"""The report: what it says of a wave, and that nothing in it can run or be fetched."""

import json
import re
from collections import Counter
from decimal import Decimal
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest
from tests.tasks.reporting.report_store import DRAFT_USD, FATES, REVISION, WAVE, BriefOf, build

from imagewave.storage.facts import facts
from imagewave.storage.facts.analytics import UnknownWave
from imagewave.storage.money.ledger import Budget, Ledger
from imagewave.storage.store import Store
from imagewave.tasks.reporting import cards
from imagewave.tasks.reporting.report import write_report

pytestmark = pytest.mark.heavy

HOSTILE = (
    '<script>window.pwned=1</script><img src=x onerror="window.pwned=1">\'"></template>'
    "</style><!--{{ 7 * 7 }}&amp;"
)


class Page(HTMLParser):
    """The parts of a report that the tests ask about."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.tags: Counter[str] = Counter()
        self.attributes: set[str] = set()
        self.cards: list[dict[str, str]] = []
        self.addresses: list[str] = []
        self.policy = ""
        self.feed(html)
        self.text = " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        values = {name: value or "" for name, value in attrs}
        self.attributes |= values.keys()
        self.addresses += [values[name] for name in ("src", "href") if name in values]
        if "card" in values.get("class", "").split():
            self.cards.append(values)
        if values.get("http-equiv") == "Content-Security-Policy":
            self.policy = values["content"]


def report(store: Store) -> Page:
    return Page(store.read(write_report(store, WAVE)).decode())


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def test_it_has_a_card_for_every_draft_and_final(store: Store) -> None:
    build(store, [BriefOf(id="tulips"), BriefOf(id="harbour")])
    page = report(store)
    verdicts = Counter(card["data-verdict"] for card in page.cards)
    assert verdicts == {
        "delivered": 2,
        "accepted": 4,
        "reserve": 2,
        "rejected": 6,
        "refused": 2,
        "failed": 2,
    }
    reasons = Counter(r for card in page.cards for r in json.loads(card["data-reasons"]))
    assert reasons == {
        "screen: blur": 2,
        "screen: duplicate": 2,
        "judge": 2,
        "IMAGE_SAFETY": 2,
        "INTERNAL": 2,
    }
    assert Counter(card["data-stage"] for card in page.cards) == {"draft": 16, "final": 2}
    assert page.cards[0]["data-verdict"] == "delivered"


def test_it_says_why_a_picture_was_rejected(store: Store) -> None:
    build(store, [BriefOf(id="tulips", message="Two suns in the sky.")])
    text = report(store).text
    assert "blur 3.25 25" in text
    assert "like another draft" in text
    assert "fits the brief 0.30" in text
    assert "Two suns in the sky." in text
    assert "IMAGE_SAFETY Two suns in the sky." in text


def test_of_each_score_more_is_better(store: Store) -> None:
    build(store, [BriefOf(id="tulips")])
    text = report(store).text
    assert "Judge 0 to 1, higher is better" in text
    assert "free of defects 0.95" in text
    assert not re.search(r"(?<!free of )defects \d", text)


def test_pictures_come_before_funnel_and_bill(store: Store) -> None:
    build(store, [BriefOf(id="tulips")])
    html = report(store).html
    last_card = html.rindex('class="card ')
    for folded in ("funnel", "briefs", "jobs", "findings", "about"):
        assert html.index(f'<div id="{folded}"') > last_card
    assert "<details open" not in html


def test_what_a_screen_would_obey_is_written_out(store: Store) -> None:
    words = "left \u202eright\u202c \x1b[31mred\x07"
    build(store, [BriefOf(id="calm", text=words, message=words)], finding="k\u2066e\u2069y")
    page = report(store)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", page.html)
    assert r"left \u202eright\u202c \x1b[31mred\x07" in page.text
    assert r"k\u2066e\u2069y" in page.text


def test_the_bill_is_the_sum_of_what_was_metered(store: Store) -> None:
    build(store, [BriefOf(id="tulips")])
    Ledger(store).hold("next-job", WAVE, Decimal("0.5"), Budget())
    text = report(store).text
    drafts = sum(fate not in ("refused", "failed") for fate in FATES)
    total = drafts * DRAFT_USD + Decimal("0.0252")
    assert f"Metered, all revisions of this wave ${total}" in text
    assert f"Captured in the ledger ${total}" in text
    assert "Held for jobs in flight $0.5000" in text
    assert f"${total / 2:.4f} per accepted image" in text


def test_the_funnel_counts_down(store: Store) -> None:
    build(store, [BriefOf(id="tulips")])
    assert (
        "requested 8 generated 6 75% passed screens 4 67% judged good 3 75% accepted 2 67%"
        " final 1 50%" in report(store).text
    )


def test_each_brief_says_where_it_stands(store: Store) -> None:
    build(
        store,
        [
            BriefOf(id="done", fates=("final", "blur")),
            BriefOf(id="short", fates=("blur", "judge")),
            BriefOf(id="waiting", fates=("blur", "pending")),
            BriefOf(id="untouched", fates=()),
        ],
    )
    text = report(store).text
    assert "done after 1 round" in text
    assert "short: 0 of 1 accepted from 2 drafts in 1 round; change the prompt" in text
    assert "waiting for 1 drafts" in text
    assert "nothing asked for yet" in text


def test_findings_and_jobs_are_listed(store: Store) -> None:
    build(store, [BriefOf(id="tulips")], finding="line 7 came twice")
    text = report(store).text
    assert "line 7 came twice" in text
    assert "settled: succeeded" in text
    assert "batches/final" in text


def test_a_prompt_without_an_answer_is_listed(store: Store) -> None:
    build(store, [BriefOf(id="tulips")])
    request = {
        "wave": WAVE,
        "revision": REVISION,
        "brief": "tulips",
        "prompt_id": "",
        "request_id": "e1",
        "kind": "expand",
        "round": 1,
        "model": "gemini-3.5-flash-lite",
        "sample": 0,
        "seed": None,
        "aspect_ratio": None,
        "size": None,
        "reference": "",
        "about": "",
        "estimate_usd": Decimal("0.001"),
        "reused": False,
        "request": "{}",
    }
    result = {
        "request_id": "e1",
        "job_id": "j1",
        "wave": WAVE,
        "kind": "expand",
        "model": "gemini-3.5-flash-lite",
        "attempt": 1,
        "status": "refused",
        "failure": "refused",
        "reason": "BLOCKLIST",
        "message": "This word is not allowed.",
        "image": "",
        "format": "",
        "text": "",
        "prompt_tokens": 1,
        "image_tokens": 0,
        "text_tokens": 0,
        "thought_tokens": 0,
        "reference_tokens": 0,
        "cost_usd": Decimal(0),
    }
    assert "without an answer" not in report(store).text
    facts.append(store, "requests", "expand", [request])
    facts.append(store, "results", "expand", [result])
    assert "refused BLOCKLIST This word is not allowed." in report(store).text


def test_words_from_outside_stay_words(store: Store) -> None:
    build(store, [BriefOf(id="calm")])
    calm = report(store)
    hostile = Store.open(f"{store.url}-hostile")
    build(
        hostile,
        [BriefOf(id="calm", text=HOSTILE, prompt=HOSTILE, message=HOSTILE)],
        finding=HOSTILE,
    )
    page = report(hostile)
    assert page.tags == calm.tags
    assert page.attributes == calm.attributes
    assert not {name for name in page.attributes if name.startswith("on")}
    assert page.tags["script"] == 1
    assert "<script>window.pwned" not in page.html
    assert page.html.count("{{ 7 * 7 }}") >= 3


def test_it_needs_nothing_from_outside(store: Store) -> None:
    build(store, [BriefOf(id="tulips")])
    page = report(store)
    assert page.policy.startswith("default-src 'none'; img-src data: 'self';")
    assert "script-src 'sha256-" in page.policy
    assert "'unsafe-inline'" not in page.policy.partition("script-src")[2]
    outside = [a for a in page.addresses if not a.startswith(("data:image/jpeg;base64,", "#"))]
    # Links to the originals, for those who open the report where the store is.
    assert outside
    assert all(a.startswith(("../images/", f"../assets/{WAVE}/")) for a in outside)


def test_a_picture_that_is_gone_or_broken_costs_its_thumbnail_only(store: Store) -> None:
    build(store, [BriefOf(id="tulips", fates=("accepted", "accepted", "accepted"))])
    gone, broken, whole = store.list("images")
    store.delete(gone)
    store.write(broken, store.read(broken)[:200])
    page = report(store)
    assert len(page.cards) == 3
    assert sum(a.startswith("data:image/") for a in page.addresses) == 1
    assert f"../{whole}" in page.addresses


def test_a_big_wave_is_sampled_and_says_so(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cards, "MAX_CARDS", 12)
    monkeypatch.setattr(cards, "MAX_THUMBNAILS", 5)
    fates = ("final", *["blur"] * 9, "judge", "refused")
    build(store, [BriefOf(id="one", fates=fates), BriefOf(id="two", fates=fates)], pictures_made=4)
    page = report(store)
    assert len(page.cards) == 12
    verdicts = Counter((card["data-brief"], card["data-verdict"]) for card in page.cards)
    for brief in ("one", "two"):
        assert verdicts[brief, "delivered"] == verdicts[brief, "accepted"] == 1
        assert verdicts[brief, "refused"] == 1
    reasons = {reason for card in page.cards for reason in json.loads(card["data-reasons"])}
    assert reasons == {"screen: blur", "judge", "IMAGE_SAFETY"}
    assert "14 more requests are not on this sheet" in page.text
    assert "5 of the cards have no thumbnail" in page.text
    assert sum(a.startswith("data:image/") for a in page.addresses) == 5


def test_a_draft_that_is_the_final_stands_for_both_stages(store: Store) -> None:
    build(store, [BriefOf(id="tulips", fates=("accepted",))])
    accepted = report(store).cards[0]
    assert accepted["data-stage"] == "draft"
    decision = facts.read(store, "decisions", "p")
    assert decision is not None
    row = {name: value for name, value in decision[0].items() if name != "recorded_at"}
    facts.append(store, "decisions", "final", [row | {"tier": "final"}])
    assert report(store).cards[0]["data-stage"] == "draft final"


def test_it_is_written_again_over_itself(store: Store) -> None:
    build(store, [BriefOf(id="tulips")])
    assert write_report(store, WAVE) == write_report(store, WAVE) == f"reports/{WAVE}.html"
    assert store.list("reports") == [f"reports/{WAVE}.html"]


def test_an_unknown_wave_names_those_there_are(store: Store) -> None:
    with pytest.raises(UnknownWave, match="run a wave first"):
        write_report(store, WAVE)
    build(store, [BriefOf(id="tulips")])
    with pytest.raises(UnknownWave, match=f"no wave 'autumn'.*{WAVE}"):
        write_report(store, "autumn")
    assert store.list("reports") == []


def test_a_brief_that_was_given_up_says_on_what_evidence(store: Store) -> None:
    build(store, [BriefOf(id="hopeless", fates=("blur", "judge"))])
    stop = {
        "wave": WAVE,
        "revision": REVISION,
        "brief": "hopeless",
        "round": 2,
        "drafts": 0,
        "reason": "low acceptance",
        "want": 1,
        "accepted": 0,
        "tried": 2,
        "cap": 4,
        "rate": 0.03,
        "rate_low": 0.01,
        "rate_high": 0.12,
        "chance": 0.04,
        "prior": "",
        "detail": "change the prompt",
    }
    facts.append(store, "steps", "stop", [stop])
    assert (
        "short: 0 of 1 accepted from 2 drafts in 1 round, given up: between 1% and 12% are"
        " accepted, a chance of 4% of enough; change the prompt"
    ) in report(store).text


def test_it_shows_the_rates_by_template_model_and_use_case(store: Store) -> None:
    build(store, [BriefOf(id="tulips"), BriefOf(id="harbour")])
    text = report(store).text
    # final, accepted and reserve of the eight fates passed; refused and failed ones have a decision
    # or none, as the store has it.
    assert re.search(r"Acceptance Of By Name Tried Passed Rate Chosen Regenerated", text)
    [drafts] = re.findall(
        r"drafts model gemini-3\.1-flash-lite-image (\d+) (\d+) (\d+)% (\d+)", text
    )
    tried, passed, rate, chosen = map(int, drafts)
    assert (passed, chosen) == (6, 4)
    assert rate == round(100 * passed / tried)
