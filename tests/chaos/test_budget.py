"""A wave that hits its budget says so and stops; with more of it, it goes on."""

from decimal import Decimal

import pytest
from tests.chaos.bench import BRIEFS, Bench, assets, check_exactly_once, write_wave

from imagewave.storage.money.ledger import Ledger
from imagewave.storage.store import Store

pytestmark = pytest.mark.slow


def test_stops_at_the_budget_and_goes_on_when_it_is_raised(bench: Bench) -> None:
    folder = bench.folder()
    store = str(folder / "store")
    start = len(bench.billed())
    briefs = {**BRIEFS, "crowd": "a crowd at a concert [[sandbox:finish_prohibited@plain]]"}

    # Enough for the drafts, but not for the finals.
    stopped = bench.run(
        write_wave(folder, briefs=briefs, tables={"budget": "wave_usd = 0.102"}), store
    )

    assert stopped.code == 3, stopped.err
    assert "wave_usd" in stopped.err
    assert "Traceback" not in stopped.err
    state = Ledger(Store.open(store)).state()
    assert not state.holds
    assert Decimal(0) < state.captured["chaos"] <= Decimal("0.102")
    said = bench.run("chaos", store, command="status")
    assert "chaos is stopped: The budget wave_usd" in said.out

    finished = bench.run(
        write_wave(folder, briefs=briefs, tables={"budget": "wave_usd = 5.00"}), store
    )

    assert finished.code == 0, finished.err
    assert "is stopped" not in bench.run("chaos", store, command="status").out
    assert len(assets(Store.open(store))) == 2
    # To the last digit: thinking tokens and answers that brought no picture are paid for, too.
    billed = bench.billed(start)
    assert check_exactly_once(Store.open(store), billed) == 1.0
    assert any(line["tokens"]["thoughts"] for line in billed)
    assert any(Decimal(line["usd"]) for line in billed if line["outcome"] == "refused")
