"""A second provider job that a late list has led to: `watch` finds it, whosever wave it is."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.chaos.bench import SETTINGS, check_exactly_once, wait_until
from tests.chaos.rounds import LANES, Bench, settling

from imagewave.errors import ImagewaveError
from imagewave.flows.settle import harvest
from imagewave.providers.protocol import Lane, Unavailable
from imagewave.providers.registry import open_lane
from imagewave.sandbox.embedded import EmbeddedSandbox
from imagewave.storage.money.ledger import Ledger
from imagewave.storage.store import Store
from imagewave.storage.waves.handover import Handover, hand_over
from imagewave.tasks.jobs.handed_over import Survey, survey, take_in
from imagewave.tasks.screening.pool import Pool

pytestmark = pytest.mark.heavy

TEXTS = ("a red tulip", "a green bench")
SHORT = "list_lag_seconds = 0.2"


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


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(max_pixels=50_000_000) as pool:
        yield pool


def pay_twice(bench: Bench, lane: str = "gemini-batch") -> None:
    """A wave that has ended, of whose only job the provider has a second one, which has ended."""
    bench.arm(create_dropped=1, list_lag={"seconds": 1.5})
    with bench.run(wait=SHORT, **LANES[lane]) as run:
        bench.settle_in(run, bench.asks(TEXTS, run.wave.draft.model))
        assert len(names(bench, run.lane)) == 2


def names(bench: Bench, lane: Lane) -> set[str]:
    """The bench's jobs at the lane's provider, when all are listed and have ended there."""
    mine = {row["job_id"][:12] for row in bench.sql("SELECT job_id FROM jobs")}

    def listed() -> set[str]:
        return {name for name, token in lane.listed() if any(job in token for job in mine)}

    wait_until(lambda: len(listed()) == 2, "the list")
    wait_until(lambda: all(lane.poll(name).state.done for name in listed()), "their ends")
    return listed()


def look(bench: Bench, opened: Callable[[str], Lane] | None = None) -> Survey:
    return survey(bench.store, opened or partial(open_lane, store=bench.store))


@pytest.mark.parametrize("lane", LANES)
def test_a_look_finds_it_and_takes_it_in_where_nobody_goes_on_with_the_wave(
    lane: str, bench: Bench, pool: Pool
) -> None:
    pay_twice(bench, lane)

    found = look(bench)
    assert [left.wave for left in found.leftovers] == ["faults"]
    assert (found.due, found.trouble) == ((), ())
    assert len(Ledger(bench.store).open_holds()) == 1  # billed, so held
    assert take_in(bench.store, found.leftovers, pool) == []

    assert bench.statuses() == {"image": 4}
    assert bench.findings() == {"second job": 1}
    assert Ledger(bench.store).open_holds() == []
    assert check_exactly_once(bench.store, bench.billed()) == 1.0
    again = look(bench)
    assert (again.leftovers, again.open_jobs) == ((), 0)
    assert bench.findings() == {"second job": 1}


def test_a_look_sends_on_the_wave_that_is_left_to_it(bench: Bench) -> None:
    pay_twice(bench)
    hand_over(bench.store, Handover(wave="faults", wave_file=str(bench.folder / "wave.toml")))

    found = look(bench)

    assert found.leftovers == ()
    (due,) = found.due
    assert due.reasons == ("1 job ended at the provider",)
    with bench.run() as run:
        assert harvest(run) == []
    assert bench.statuses() == {"image": 4}
    assert check_exactly_once(bench.store, bench.billed()) == 1.0


class But:
    """A lane that answers as it should, but for some verbs."""

    def __init__(self, lane: Lane, **instead: Callable[..., Any]) -> None:
        self._lane = lane
        self._instead = instead

    def __getattr__(self, name: str) -> Any:
        return self._instead.get(name) or getattr(self._lane, name)


def test_one_that_cannot_be_looked_at_keeps_no_other_from_being_found(bench: Bench) -> None:
    pay_twice(bench)
    pay_twice_more(bench)
    usual = open_lane("gemini-batch", bench.store)
    known = {row["provider_job"] for row in bench.sql("SELECT provider_job FROM jobs")}
    first, second = (name for name, token in usual.listed() if is_stray(bench, name, token, known))

    def poll(name: str) -> Any:
        if name == first:
            raise Unavailable("Nobody answers.")
        return usual.poll(name)

    found = look(bench, lambda name: But(usual, poll=poll))

    assert [row["key"] for row in bench.sql("SELECT key FROM findings")] == [second]
    assert found.trouble == (f"gemini-batch: second job {first}: Nobody answers.",)
    assert look(bench).trouble == ()
    assert bench.findings() == {"second job": 2}


def pay_twice_more(bench: Bench) -> None:
    bench.arm(create_dropped=1, list_lag={"seconds": 1.5})
    with bench.run(wait=SHORT) as run:
        bench.settle_in(run, bench.asks(["a blue boat"]), number=2)
        mine = {row["job_id"][:12] for row in bench.sql("SELECT job_id FROM jobs")}
        wait_until(
            lambda: sum(any(job in token for job in mine) for _, token in run.lane.listed()) == 4,
            "the list",
        )


def is_stray(bench: Bench, name: str, token: str, known: set[str]) -> bool:
    """Whether the store has asked for the job and does not know of it."""
    jobs = [row["job_id"] for row in bench.sql("SELECT job_id FROM jobs")]
    return name not in known and any(job[:12] in token for job in jobs)


def test_a_list_that_fails_keeps_no_job_from_being_looked_at(bench: Bench) -> None:
    bench.settle(*TEXTS)
    usual = open_lane("gemini-batch", bench.store)

    def listed() -> Any:
        raise Unavailable("500 for the list")

    lane = But(usual, listed=listed)
    found = look(bench, lambda name: lane)

    assert found.trouble == ("gemini-batch: its list of jobs was not compared: 500 for the list",)


def test_a_job_of_another_store_with_the_same_key_is_left_alone(
    bench: Bench, shared_sandbox: EmbeddedSandbox
) -> None:
    """The same wave makes jobs of the same ids there, and the provider lists those of both."""
    bench.settle(*TEXTS)
    elsewhere = Bench(shared_sandbox, bench.folder)
    elsewhere.store = Store.open(str(bench.folder / "elsewhere"))
    elsewhere.settle(*TEXTS)
    assert bench.sql("SELECT job_id FROM jobs") == elsewhere.sql("SELECT job_id FROM jobs")

    for store in (bench, elsewhere):
        found = look(store)
        assert (found.leftovers, found.trouble, store.findings()) == ((), (), {})


def test_a_lane_without_a_key_is_no_trouble_where_no_job_waits_for_it(bench: Bench) -> None:
    bench.settle(*TEXTS)

    def no_key(name: str) -> Lane:
        raise ImagewaveError(f"{name} needs a key.")

    assert look(bench, no_key).trouble == ()
