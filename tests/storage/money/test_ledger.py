"""The ledger of money: holds, captures, releases, and budgets that hold under any race."""

import json
import pickle
import random
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagewave.storage.money import books as books_module
from imagewave.storage.money import ledger as ledger_module
from imagewave.storage.money.ledger import Budget, BudgetExceeded, Hold, Ledger
from imagewave.storage.realms import NO_REAL_MONEY, Realm
from imagewave.storage.store import Store, StoreError

pytestmark = pytest.mark.heavy

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
NO_LIMIT = Budget()


def usd(text: str) -> Decimal:
    return Decimal(text)


class Clock:
    """A clock that stands where the test puts it."""

    def __init__(self, at: datetime = NOON) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at

    def go(self, **step: float) -> None:
        self.at += timedelta(**step)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


# --- one job -------------------------------------------------------------------------------------


def test_a_hold_is_captured_once_and_the_rest_is_given_back(store: Store) -> None:
    ledger = Ledger(store)
    ledger.hold("job", "spring", usd("1.00"), NO_LIMIT)
    assert ledger.state().held == usd("1.00")

    assert ledger.capture("job", usd("0.40"))
    assert not ledger.capture("job", usd("0.40"))
    assert not ledger.release("job")

    state = ledger.state()
    assert state.held == 0
    assert state.captured == {"spring": usd("0.40")}
    assert (state.hour, state.day, state.month) == (usd("0.40"),) * 3


def test_a_hold_is_made_once_while_it_is_open(store: Store) -> None:
    first = Ledger(store).hold("job", "spring", usd("1.00"), NO_LIMIT)
    again = Ledger(store).hold("job", "spring", usd("2.00"), Budget(wave_usd=usd("1.00")))
    assert first is not None
    assert again == first
    assert Ledger(store).open_holds() == [first]


def test_a_released_job_can_be_held_again(store: Store) -> None:
    ledger = Ledger(store)
    ledger.hold("job", "spring", usd("1.00"), NO_LIMIT)
    assert ledger.release("job")
    assert not ledger.release("job")
    assert ledger.state().held == 0
    again = ledger.hold("job", "spring", usd("0.70"), NO_LIMIT)
    assert again is not None
    assert again.amount == usd("0.70")


def test_a_captured_job_is_not_held_again_by_a_slower_process(store: Store) -> None:
    ledger = Ledger(store)
    ledger.hold("job", "spring", usd("1.00"), NO_LIMIT)
    ledger.capture("job", usd("0.40"))
    assert Ledger(store).hold("job", "spring", usd("1.00"), NO_LIMIT) is None
    assert ledger.state().held == 0


def test_a_cost_above_its_hold_is_recorded_as_it_is(store: Store) -> None:
    ledger = Ledger(store)
    ledger.hold("job", "spring", usd("1.00"), Budget(wave_usd=usd("1.00")))
    assert ledger.capture("job", usd("1.25"))
    assert ledger.state().captured_for("spring") == usd("1.25")


def test_a_cost_after_its_hold_was_given_back_is_recorded_once(store: Store) -> None:
    ledger = Ledger(store)
    ledger.hold("job", "spring", usd("1.00"), NO_LIMIT)
    ledger.release("job")
    assert ledger.capture("job", usd("0.40"))
    assert not ledger.capture("job", usd("0.40"))
    assert ledger.state().captured_for("spring") == usd("0.40")


def test_a_late_bill_comes_on_top_and_counts_once(store: Store) -> None:
    ledger = Ledger(store)
    ledger.hold("job", "spring", usd("1.00"), NO_LIMIT)
    ledger.capture("job", usd("0"))
    assert ledger.capture_late("job", "spring", usd("0.30"), "batches/1")
    assert not Ledger(store).capture_late("job", "spring", usd("0.30"), "batches/1")
    assert ledger.capture_late("job", "spring", usd("0.20"), "batches/2")
    assert ledger.state().captured_for("spring") == usd("0.50")


def test_a_credit_lowers_what_a_wave_has_spent_once_and_no_window(store: Store) -> None:
    ledger = Ledger(store)
    ledger.hold("job", "spring", usd("1.00"), NO_LIMIT)
    ledger.capture("job", usd("0.80"))

    assert ledger.credit("job", "spring", usd("0.30"), "found-1")
    assert not Ledger(store).credit("job", "spring", usd("0.30"), "found-1")

    state = Ledger(store).state()
    assert state.captured_for("spring") == usd("0.50")
    assert (state.hour, state.day, state.month) == (usd("0.80"), usd("0.80"), usd("0.80"))


def test_more_than_was_captured_cannot_be_given_back(store: Store) -> None:
    ledger = Ledger(store)
    ledger.hold("job", "spring", usd("1.00"), NO_LIMIT)
    ledger.capture("job", usd("0.20"))
    with pytest.raises(ValueError, match="more than"):
        ledger.credit("job", "spring", usd("0.30"), "found-1")
    assert ledger.state().captured_for("spring") == usd("0.20")


def test_a_capture_that_the_books_forgot_is_found_in_the_log(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(books_module, "CLOSED_KEPT", 2)
    ledger = Ledger(store)
    for n in range(4):
        ledger.hold(f"job-{n}", "spring", usd("1.00"), NO_LIMIT)
        ledger.capture(f"job-{n}", usd("0.10"))
    ledger.hold("given-back", "spring", usd("1.00"), NO_LIMIT)
    ledger.release("given-back")
    for n in range(4, 8):
        ledger.hold(f"job-{n}", "spring", usd("1.00"), NO_LIMIT)
        ledger.capture(f"job-{n}", usd("0.10"))
    assert not ledger.capture("job-0", usd("0.10"))
    assert ledger.capture("given-back", usd("0.05"))
    assert ledger.state().captured_for("spring") == usd("0.85")


def test_capturing_a_job_that_was_never_held_is_a_defect(store: Store) -> None:
    with pytest.raises(ValueError, match="ever held"):
        Ledger(store).capture("job", usd("1"))


@pytest.mark.parametrize("amount", ["-0.01", "NaN", "Infinity"])
def test_no_such_amount_of_money(store: Store, amount: str) -> None:
    ledger = Ledger(store)
    with pytest.raises(ValueError, match="no amount of money"):
        ledger.hold("job", "spring", usd(amount), NO_LIMIT)
    assert store.list("ledger") == []


# --- who owns a hold -----------------------------------------------------------------------------


def owned(ledger: Ledger, job_id: str = "job", amount: str = "1.00") -> Hold:
    hold = ledger.own(job_id, "spring", usd(amount), NO_LIMIT)
    assert hold is not None
    return hold


def test_only_the_owner_of_a_hold_gives_it_back(store: Store) -> None:
    first = owned(Ledger(store))
    second = owned(Ledger(store), amount="2.00")
    assert (second.seq, second.amount) == (first.seq, usd("1.00")), "it is the same hold"
    assert second.owner != first.owner

    assert not Ledger(store).release("job", first.owner)
    assert Ledger(store).open_holds() == [second]
    assert Ledger(store).release("job", second.owner)
    assert Ledger(store).state().held == 0


def test_a_hold_that_was_given_back_and_made_anew_is_not_its_first_owner_s(store: Store) -> None:
    ledger = Ledger(store)
    first = owned(ledger)
    assert ledger.release("job", first.owner)
    again = owned(ledger)
    assert not ledger.release("job", first.owner)
    assert ledger.open_holds() == [again]


def test_taking_a_hold_over_costs_nothing_and_asks_no_budget(store: Store) -> None:
    ledger = Ledger(store)
    owned(ledger)
    limits = Budget(wave_usd=usd("1.00"))
    taken = Ledger(store).own("job", "spring", usd("1.00"), limits)
    assert taken is not None
    assert ledger.state().held == usd("1.00")
    with pytest.raises(BudgetExceeded):
        ledger.own("other", "spring", usd("0.01"), limits)
    assert len(ledger.open_holds()) == 1


def test_only_an_open_hold_can_be_taken(store: Store) -> None:
    ledger = Ledger(store)
    assert ledger.take("job") is None
    first = owned(ledger)
    taken = Ledger(store).take("job")
    assert taken is not None
    assert taken.owner != first.owner
    assert not ledger.release("job", first.owner)
    assert ledger.release("job", taken.owner)
    assert ledger.take("job") is None


def test_a_captured_job_is_nobody_s_any_more(store: Store) -> None:
    ledger = Ledger(store)
    first = owned(ledger)
    owned(Ledger(store))
    # What it did cost is the truth, whoever says so.
    assert ledger.capture("job", usd("0.40"))
    entries = store.list("ledger")
    assert ledger.own("job", "spring", usd("1.00"), NO_LIMIT) is None
    assert ledger.take("job") is None
    assert not ledger.release("job", first.owner)
    assert store.list("ledger") == entries


def test_who_only_holds_owns_nothing_that_was_there(store: Store) -> None:
    mine = owned(Ledger(store))
    seen = Ledger(store).hold("job", "spring", usd("1.00"), NO_LIMIT)
    assert seen == mine
    assert Ledger(store).release("job", mine.owner)


def test_a_new_process_knows_the_owner_from_a_checkpoint(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "CHECKPOINT_EVERY", 3)
    first = owned(Ledger(store))
    owned(Ledger(store))
    last = owned(Ledger(store))
    assert len(store.list("ledger/checkpoints")) == 1
    for seq in (1, 2, 3):
        store.delete(f"ledger/{seq:012d}.json")  # nothing else can tell
    assert Ledger(store).open_holds() == [last]
    assert not Ledger(store).release("job", first.owner)
    assert Ledger(store).release("job", last.owner)


def test_in_an_older_checkpoint_who_made_the_hold_owns_it(store: Store) -> None:
    hold = owned(Ledger(store))
    books = json.loads(books_module.Books().to_json())
    of_old = [hold.seq, hold.job_id, hold.wave, "1.00", hold.at.isoformat()]
    books |= {"seq": 1, "at": hold.at.isoformat(), "holds": [of_old]}
    store.write("ledger/checkpoints/000000000001.json", json.dumps(books).encode())
    assert Ledger(store).open_holds() == [hold]


def test_a_take_whose_answer_was_lost_is_recognised(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    owned(Ledger(store))
    put = Store.put_if_absent

    def lossy(self: Store, path: str, data: bytes) -> bool:
        put(self, path, data)
        return False

    monkeypatch.setattr(Store, "put_if_absent", lossy)
    ledger = Ledger(store)
    taken = owned(ledger)
    assert taken.owner == 2
    assert ledger.release("job", taken.owner)


# --- budgets -------------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", ["wave_usd", "hour_usd", "day_usd", "month_usd"])
def test_a_budget_counts_what_is_captured_and_what_is_held(store: Store, budget: str) -> None:
    ledger = Ledger(store)
    limits = Budget(**{budget: usd("1.00")})
    ledger.hold("a", "spring", usd("0.50"), limits)
    ledger.capture("a", usd("0.30"))
    ledger.hold("b", "spring", usd("0.30"), limits)
    entries = store.list("ledger")

    with pytest.raises(BudgetExceeded) as caught:
        ledger.hold("c", "spring", usd("0.41"), limits)
    error = caught.value
    assert (error.budget, error.limit, error.spent, error.held, error.wanted) == (
        budget,
        usd("1.00"),
        usd("0.30"),
        usd("0.30"),
        usd("0.41"),
    )
    assert f"Raise {budget} in [budget]" in str(error)
    assert store.list("ledger") == entries
    assert str(pickle.loads(pickle.dumps(error))) == str(error)

    assert ledger.hold("d", "spring", usd("0.40"), limits) is not None
    raised = Budget(**{budget: usd("2.00")})
    assert ledger.hold("c", "spring", usd("0.41"), raised) is not None


def test_a_waves_budget_is_its_own_and_the_others_are_the_whole_stores(
    store: Store,
) -> None:
    ledger = Ledger(store)
    ledger.hold("a", "spring", usd("1.00"), NO_LIMIT)
    assert ledger.hold("b", "autumn", usd("1.00"), Budget(wave_usd=usd("1.00"))) is not None
    for limits in (
        Budget(hour_usd=usd("2")),
        Budget(day_usd=usd("2")),
        Budget(month_usd=usd("2")),
    ):
        with pytest.raises(BudgetExceeded):
            ledger.hold("c", "winter", usd("0.01"), limits)


def test_a_budget_of_the_sandbox_says_that_no_money_is_real(tmp_path: Path) -> None:
    """Each realm has a ledger of its own, so what the one spends is in no budget of the other."""
    limits = Budget(month_usd=usd("1.00"))
    ledgers = {}
    for realm in Realm:
        store = Store.open(str(tmp_path / realm))
        store.mark_realm(realm)
        ledgers[realm] = Ledger(store)
    ledgers[Realm.SANDBOX].hold("a", "spring", usd("1.00"), limits)
    assert ledgers[Realm.LIVE].hold("a", "spring", usd("1.00"), limits) is not None
    for realm, ledger in ledgers.items():
        with pytest.raises(BudgetExceeded) as caught:
            ledger.hold("b", "spring", usd("0.01"), limits)
        assert (NO_REAL_MONEY in str(caught.value)) is (realm is Realm.SANDBOX)


def test_windows_move_on(store: Store) -> None:
    clock = Clock()
    ledger = Ledger(store, clock=clock)
    ledger.hold("a", "spring", usd("1.00"), NO_LIMIT)
    ledger.capture("a", usd("1.00"))

    clock.go(minutes=59)
    assert ledger.state().hour == usd("1.00")
    clock.go(minutes=2)
    state = ledger.state()
    assert (state.hour, state.day, state.month) == (usd("0"), usd("1.00"), usd("1.00"))
    clock.go(hours=23)
    assert ledger.state().day == 0
    assert ledger.state().month == usd("1.00")
    clock.at = datetime(2026, 12, 1, tzinfo=UTC)
    assert ledger.state().month == 0
    assert ledger.state().captured_for("spring") == usd("1.00")


def test_an_open_hold_counts_however_old_it_is(store: Store) -> None:
    clock = Clock()
    ledger = Ledger(store, clock=clock)
    ledger.hold("a", "spring", usd("1.00"), NO_LIMIT)
    clock.go(days=40)
    with pytest.raises(BudgetExceeded):
        ledger.hold("b", "spring", usd("0.01"), Budget(hour_usd=usd("1.00")))


def test_a_clock_set_back_does_not_make_spent_money_unspent(store: Store) -> None:
    clock = Clock()
    ledger = Ledger(store, clock=clock)
    ledger.hold("a", "spring", usd("1.00"), NO_LIMIT)
    ledger.capture("a", usd("1.00"))
    clock.go(days=-60)
    for limits in (
        Budget(hour_usd=usd("1")),
        Budget(day_usd=usd("1")),
        Budget(month_usd=usd("1")),
    ):
        with pytest.raises(BudgetExceeded, match="clocks is or was wrong"):
            Ledger(store, clock=clock).hold("b", "spring", usd("0.01"), limits)
    hold = ledger.hold("c", "spring", usd("0.01"), NO_LIMIT)
    assert hold is not None
    assert hold.at == NOON


# --- the log in the store ------------------------------------------------------------------------


def test_a_new_process_continues_from_a_checkpoint(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "CHECKPOINT_EVERY", 8)
    clock = Clock()
    ledger = Ledger(store, clock=clock)
    for n in range(14):
        ledger.hold(f"job-{n}", f"wave-{n % 3}", usd("0.10"), NO_LIMIT)
        clock.go(minutes=17)
        if n % 4 != 3:
            ledger.capture(f"job-{n}", usd("0.07"))
    ledger.capture_late("job-0", "wave-0", usd("0.01"), "batches/1")
    expected = ledger.state()

    read: list[str] = []
    whole_read = Store.read

    def counted(self: Store, path: str) -> bytes:
        read.append(path)
        return whole_read(self, path)

    monkeypatch.setattr(Store, "read", counted)
    assert Ledger(store, clock=clock).state() == expected
    assert len([path for path in read if "checkpoints" not in path]) <= 8

    for path in store.list("ledger/checkpoints"):
        store.delete(path)
    from_entries = Ledger(store, clock=clock)
    assert from_entries.state() == expected
    assert not from_entries.capture_late("job-0", "wave-0", usd("0.01"), "batches/1")


def test_checkpoints_are_the_same_whoever_writes_them(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "CHECKPOINT_EVERY", 4)
    ledger = Ledger(store, clock=Clock())
    for n in range(9):
        ledger.hold(f"job-{n}", "spring", usd("0.10"), NO_LIMIT)
    checkpoints = {path: store.read(path) for path in store.list("ledger/checkpoints")}
    assert len(checkpoints) == 2

    for path, content in checkpoints.items():
        store.delete(path)
        fold = books_module.Books()
        while fold.seq < int(Path(path).stem):
            fold.apply(
                books_module.Entry.from_json(store.read(books_module.entry_path(fold.seq + 1)))
            )
        assert fold.to_json() == content


SECOND = {
    "seq": 2,
    "kind": "hold",
    "job_id": "b",
    "wave": "w",
    "usd": "1",
    "at": "2026-11-20T12:00:00+00:00",
    "nonce": "n",
}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"seq": 2}',
        *(
            json.dumps(SECOND | change).encode()
            for change in (
                {"usd": "x"},
                {"usd": 0.5},
                {"usd": "-1"},
                {"seq": 3},
                {"job_id": "a"},
                {"job_id": None},
                {"at": "2026-11-20T12:00:00"},
                {"at": "2025-11-20T12:00:00+00:00"},
                {"kind": "gift"},
                {"kind": "capture", "settles": 1},
                {"kind": "release", "job_id": "a", "settles": 7},
                {"kind": "take", "job_id": "a", "settles": 7},
                {"kind": "take", "settles": 1},
            )
        ),
    ],
)
def test_a_damaged_entry_is_named_and_never_skipped(store: Store, content: bytes) -> None:
    ledger = Ledger(store, clock=Clock())
    ledger.hold("a", "spring", usd("1.00"), NO_LIMIT)
    store.write("ledger/000000000002.json", content)
    for attempt in (ledger, Ledger(store, clock=Clock())):
        with pytest.raises(StoreError, match=r"ledger/000000000002\.json"):
            attempt.hold("z", "spring", usd("0.01"), NO_LIMIT)
    assert not store.exists("ledger/000000000003.json")


def test_a_damaged_checkpoint_says_that_it_can_be_deleted(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "CHECKPOINT_EVERY", 1)
    Ledger(store).hold("a", "spring", usd("1.00"), NO_LIMIT)
    store.write("ledger/checkpoints/000000000001.json", b'{"seq": 1}')
    with pytest.raises(StoreError, match=r"checkpoints/000000000001\.json.*Delete that file"):
        Ledger(store).state()
    store.delete("ledger/checkpoints/000000000001.json")
    assert Ledger(store).state().held == usd("1.00")


def test_an_entry_whose_answer_was_lost_is_recognised(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = Store.put_if_absent

    def lossy(self: Store, path: str, data: bytes) -> bool:
        # What a client sees that repeats a put whose first answer got lost: "already there".
        put(self, path, data)
        return False

    monkeypatch.setattr(Store, "put_if_absent", lossy)
    ledger = Ledger(store)
    hold = ledger.hold("a", "spring", usd("0.60"), Budget(wave_usd=usd("1.00")))
    assert hold is not None
    assert hold.seq == 1
    assert ledger.capture("a", usd("0.50"))
    assert len(store.list("ledger")) == 2


def test_a_call_that_failed_after_writing_can_be_repeated(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = Store.put_if_absent

    def broken(self: Store, path: str, data: bytes) -> bool:
        put(self, path, data)
        raise StoreError("connection reset")

    ledger = Ledger(store)
    with monkeypatch.context() as patch:
        patch.setattr(Store, "put_if_absent", broken)
        with pytest.raises(StoreError):
            ledger.hold("a", "spring", usd("0.60"), Budget(wave_usd=usd("1.00")))
    hold = ledger.hold("a", "spring", usd("0.60"), Budget(wave_usd=usd("1.00")))
    assert hold is not None
    assert hold.seq == 1
    assert ledger.state().held == usd("0.60")


def test_two_ledgers_that_want_the_last_dollar(store: Store) -> None:
    limits = Budget(wave_usd=usd("1.00"))
    one, two = Ledger(store), Ledger(store)
    assert one.state().seq == two.state().seq == 0
    one.hold("a", "spring", usd("1.00"), limits)
    with pytest.raises(BudgetExceeded):
        two.hold("b", "spring", usd("1.00"), limits)


# --- any sequence --------------------------------------------------------------------------------

JOBS = st.sampled_from(["a", "b", "c", "d"])
CENTS = st.integers(0, 60).map(lambda n: Decimal(n) / 100)
STEPS = st.one_of(
    st.tuples(st.just("hold"), JOBS, CENTS),
    st.tuples(st.just("capture"), JOBS, CENTS),
    st.tuples(st.just("release"), JOBS, CENTS),
    st.tuples(st.just("own"), JOBS, CENTS),
    st.tuples(st.just("take"), JOBS, CENTS),
    st.tuples(st.just("give back"), JOBS, CENTS),
    st.tuples(st.just("late"), JOBS, CENTS),
    st.tuples(
        st.just("clock"),
        st.sampled_from(["-3000", "-5", "1", "29", "61", "1500"]),
        CENTS,
    ),
    st.tuples(st.just("restart"), JOBS, CENTS),
)


def entries(store: Store) -> int:
    """How many entries the ledger has, not counting the sums that are kept beside them."""
    return sum(file.count("/") == 1 for file in store.list("ledger"))


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=30))
def test_any_sequence_keeps_the_budgets_and_the_sums(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, Decimal]]
) -> None:
    """Against a model that keeps every event and adds up from scratch."""
    limits = Budget(wave_usd=usd("1.50"), hour_usd=usd("0.80"))
    clock = Clock()
    store = Store.open(str(tmp_path_factory.mktemp("ledger")))
    holds: dict[str, Decimal] = {}
    owners: dict[str, list[int]] = {}  # of each job, all that there ever were
    ended: dict[str, bool] = {}
    bills: set[str] = set()
    spent: list[tuple[datetime, Decimal]] = []
    latest = datetime.min.replace(tzinfo=UTC)  # of the ledger, which has no entry yet

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ledger_module, "CHECKPOINT_EVERY", 3)
        patch.setattr(books_module, "CLOSED_KEPT", 2)
        ledger = Ledger(store, clock=clock)
        for verb, what, amount in steps:
            written = entries(store)
            now = max(clock.at, latest)
            if verb == "clock":
                clock.go(minutes=int(what))
            elif verb == "restart":
                ledger = Ledger(store, clock=clock)
            elif verb in ("hold", "own"):
                grant = ledger.hold if verb == "hold" else ledger.own
                held = sum(holds.values(), Decimal(0))
                refusal = None
                try:
                    hold = grant(what, "spring", amount, limits)
                except BudgetExceeded as error:
                    refusal = error
                if refusal:
                    assert refusal.spent + refusal.held + amount > refusal.limit
                    assert what not in holds
                    assert entries(store) == written
                    continue
                if what in holds:
                    assert hold is not None
                    assert hold.amount == holds[what]
                elif hold is not None:
                    hour = [cost for at, cost in spent if now - at <= timedelta(minutes=60)]
                    assert sum(hour, held + amount) <= usd("0.80")
                    assert sum((cost for _, cost in spent), held + amount) <= usd("1.50")
                    holds[what] = amount
                else:
                    assert ended[what]
                if hold is not None and (verb == "own" or hold.seq > written):
                    owners.setdefault(what, []).append(hold.owner)
            elif verb == "take":
                taken = ledger.take(what)
                assert (taken is not None) == (what in holds)
                if taken is not None:
                    owners[what].append(taken.owner)
            elif verb == "give back" and what in owners:
                owner = owners[what][int(amount * 100) % len(owners[what])]
                is_last = owner == owners[what][-1]
                assert ledger.release(what, owner) == (what in holds and is_last)
                if is_last and holds.pop(what, None) is not None:
                    ended[what] = False
            elif verb == "release":
                assert ledger.release(what) == (what in holds)
                if holds.pop(what, None) is not None:
                    ended[what] = False
            elif verb == "capture" and (what in holds or what in ended):
                new = what in holds or not ended[what]
                assert ledger.capture(what, amount) == new
                holds.pop(what, None)
                ended[what] = True
                if new:
                    spent.append((now, amount))
            elif verb == "late":
                assert ledger.capture_late(what, "spring", amount, "bill") == (what not in bills)
                if what not in bills:
                    spent.append((now, amount))
                bills.add(what)
            if len(store.list("ledger")) > written:
                latest = now

            state = ledger.state()
            assert {h.job_id: h.amount for h in state.holds} == holds
            assert all(h.owner == owners[h.job_id][-1] for h in state.holds)
            assert state.captured_for("spring") == sum((cost for _, cost in spent), Decimal(0))
            for window, minutes in ((state.hour, 60), (state.day, 24 * 60)):
                age = [(max(clock.at, latest) - at, cost) for at, cost in spent]
                least = sum((c for a, c in age if a <= timedelta(minutes=minutes)), Decimal(0))
                most = sum(
                    (c for a, c in age if a <= timedelta(minutes=minutes + 1)),
                    Decimal(0),
                )
                assert least <= window <= most


# --- races of processes --------------------------------------------------------------------------

RACER = Path(__file__).with_name("ledger_racer.py")


def racer(url: str, limit: str, seed: str, *how: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, str(RACER), url, limit, seed, *how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def audit(store: Store, limit: Decimal) -> Decimal:
    """Adds the log up by itself: never above the limit, never two holds of one job at once."""
    held: dict[str, Decimal] = {}
    spent = Decimal(0)
    entries = [path for path in store.list("ledger") if "checkpoints" not in path]
    assert entries == [f"ledger/{n:012d}.json" for n in range(1, len(entries) + 1)]
    for path in entries:
        entry = json.loads(store.read(path))
        if entry["kind"] == "hold":
            assert entry["job_id"] not in held
            held[entry["job_id"]] = Decimal(entry["usd"])
        else:
            del held[entry["job_id"]]
            spent += Decimal(entry["usd"]) if entry["kind"] == "capture" else 0
        assert spent + sum(held.values()) <= limit
    state = Ledger(store).state()
    assert state.held == sum(held.values())
    assert sum(state.captured.values()) == spent
    return spent


def start(racers: "list[subprocess.Popen[str]]") -> None:
    """Lets them go all at once: they stand at the line when their imports are done."""
    for process in racers:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in racers:
        assert process.stdin is not None
        process.stdin.close()


def race(url: str, limit: str) -> None:
    racers = [racer(url, limit, str(seed)) for seed in range(8)]
    start(racers)
    granted = [int(process.stdout.read()) for process in racers if process.stdout]
    assert [process.wait() for process in racers] == [0] * 8
    assert sum(count > 0 for count in granted) >= 2
    # Each gave up because not even a hold of 2 to 9 cents was left.
    spent = audit(Store.open(url), Decimal(limit))
    assert spent > Decimal(limit) - usd("0.09")


def test_eight_processes_never_pass_one_budget_on_disk(tmp_path: Path) -> None:
    race(str(tmp_path / "store"), "20.00")


@pytest.mark.slow
def test_eight_processes_never_pass_one_budget_on_s3(s3_url: str) -> None:
    race(s3_url, "2.50")


def race_for_holds(url: str) -> None:
    """Eight processes take the same three jobs from each other, and give back what is theirs."""
    racers = [racer(url, "100.00", str(seed), "owners") for seed in range(8)]
    start(racers)
    said = [json.loads(process.stdout.read()) for process in racers if process.stdout]
    assert [process.wait() for process in racers] == [0] * 8
    owned = [set(each["owned"]) for each in said]
    assert sum(map(len, owned)) == len(set().union(*owned)), "two think that they own one hold"
    assert all(set(each["given back"]) <= set(each["owned"]) for each in said)

    owner: dict[str, int] = {}
    given_back, lost = set(), 0
    store = Store.open(url)
    entries = [path for path in store.list("ledger") if "checkpoints" not in path]
    for path in entries:
        entry = json.loads(store.read(path))
        job_id = entry["job_id"]
        if entry["kind"] == "release":
            assert entry["settles"] == owner.pop(job_id)
            given_back.add(entry["settles"])
            continue
        if entry["kind"] == "take":
            assert entry["settles"] == owner[job_id]
            lost += 1
        else:
            assert job_id not in owner
        owner[job_id] = entry["seq"]
    assert given_back == {owner for each in said for owner in each["given back"]}
    assert lost, "nobody took anything over"
    left = {hold.job_id: hold.owner for hold in Ledger(store).open_holds()}
    assert left == owner


def test_eight_processes_give_back_only_what_they_own_on_disk(tmp_path: Path) -> None:
    race_for_holds(str(tmp_path / "store"))


@pytest.mark.slow
def test_eight_processes_give_back_only_what_they_own_on_s3(s3_url: str) -> None:
    race_for_holds(s3_url)


def test_killed_processes_leave_a_ledger_that_goes_on(tmp_path: Path) -> None:
    url = str(tmp_path / "store")
    store = Store.open(url)
    moments = random.Random(7)
    for _ in range(3):
        racers = [racer(url, "40.00", str(seed)) for seed in range(3)]
        start(racers)
        before = len(store.list("ledger"))
        while len(store.list("ledger")) < before + moments.randint(20, 60):
            assert all(process.poll() is None for process in racers)
            time.sleep(0.005)
        for process in racers:
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert process.returncode == -signal.SIGKILL
        audit(store, usd("40.00"))
    # Whatever they left open is still known, and can be settled by anybody.
    ledger = Ledger(store)
    for hold in ledger.open_holds():
        assert ledger.capture(hold.job_id, hold.amount)
    assert ledger.state().held == 0
    audit(store, usd("40.00"))
