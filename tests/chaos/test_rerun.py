"""`imagewave rerun`: what failed is made again, and nothing else is asked for."""

import signal
from pathlib import Path

import pytest
from tests.chaos.bench import Bench, assets, check_exactly_once, write_wave

from imagewave.storage.facts.analytics import query
from imagewave.storage.store import Store

pytestmark = pytest.mark.slow

BRIEFS = {
    "harbour": "a fishing harbour in the morning, boats at the quay",
    # Fails as often as it is tried in one run, then succeeds.
    "tulips": "red tulips in a glass vase [[sandbox:error_13@plain x3]]",
    "crowd": "a crowd at a concert [[sandbox:block_safety@plain]]",
}
ONCE = "probe = 1\nmax_rounds = 1\nmax_oversample = 1"


def ended_wave(bench: Bench, name: str) -> tuple[Path, str, int]:
    """A wave one of whose briefs has failed for good and one was refused; and its bill."""
    folder = bench.folder()
    briefs = {id: f"{text} ({name})" for id, text in BRIEFS.items()}
    wave = write_wave(folder, name=name, briefs=briefs, tables={"draft": ONCE})
    start = len(bench.billed())
    finished = bench.run(wave, str(folder / "store"))
    assert finished.code == 0, finished.err
    assert list(assets(Store.open(str(folder / "store")))) == [
        f"assets/{name}/harbour/harbour-1.jpg"
    ]
    return wave, str(folder / "store"), start


def test_a_dry_run_lists_and_prices_and_sends_nothing(bench: Bench) -> None:
    wave, store, _ = ended_wave(bench, "dry")
    before = len(bench.billed())

    listed = bench.run(wave, store, "--dry-run", command="rerun")
    by_name = bench.run("dry", store, "--dry-run", command="rerun")
    refused = bench.run(wave, store, "--dry-run", "--where", "status = 'refused'", command="rerun")
    by_flag = bench.run(wave, store, "--dry-run", "--refused", "--brief", "crowd", command="rerun")
    other = bench.run(wave, store, "--dry-run", "--brief", "crowd", command="rerun")
    unknown = bench.run(wave, store, "--brief", "crowds", command="rerun")
    wrong = bench.run(wave, store, "--dry-run", "--where", "colour = 1", command="rerun")

    assert "tulips" in listed.out
    assert "crowd" not in listed.out
    assert "1 request, about $0.01" in listed.out
    assert by_name.out == listed.out
    assert "crowd" in refused.out
    assert by_flag.out == refused.out
    assert "Nothing to make again" in other.out
    assert "--refused picks what was refused: 1 request, about $0.0" in other.out
    assert (unknown.code, "Did you mean 'crowd'?" in unknown.err) == (1, True)
    assert (wrong.code, "cannot be used" in wrong.err) == (1, True)
    assert len(bench.billed()) == before


def test_redoes_what_failed_and_nothing_else(bench: Bench) -> None:
    wave, store, start = ended_wave(bench, "redo")
    opened = Store.open(store)
    before, delivered = len(bench.billed()), assets(opened)

    # Killed on the way, and gone on with by the same command.
    died = bench.run(wave, store, command="rerun", kill_at="submit.after_create")
    assert died.code == -signal.SIGKILL
    finished = bench.run(wave, store, command="rerun")

    assert finished.code == 0, finished.err
    new = bench.billed(before)
    (tulips,) = query(
        opened, "SELECT DISTINCT request_id FROM requests WHERE brief = 'tulips' AND kind = 'draft'"
    )
    # Its draft, the judge's look at it, its final, and the judge's look at that.
    assert len(new) == 4
    assert new[0]["key"] == tulips["request_id"]
    now = assets(opened)
    assert set(now) == {*delivered, "assets/redo/tulips/tulips-1.jpg"}
    assert {path: now[path] for path in delivered} == delivered
    assert check_exactly_once(opened, bench.billed(start), but=("requests",)) == 1.0

    # Nothing is left that failed; what was refused is not sent again by itself.
    again = bench.run(wave, store, command="rerun")
    assert "Nothing to make again" in again.out
    assert bench.run(wave, store).code == 0
    assert len(bench.billed()) == before + 4


def test_a_refused_request_is_sent_again_only_by_name(bench: Bench) -> None:
    wave, store, start = ended_wave(bench, "named")
    before = len(bench.billed())

    finished = bench.run(wave, store, "--refused", command="rerun")

    assert finished.code == 0, finished.err
    (line,) = bench.billed(before)
    assert line["outcome"] == "refused"
    assert check_exactly_once(Store.open(store), bench.billed(start), but=("requests",)) == 1.0
