"""What was billed and is not delivered: looked for again; then lost, but charged."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.chaos.bench import SETTINGS, assert_no_fact_twice, check_exactly_once
from tests.chaos.rounds import LANES, Bench, settling

from imagewave.flows.settle import Waiting
from imagewave.sandbox.embedded import EmbeddedSandbox
from imagewave.storage.jobs import events as job_events
from imagewave.storage.money.ledger import Ledger
from imagewave.storage.requests import Kind
from imagewave.tasks.rerun import again, order

pytestmark = pytest.mark.slow

PLAIN = ("a red tulip", "a green bench", "a blue boat", "a white house")
FOR_HOURS = "missing_hours = 2"
UNDELIVERED = ("RESULTS_GONE", "NOT_DELIVERED")
# Several rounds ask for the same here, and what was lost is found.
REPEATED = ("requests", "results")


@pytest.fixture(scope="module")
def shared_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedSandbox]:
    with EmbeddedSandbox(tmp_path_factory.mktemp("sandbox"), settings=SETTINGS) as sandbox:
        yield sandbox


@pytest.fixture
def bench(
    shared_sandbox: EmbeddedSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    with settling(shared_sandbox, tmp_path, monkeypatch) as bench:
        yield bench


def charged(bench: Bench) -> Decimal:
    return Ledger(bench.store).state().captured["faults"]


PASSING: dict[str, dict[str, Any]] = {
    "the result file answers 404 a few times": {"download_404": 3},
    "the job names no results a few times": {"output_unnamed": 3},
    "the answer ends early, its length untold": {"download_short": {"times": 1, "fraction": 0.4}},
    "the file lacks its last lines at first": {"download_lacks": {"times": 2, "lines": 3}},
    "the file lacks all lines at first": {"download_lacks": {"times": 1, "lines": 4}},
    "job and list do not know it at first": {"get_404": 2, "list_lag": {"seconds": 1.0}},
}


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("fault", PASSING)
def test_what_comes_after_all_is_neither_lost_nor_asked_for_again(
    fault: str, lane: str, bench: Bench
) -> None:
    bench.arm(**PASSING[fault])

    with bench.run(wait=FOR_HOURS, **LANES[lane]) as run:
        bench.settle_in(run, bench.asks(PLAIN, run.wave.draft.model))

    assert check_exactly_once(bench.store, bench.billed()) == 1.0
    assert bench.statuses() == {"image": 4}
    assert len(bench.sql("SELECT job_id FROM jobs")) == 1
    assert bench.findings() == {}


@pytest.mark.parametrize("fault", PASSING)
def test_a_run_that_does_not_wait_leaves_it_to_the_next(fault: str, bench: Bench) -> None:
    bench.arm(**PASSING[fault])
    for _ in range(12):
        try:
            bench.settle(*PLAIN, patient=False, wait=FOR_HOURS)
        except Waiting:
            continue
        break

    assert check_exactly_once(bench.store, bench.billed()) == 1.0
    assert bench.statuses() == {"image": 4}


def test_lines_that_never_come_are_charged_and_not_asked_for_again(bench: Bench) -> None:
    bench.arm(result_lacks={"lines": 2})

    bench.settle(*PLAIN)

    assert bench.statuses() == {"image": 2, "missing NOT_DELIVERED": 2}
    assert bench.findings() == {"not delivered": 2, "no usage": 2}
    assert len(bench.provider_jobs()) == 1
    assert abs(charged(bench) - bench.usd()) < bench.usd() / 100
    assert_no_fact_twice(bench.store)


def test_of_a_partial_job_that_lacks_lines_each_is_paid_for_once(bench: Bench) -> None:
    """Two of four were answered, and one of the two is not delivered."""
    bench.arm(job_partial=1, result_lacks={"lines": 1})

    bench.settle(*PLAIN)

    statuses = bench.statuses()
    assert statuses == {"image": 3, "missing NOT_DELIVERED": 1, "missing MISSING_KEY": 2}
    assert len(bench.billed()) == 4
    assert abs(charged(bench) - bench.usd()) < bench.usd() / 100


EXPIRED: dict[str, dict[str, Any]] = {
    "its file lacks an answer": {"result_lacks": {"lines": 1}},
    "it names no files": {"output_unnamed": 99},
}


@pytest.mark.parametrize("loss", EXPIRED)
def test_of_an_expired_job_what_it_has_answered_is_paid_for_once(loss: str, bench: Bench) -> None:
    """OpenAI's keep the half that they have finished, and bill it; the rest has lines, too."""
    bench.arm(job_expired=1, **EXPIRED[loss])

    with bench.run(**LANES["openai-batch"]) as run:
        bench.settle_in(run, bench.asks(PLAIN, run.wave.draft.model))
        lost = sum(n for what, n in bench.statuses().items() if what.endswith(UNDELIVERED))
        # The next attempt's job names none, either.
        assert lost == (4 if "output_unnamed" in EXPIRED[loss] else 1)

    assert len(bench.billed()) == 4
    # What is lost is charged as estimated, which is a little off.
    assert abs(charged(bench) - bench.usd()) < bench.usd() / 50


def test_what_an_expired_job_names_late_is_not_asked_for_again(bench: Bench) -> None:
    bench.arm(job_expired=1, output_unnamed=3)

    with bench.run(wait=FOR_HOURS, **LANES["openai-batch"]) as run:
        bench.settle_in(run, bench.asks(PLAIN, run.wave.draft.model))

    assert bench.statuses() == {"image": 4, "missing BATCH_EXPIRED": 2}
    assert len(bench.billed()) == 4


LOSSES: dict[str, dict[str, Any]] = {
    "the result file answers 404": {"download_404": 99},
    "the job names no results": {"output_unnamed": 99},
    "the file lacks two lines": {"download_lacks": {"times": 99, "lines": 2}},
}


@pytest.mark.parametrize("loss", LOSSES)
def test_what_was_held_for_lost_is_looked_for_before_it_is_paid_for_again(
    loss: str, bench: Bench
) -> None:
    bench.arm(**LOSSES[loss])
    with bench.run() as run:
        bench.settle_in(run, bench.asks(PLAIN))
        lost = bench.statuses()["missing RESULTS_GONE"] + bench.statuses()["missing NOT_DELIVERED"]
        assert lost >= 2
        before = bench.settle_in(run, bench.asks(PLAIN))
        bench.control("faults", method="DELETE")

        found = bench.settle_in(run, bench.asks(PLAIN), number=2)
        again = bench.settle_in(run, bench.asks(PLAIN), number=3)
        # What was decided without them is not decided anew.
        assert bench.settle_in(run, bench.asks(PLAIN)) == before

    assert {answer.status for answer in found.answers.values()} == {"image"}
    assert again == found
    assert bench.statuses() == {"image": 4}
    assert bench.findings()["found late"] == lost
    assert len(bench.provider_jobs()) == 1
    assert check_exactly_once(bench.store, bench.billed(), but=REPEATED) == 1.0
    (job,) = bench.sql("SELECT event, captured_usd FROM jobs")
    assert job == {"event": "settled", "captured_usd": bench.usd()}


def test_what_stays_lost_is_paid_for_again_only_by_who_asks_for_it(bench: Bench) -> None:
    bench.arm(result_gone=1)
    with bench.run() as run:
        bench.settle_in(run, bench.asks(PLAIN))
        bench.settle_in(run, bench.asks(PLAIN))
        assert len(bench.provider_jobs()) == 1

        found = bench.settle_in(run, bench.asks(PLAIN), number=2)

    assert {answer.status for answer in found.answers.values()} == {"image"}
    assert len(bench.provider_jobs()) == 2


def test_a_rerun_looks_for_what_was_lost_before_it_pays(bench: Bench) -> None:
    bench.arm(download_404=99)
    with bench.run() as run:
        bench.settle_in(run, bench.asks(PLAIN))
        bench.control("faults", method="DELETE")

        ordered = order(run.store, run.wave)
        assert ordered is not None
        asks = again(run.store, run.wave, ordered, Kind.DRAFT)
        found = bench.settle_in(run, asks, number=2)

    assert len(asks) == 4
    assert {answer.status for answer in found.answers.values()} == {"image"}
    assert len(bench.provider_jobs()) == 1


def test_a_find_is_entered_once_though_it_was_interrupted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.arm(download_404=99)
    with bench.run() as run:
        bench.settle_in(run, bench.asks(PLAIN))
        bench.control("faults", method="DELETE")
        with monkeypatch.context() as patched:
            # Killed when the books know of the find, and the facts do not.
            patched.setattr(job_events, "found", _interrupt)
            with pytest.raises(KeyboardInterrupt):
                bench.settle_in(run, bench.asks(PLAIN), number=2)
        bench.arm(download_404=99)  # and gone again

        found = bench.settle_in(run, bench.asks(PLAIN), number=3)

    assert {answer.status for answer in found.answers.values()} == {"image"}
    assert len(bench.provider_jobs()) == 1
    assert check_exactly_once(bench.store, bench.billed(), but=REPEATED) == 1.0


def _interrupt(*arguments: object) -> None:
    raise KeyboardInterrupt
