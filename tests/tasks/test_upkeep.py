"""What upkeep merges, gives up and deletes, and what it leaves alone; on disk and in a bucket."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from tests.servers import make_bucket, s3_environment, start_moto
from tests.storage.builders import DRAFT_MODEL, WAVE, ask, job, put, request_id, result

from imagewave.storage.facts import facts
from imagewave.storage.facts.analytics import answered, query
from imagewave.storage.images import StoredImage, put_image
from imagewave.storage.rounds import rounds
from imagewave.storage.store import Store
from imagewave.tasks.upkeep import compact, drop_answers, orphans, retain

pytestmark = pytest.mark.heavy

HERE = {"wave": WAVE, "revision": "0a1b2c3d"}
NO_GRACE = timedelta(0)
FATES = {"t1": "accepted", "t2": "rejected", "h1": "reserve", "h2": ""}


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    with start_moto() as endpoint:
        yield endpoint


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A new store."""
    if request.param == "local":
        return Store.open(str(tmp_path / "store"))
    endpoint = request.getfixturevalue("s3_endpoint")
    for name, value in s3_environment(endpoint).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("IMAGEWAVE_CACHE_DIR", str(tmp_path / "cache"))
    return Store.open(f"s3://{make_bucket(endpoint)}/waves")


def draw(store: Store, job_id: str, *names: str) -> dict[str, StoredImage]:
    """Results of a job: a picture for each name."""
    drawn = {name: put_image(store, b"\xff\xd8\xff" + name.encode()) for name in names}
    rows = [result(name, job_id, "draft", DRAFT_MODEL, "0.02") for name in names]
    put(
        store,
        "results",
        job_id,
        *(row | {"image": drawn[name].sha256} for name, row in zip(names, rows, strict=True)),
    )
    put(
        store,
        "images",
        job_id,
        *(
            {
                "image": image.sha256,
                "path": image.path,
                "bytes": image.size,
                "format": "jpeg",
                "mime": "image/jpeg",
            }
            for image in drawn.values()
        ),
    )
    return drawn


def decided(store: Store, *, delivered: bool) -> dict[str, StoredImage]:
    """A wave whose drafts met the fates above; h2 was never decided about."""
    put(store, "waves", "run-1", HERE | {"file": "f", "spec": "{}", "realm": "sandbox"})
    put(store, "requests", "draft-1", *(ask(name, "draft", DRAFT_MODEL) for name in FATES))
    drawn = draw(store, "job-1", *FATES)
    common = HERE | {"brief": "tulips", "tier": "draft", "round": 1}
    rows = [
        common | {"request_id": request_id(name), "image": drawn[name].sha256, "decision": decision}
        for name, decision in FATES.items()
        if decision
    ]
    put(store, "decisions", "draft-1", *rows)
    if delivered:
        facts.append(store, "assets", f"{WAVE}-{HERE['revision']}", [])
    return drawn


def there(store: Store, drawn: dict[str, StoredImage]) -> set[str]:
    return {name for name, image in drawn.items() if store.exists(image.path)}


def test_answers_of_settled_jobs_go_and_no_call_is_made_again(store: Store) -> None:
    for token in (f"{WAVE}-over", f"{WAVE}-open"):
        for name in ("job.json", "0.claim", "0.answer", "1.lost"):
            store.put_if_absent(f"calls/{token}/{name}", b"{}")
        for name in ("job.json", "renderer.json", "done/a.json", "done/b.json"):
            store.put_if_absent(f"renders/{token}/{name}", b"{}")
    store.put_if_absent("calls/inputs/over.jsonl", b"")
    before = set(store.list("calls") + store.list("renders"))
    put(store, "jobs", "over", *(job("over", "draft", DRAFT_MODEL, 2, "0.1")))
    put(store, "jobs", "open", *(job("open", "draft", DRAFT_MODEL, 2, None)))

    assert drop_answers(store) == 0, "they were settled just now"
    assert drop_answers(store, grace=NO_GRACE) == 3
    assert before - set(store.list("calls") + store.list("renders")) == {
        f"calls/{WAVE}-over/0.answer",
        f"renders/{WAVE}-over/done/a.json",
        f"renders/{WAVE}-over/done/b.json",
    }
    assert drop_answers(store, grace=NO_GRACE) == 0


def test_rejected_pictures_go_in_two_steps_and_the_facts_stay(store: Store) -> None:
    drawn = decided(store, delivered=True)
    before = query(store, "SELECT * FROM results ORDER BY request_id")

    first = retain(store, drafts_days=0, grace=NO_GRACE)
    assert (first.given_up, first.deleted) == (2, 0)
    assert there(store, drawn) == set(FATES), "given up, not yet deleted"

    second = retain(store, drafts_days=0, grace=NO_GRACE)
    assert (second.given_up, second.deleted) == (0, 2)
    assert there(store, drawn) == {"t1", "h1"}
    assert query(store, "SELECT * FROM results ORDER BY request_id") == before

    third = retain(store, drafts_days=0, grace=NO_GRACE)
    assert (third.given_up, third.deleted) == (0, 0)


def test_nobody_counts_on_a_picture_that_was_given_up(store: Store) -> None:
    decided(store, delivered=True)
    retain(store, drafts_days=0)
    ids = [request_id(name) for name in FATES]
    kept = {request_id("t1"), request_id("h1")}
    assert answered(store, ids) == kept
    assert rounds.answers(store, ids).keys() == kept

    # Asked for again, it is drawn and paid anew, and kept as any other.
    again = draw(store, "job-2", "t2")
    assert answered(store, ids) == kept | {request_id("t2")}
    assert retain(store, drafts_days=1).given_up == 0
    assert there(store, again) == {"t2"}


def test_a_wave_of_which_nobody_can_tell_keeps_all(store: Store) -> None:
    decided(store, delivered=True)
    store.write(f"reruns/{WAVE}-{HERE['revision']}-1.json", b"{")
    assert retain(store, drafts_days=0, grace=NO_GRACE).given_up == 0


def test_a_wave_at_work_keeps_all_that_it_asked_for(store: Store) -> None:
    drawn = decided(store, delivered=False)
    assert retain(store, drafts_days=0, grace=NO_GRACE).given_up == 0

    facts.append(store, "assets", f"{WAVE}-{HERE['revision']}", [])
    assert retain(store, drafts_days=0, grace=NO_GRACE).given_up == 2
    # Another wave has asked for the same pictures just before they were given up.
    other = {"wave": "other", "revision": "ffffffff"}
    put(store, "waves", "run-2", other | {"file": "f", "spec": "{}", "realm": "sandbox"})
    put(store, "requests", "draft-2", *(ask(name, "draft", DRAFT_MODEL, **other) for name in FATES))
    assert retain(store, drafts_days=0, grace=NO_GRACE).deleted == 0
    assert there(store, drawn) == set(FATES)


def test_young_pictures_and_the_grace_are_respected(store: Store) -> None:
    drawn = decided(store, delivered=True)
    assert retain(store, drafts_days=1).given_up == 0
    assert retain(store, drafts_days=0).given_up == 2
    assert retain(store, drafts_days=0, grace=timedelta(hours=1)).deleted == 0
    assert there(store, drawn) == set(FATES)


def test_a_picture_that_a_final_carries_stays(store: Store) -> None:
    drawn = decided(store, delivered=True)
    carried = ask("final-t2", "final", DRAFT_MODEL, reference=drawn["t2"].sha256)
    put(store, "requests", "final-1", carried)
    assert retain(store, drafts_days=0, grace=NO_GRACE).given_up == 1
    retain(store, drafts_days=0, grace=NO_GRACE)
    assert there(store, drawn) == {"t1", "t2", "h1"}


def test_orphans_are_found_and_left_alone(store: Store) -> None:
    drawn = decided(store, delivered=True)
    orphan = put_image(store, b"\xff\xd8\xfforphan")
    put(store, "submissions", "s", {"job_id": "job-9", "request_id": "r", "attempt": 1})
    found = orphans(store)
    assert found.images == (orphan.path,)
    assert found.jobs == ("job-9",)
    assert store.exists(orphan.path)
    assert there(store, drawn) == set(FATES)


def test_only_tables_of_many_parts_are_compacted(store: Store) -> None:
    decided(store, delivered=True)
    for number in range(5):
        put(
            store,
            "findings",
            f"f-{number}",
            {"job_id": "j", "kind": "k", "key": str(number), "detail": ""},
        )
    assert compact(store, at_least=5) == {"findings": 5}
    assert compact(store, at_least=5) == {}
    (count,) = query(store, "SELECT count(*) AS n FROM findings")
    assert count["n"] == 5
