"""Briefs that got fewer pictures than they want: told at the end of a run, and by `status`."""

import json
from pathlib import Path

import pytest
from tests.storage.builders import REVISION, WAVE, put, request_id, small_wave, usd

from imagewave.cli.status import status
from imagewave.cli.terminal.display import print_summary, summary
from imagewave.storage.facts import facts
from imagewave.storage.realms import NO_REAL_MONEY, Realm
from imagewave.storage.rounds.reruns import assets_part
from imagewave.storage.store import Store
from imagewave.tasks.reporting.standing import paid

pytestmark = pytest.mark.heavy

HERE = {"wave": WAVE, "revision": REVISION}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """The small wave, and a brief whose only final was refused, and its spare draft blurred."""
    opened = Store.open(str(tmp_path / "store"))
    small_wave(opened)
    brief = {"brief": "quay", "text": "A quay", "want": 2, "aspect_ratio": "1:1"}
    put(opened, "briefs", "run-2", HERE | brief)
    _ask(opened, "q1", "final", status="refused", failure="refused", reason="IMAGE_SAFETY")
    _ask(opened, "q2", "draft", status="image", image="a" * 64)
    rejected = HERE | {"brief": "quay", "round": 1, "decision": "rejected", "rank": 0}
    put(
        opened,
        "decisions",
        "quay",
        rejected | {"request_id": request_id("q2"), "tier": "draft", "reason": "screens: blur"},
        rejected
        | {"request_id": request_id("q1"), "tier": "final", "reason": "refused: IMAGE_SAFETY"},
    )
    return opened


def _ask(store: Store, name: str, kind: str, **answer: object) -> None:
    """A request for the brief "quay", estimated at $0.03, and what came back."""
    asked = {"brief": "quay", "request_id": request_id(name), "kind": kind, "round": 1}
    put(store, "requests", name, HERE | asked | {"estimate_usd": usd("0.03"), "reused": False})
    common = {"request_id": request_id(name), "job_id": f"job-{name}", "wave": WAVE, "kind": kind}
    put(store, "results", name, common | {"attempt": 1, "cost_usd": usd("0")} | answer)


def _deliver(store: Store) -> None:
    facts.append(store, "assets", assets_part(WAVE, REVISION, 0), [])


def test_a_delivered_wave_says_which_briefs_are_short(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    _deliver(store)

    print_summary(store, summary(store, WAVE, before=paid(store, WAVE)))

    said = capsys.readouterr().out
    assert "short: quay 0 of 2 — last reason: final refused: IMAGE_SAFETY\n" in said
    refused, rejected = (
        f"`imagewave rerun {WAVE} --{fate} --store {store.url}` (1 request, about $0.0300,"
        for fate in ("refused", "rejected")
    )
    assert "To get them, change the prompts" in said
    assert f"send what was refused again as it is by {refused}" in said
    assert f"draw what was rejected once more by {rejected}" in said
    assert "more drafts" not in said, "none passed"
    assert said.count("short:") == 1


@pytest.mark.parametrize(
    ("stopped", "reason", "advice"),
    [
        ("refused", "failed: HTTP_404", "try `imagewave rerun"),
        ("low acceptance", "judge: no tulips", "To get them, change the prompts"),
        ("cap", "screens: size", "To get them, change the prompts"),
        ("cap", "like another, which ranks higher", "To get them, ask for more drafts"),
    ],
)
def test_the_advice_goes_by_what_happened(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], stopped: str, reason: str, advice: str
) -> None:
    opened = Store.open(str(tmp_path / "store"))
    put(opened, "waves", "run-1", HERE | {"file": "w.toml", "spec": "{}", "realm": "sandbox"})
    brief = {"brief": "quay", "want": 2}
    put(opened, "briefs", "run-1", HERE | brief | {"text": "A quay", "aspect_ratio": "1:1"})
    step = {"round": 2, "drafts": 0, "reason": stopped, "accepted": 0, "tried": 8, "cap": 8}
    put(opened, "steps", "run-1", HERE | brief | step)
    tried = {"request_id": request_id("q1"), "tier": "draft", "round": 1, "rank": 0}
    put(
        opened,
        "decisions",
        "run-1",
        HERE | {"brief": "quay", "decision": "rejected", "reason": reason} | tried,
    )
    if reason.startswith("failed"):
        _ask(opened, "q1", "draft", status="failed", failure="invalid", reason="HTTP_404")
    _deliver(opened)

    found = summary(opened, WAVE, before=paid(opened, WAVE))
    print_summary(opened, found)
    assert found["funnel"]["final"] == 0

    said = capsys.readouterr().out
    assert advice in said
    assert "--refused" not in said


def test_a_wave_that_still_runs_lacks_nothing_yet(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    print_summary(store, summary(store, WAVE, before=paid(store, WAVE)))

    assert "short:" not in capsys.readouterr().out


def test_only_the_first_ten_short_briefs_are_listed(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    _deliver(store)
    brief = {"text": "A quay", "want": 1, "aspect_ratio": "1:1"}
    put(store, "briefs", "run-3", *(HERE | brief | {"brief": f"more-{n:02}"} for n in range(12)))

    print_summary(store, summary(store, WAVE, before=paid(store, WAVE)))

    said = capsys.readouterr().out
    assert said.count("short:") == 10
    assert "… and 3 more" in said


def test_status_counts_finals_and_stopped_drafts(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    step = {"brief": "quay", "round": 2, "drafts": 0, "reason": "cap", "detail": "8 drafts"}
    put(store, "steps", "quay", HERE | step | {"want": 2, "accepted": 1, "tried": 8, "cap": 8})

    status(store=store.url, as_json=True)
    before = json.loads(capsys.readouterr().out)["briefs_short"]
    _deliver(store)
    status(store=store.url, as_json=True)
    after = json.loads(capsys.readouterr().out)["briefs_short"]

    assert [row["brief"] for row in before] == ["quay"]
    assert after[0]["reason"] == "final refused: IMAGE_SAFETY; no more drafts: cap"
    assert (after[0]["final"], after[0]["want"]) == (0, 2)


def test_the_advice_is_for_short_briefs_alone(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """The small wave has a refused draft of tulips, which have all that they want."""
    _ask(store, "q3", "draft", status="refused", failure="refused", reason="SAFETY")
    _deliver(store)

    print_summary(store, summary(store, WAVE, before=paid(store, WAVE)))

    assert "--refused --store" in (said := capsys.readouterr().out)
    assert "(2 requests, about $0.0600, judging and finals extra)" in said


@pytest.mark.parametrize("realm", Realm)
def test_sums_of_the_sandbox_say_that_no_money_is_real(
    store: Store, capsys: pytest.CaptureFixture[str], realm: Realm
) -> None:
    store.mark_realm(realm)
    note = f"({NO_REAL_MONEY})" if realm is Realm.SANDBOX else ""
    _ask(store, "q3", "draft", status="refused", failure="refused", reason="SAFETY")
    _deliver(store)

    print_summary(store, summary(store, WAVE, before=paid(store, WAVE)))
    said = capsys.readouterr().out.splitlines()
    status(store=store.url)
    said += capsys.readouterr().out.splitlines()

    for sum in ("The bill", "Cost per accepted image: $", "Waves"):
        (line,) = [line for line in said if line.startswith(sum)]
        assert line.rstrip().endswith(note)
    (advice,) = [line for line in said if "$0.0600" in line]
    assert (f"; {NO_REAL_MONEY})" in advice) is (realm is Realm.SANDBOX)
    if realm is Realm.LIVE:
        assert not [line for line in said if NO_REAL_MONEY in line]
