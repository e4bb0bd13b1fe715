"""A job, batch by batch: whole batches, halved ones, what is left after a kill, and its seconds."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from tests.providers.gpu.rendering.stub import Stub, job, line, pictures

from imagewave.providers.gpu.rendering.buckets import sorted_into_buckets
from imagewave.providers.gpu.rendering.render import encoded, render_job
from imagewave.storage.images import put_image
from imagewave.storage.jobs.renders import RenderFolder
from imagewave.storage.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def test_every_line_is_rendered_once_in_whole_batches(store: Store) -> None:
    stub = Stub()
    token = job(store, [line(f"k{n}") for n in range(10)])
    assert render_job(store, token, stub) == 10
    assert [len(batch) for batch in stub.batches] == [4, 4, 4]
    assert stub.batches[-1] == ["k8", "k9", "k9", "k9"], "ghosts are copies of the last"
    assert pictures(store, token).keys() == {f"k{n}" for n in range(10)}


def test_what_was_rendered_is_not_rendered_again(store: Store) -> None:
    token = job(store, [line(f"k{n}") for n in range(5)])
    render_job(store, token, Stub())
    again = Stub()
    assert render_job(store, token, again) == 0
    assert (again.loads, again.batches) == (0, [])


def test_pictures_that_differ_in_what_a_batch_shares_go_apart() -> None:
    lines = [
        line("a", prompt="b"),
        line("b", prompt="a"),
        line("c", steps=3),
        line("d", loras=("style@0.5",)),
        line("e", width=128),
        line("f", image="images/x.png", strength=0.35),
        line("g", prompt="much longer"),
        line("h", prompt="b"),
    ]
    buckets = sorted_into_buckets(lines, lambda prompt: len(prompt) // 10)
    alike = sorted([found.key for found in bucket] for bucket in buckets.values())
    assert alike == [["b", "a", "h"], ["c"], ["d"], ["e"], ["f"], ["g"]]


def test_out_of_memory_halves_the_batch_and_goes_on(store: Store) -> None:
    small, whole = Stub(fits=2), Stub()
    lines = [line(f"k{n}") for n in range(5)]
    render_job(store, job(store, lines), small)
    assert [len(batch) for batch in small.batches] == [2, 2, 2]
    render_job(store, job(store, lines, "other"), whole)
    halved = {r.numerics_id for r in RenderFolder(store, "job").records().values()}
    not_halved = {r.numerics_id for r in RenderFolder(store, "other").records().values()}
    assert len(halved) == len(not_halved) == 1
    assert halved != not_halved, "other bits may come of it"


def test_what_does_not_fit_alone_is_a_failure_of_its_own(store: Store) -> None:
    stub = Stub(fits=0)
    token = job(store, [line("a"), line("b")])
    render_job(store, token, stub)
    records = RenderFolder(store, token).records().values()
    assert [(r.reason, r.path) for r in records] == [("OUT_OF_MEMORY", "")] * 2


def test_a_cancelled_job_begins_no_further_batch(store: Store) -> None:
    token = job(store, [line(f"k{n}") for n in range(8)])

    class Cancelling(Stub):
        def numerics(self) -> dict[str, object]:
            RenderFolder(store, token).cancel()
            return {}

    assert render_job(store, token, Cancelling()) == 4
    assert len(RenderFolder(store, token).done()) == 4


def test_a_picture_is_drawn_over_at_the_size_of_the_new_one(store: Store) -> None:
    seen: list[tuple[int, int]] = []

    class Looking(Stub):
        def render(self, bucket, lines, images):  # type: ignore[no-untyped-def]
            seen.extend(image.size for image in images)
            return super().render(bucket, lines, images)

    draft = put_image(store, encoded(Image.new("RGB", (64, 64), "red"), "png"))
    token = job(store, [line("a", width=128, height=128, image=draft.path, strength=0.35)])
    render_job(store, token, Looking())
    assert set(seen) == {(128, 128)}


def test_seconds_add_up_to_those_of_the_session(store: Store) -> None:
    token = job(store, [line(f"k{n}") for n in range(6)])
    render_job(store, token, Stub())
    records = RenderFolder(store, token).records().values()
    assert len({record.session for record in records}) == 1
    busy = sum(record.seconds for record in records)
    assert 0 < busy <= max(record.elapsed for record in records)


@pytest.mark.parametrize("batch", [1, 2])
def test_a_rendering_that_was_killed_is_taken_up_where_it_was(store: Store, batch: int) -> None:
    lines = [line(f"k{n}") for n in range(10)]
    token = job(store, lines)
    code = (
        "import sys; from tests.providers.gpu.rendering.stub import Stub;"
        "from imagewave.storage.store import Store;"
        "from imagewave.providers.gpu.rendering.render import render_job;"
        "render_job(Store.open(sys.argv[1]), sys.argv[2], Stub())"
    )
    killed = subprocess.run(
        [sys.executable, "-c", code, store.url, token],
        env={**os.environ, "IMAGEWAVE_KILL_AT": f"render.before_record:{4 * batch - 1}"},
        cwd=Path(__file__).parents[4],
        check=False,
    )
    assert killed.returncode == -9
    before = RenderFolder(store, token).done()
    assert 0 < len(before) < 10
    stub = Stub()
    render_job(store, token, stub)
    rendered = {key for keys in stub.batches for key in keys}
    assert rendered == {each.key for each in lines} - before
    alone = job(store, lines, "undisturbed")
    render_job(store, alone, Stub())
    assert pictures(store, token) == pictures(store, alone)
