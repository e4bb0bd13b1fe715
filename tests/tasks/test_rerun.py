"""Orders of reruns: each stands until the wave is delivered, whatever is ordered in between."""

from pathlib import Path

from tests.tasks.waves import brief, wave

from imagewave.storage.requests import Kind
from imagewave.storage.rounds import reruns
from imagewave.storage.rounds.reruns import Redo
from imagewave.storage.store import Store
from imagewave.tasks.rerun import order, replace_drafts


def test_a_rerun_under_way_is_gone_on_with_though_drafts_were_replaced(tmp_path: Path) -> None:
    store, of = Store.open(str(tmp_path)), wave(brief("tulips"))
    redo = Redo(kind=Kind.FINAL, brief="tulips", request_id="a" * 64, round=1)
    first = reruns.record(store, of.name, of.revision, "", [redo])
    assert first is not None

    assert replace_drafts(store, of, [first], {"tulips": 1})

    assert [rerun.used_up for rerun in reruns.load(store, of.name, of.revision)] == [
        {},
        {"tulips": 1},
    ]
    assert order(store, of) == first


def test_the_same_drafts_are_replaced_once(tmp_path: Path) -> None:
    store, of = Store.open(str(tmp_path)), wave(brief("tulips"))
    assert not replace_drafts(store, of, [], {})

    assert replace_drafts(store, of, [], {"tulips": 1})

    standing = reruns.load(store, of.name, of.revision)
    assert not replace_drafts(store, of, standing, {"tulips": 1})
    assert replace_drafts(store, of, standing, {"tulips": 2})
    assert order(store, of) is None, "nothing failed, so there is nothing to make again"
