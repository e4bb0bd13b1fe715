"""The views: what a store answers about its waves."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from tests.storage.builders import (
    DRAFT_MODEL,
    FINAL_MODEL,
    JUDGE_MODEL,
    REVISION,
    WAVE,
    ask,
    image_id,
    job,
    put,
    request_id,
    result,
    small_wave,
    usd,
)

from imagewave.storage.facts import analytics, facts
from imagewave.storage.facts.tables import COLUMNS
from imagewave.storage.money.ledger import Budget, Ledger
from imagewave.storage.store import Store

pytestmark = pytest.mark.heavy


@pytest.fixture
def wave(local_store: Store) -> Store:
    """A store with one small wave in it."""
    small_wave(local_store)
    return local_store


def one(store: Store, sql: str, *params: object) -> dict[str, Any]:
    [row] = analytics.query(store, sql, params)
    return row


def column(store: Store, sql: str) -> list[Any]:
    return [value for row in analytics.query(store, sql) for value in row.values()]


# The questions that the views answer.


def test_the_funnel_narrows_brief_by_brief(wave: Store) -> None:
    assert analytics.query(wave, "FROM funnel ORDER BY brief") == [
        {
            "wave": WAVE,
            "brief": "harbour",
            "want": 1,
            "requested": 3,
            "generated": 3,
            "passed_screens": 3,
            "judged_ok": 2,
            "accepted": 1,
            "final": 1,
        },
        {
            "wave": WAVE,
            "brief": "tulips",
            "want": 2,
            "requested": 4,
            "generated": 3,
            "passed_screens": 2,
            "judged_ok": 2,
            "accepted": 2,
            "final": 2,
        },
    ]


def test_a_brief_nothing_was_done_for_is_in_the_funnel(wave: Store) -> None:
    put(
        wave,
        "briefs",
        "more",
        {"wave": WAVE, "revision": REVISION, "brief": "lake", "text": "A lake", "want": 1},
    )
    row = one(wave, "FROM funnel WHERE brief = 'lake'")
    assert [row["requested"], row["generated"], row["accepted"], row["final"]] == [0, 0, 0, 0]
    assert row["judged_ok"] is None


def test_every_attempt_is_paid_once_in_its_wave(wave: Store) -> None:
    paid = analytics.query(
        wave, "SELECT brief, kind, sum(cost_usd) AS usd FROM costs GROUP BY ALL ORDER BY ALL"
    )
    assert [tuple(row.values()) for row in paid] == [
        ("harbour", "draft", Decimal("0.080000000")),
        ("harbour", "expand", Decimal("0.002000000")),
        ("harbour", "final", Decimal("0.070000000")),
        ("harbour", "judge", Decimal("0.001500000")),
        ("tulips", "draft", Decimal("0.061000000")),
        ("tulips", "final", Decimal("0.140000000")),
        ("tulips", "judge", Decimal("0.001000000")),
    ]


def test_what_jobs_captured_is_what_their_results_cost(wave: Store) -> None:
    assert (
        column(
            wave,
            "SELECT job_id FROM jobs LEFT JOIN costs USING (job_id)"
            " GROUP BY job_id, captured_usd HAVING captured_usd <> coalesce(sum(cost_usd), 0)",
        )
        == []
    )


def test_cost_per_accepted_by_wave_brief_model_and_template(wave: Store) -> None:
    rows = analytics.query(wave, "FROM cost_per_accepted WHERE wave = ?", [WAVE])
    table = {
        (row["per"], row["key"]): (row["generated"], row["accepted"], row["cost_usd"],
                                   row["cost_per_accepted"])
        for row in rows
    }  # fmt: skip
    assert table == {
        ("wave", WAVE): (6, 3, usd("0.3555"), usd("0.1185")),
        ("brief", "tulips"): (3, 2, usd("0.202"), usd("0.101")),
        ("brief", "harbour"): (3, 1, usd("0.1535"), usd("0.1535")),
        ("model", DRAFT_MODEL): (6, 3, usd("0.141"), usd("0.047")),
        ("model", FINAL_MODEL): (3, 3, usd("0.21"), usd("0.07")),
        ("template", "{text} at dawn"): (2, 2, usd("0.04"), usd("0.02")),
        ("template", "{text} at noon"): (1, 0, usd("0.021"), None),
        ("template", "(model)"): (3, 1, usd("0.08"), usd("0.08")),
    }


def test_an_asset_leads_back_to_its_brief(wave: Store) -> None:
    row = one(wave, "FROM lineage WHERE asset = ?", f"assets/{WAVE}/harbour/h1.jpg")
    recorded_at = row.pop("recorded_at")
    assert recorded_at <= datetime.now(UTC).replace(tzinfo=None)
    assert row == {
        "asset": f"assets/{WAVE}/harbour/h1.jpg",
        "wave": WAVE,
        "brief": "harbour",
        "brief_text": "A quiet harbour",
        "prompt_id": "p-model",
        "prompt": "A harbour in mist, boats asleep",
        "prompt_source": "model",
        "template": "",
        "prompt_model": JUDGE_MODEL,
        "draft_request_id": request_id("h1"),
        "draft_image": image_id("h1"),
        "draft_model": DRAFT_MODEL,
        "sample": 4,
        "seed": 104,
        "draft_reused": False,
        "draft_job_id": "job-again",
        "draft_provider_job": "batches/job-again",
        "draft_cost_usd": usd("0.02"),
        "screens": "passed 2",
        "judge_score": 0.7,
        "judge_model": JUDGE_MODEL,
        "judge_reason": "as asked",
        "final_request_id": request_id("final-h1"),
        "final_image": image_id("final-h1"),
        "final_model": FINAL_MODEL,
        "final_size": "2K",
        "final_job_id": "job-final",
        "final_provider_job": "batches/job-final",
        "final_cost_usd": usd("0.07"),
        "asset_image": image_id("final-h1"),
    }


def test_every_asset_has_one_line(wave: Store) -> None:
    assert column(wave, "SELECT asset FROM lineage ORDER BY asset") == column(
        wave, "SELECT asset FROM assets ORDER BY asset"
    )


def test_a_draft_delivered_as_it_is_has_no_final(wave: Store) -> None:
    put(
        wave,
        "assets",
        "accept",
        {
            "wave": WAVE,
            "revision": REVISION,
            "brief": "harbour",
            "asset": "h3.jpg",
            "image": image_id("h3"),
            "request_id": request_id("h3"),
            "draft_image": image_id("h3"),
        },
    )
    row = one(wave, "FROM lineage WHERE asset = 'h3.jpg'")
    assert (row["draft_request_id"], row["draft_job_id"]) == (request_id("h3"), "job-draft")
    assert (row["final_request_id"], row["final_cost_usd"]) == (None, None)
    assert one(wave, "SELECT final FROM funnel WHERE brief = 'harbour'") == {"final": 2}


def test_finals_name_their_drafts(wave: Store) -> None:
    row = one(wave, "FROM finals WHERE request_id = ?", request_id("final-t1"))
    assert row["draft_request_id"] == request_id("t1")
    assert row["draft_image"] == image_id("t1")
    assert (row["model"], row["job_id"], row["cost_usd"]) == (FINAL_MODEL, "job-final", usd("0.07"))


def test_images_carry_what_was_measured(wave: Store) -> None:
    row = one(wave, "FROM images WHERE image = ?", image_id("t1"))
    assert (row["format"], row["width"], row["height"], row["blur"]) == ("jpeg", 1376, 768, 1.2)


# One effective result per request.


def test_an_image_outlives_a_later_failure(wave: Store) -> None:
    failed = {"status": "failed", "failure": "transient", "image": "", "attempt": 3}
    put(wave, "results", "late", result("h1", "job-3", "draft", DRAFT_MODEL, "0", **failed))
    row = one(wave, "FROM results WHERE request_id = ?", request_id("h1"))
    assert (row["status"], row["job_id"]) == ("image", "job-again")


def test_without_an_image_the_latest_attempt_tells(wave: Store) -> None:
    failed = {"status": "failed", "failure": "transient", "image": "", "attempt": 2}
    put(wave, "results", "late", result("t3", "job-3", "draft", DRAFT_MODEL, "0", **failed))
    row = one(wave, "FROM results WHERE request_id = ?", request_id("t3"))
    assert (row["status"], row["job_id"]) == ("failed", "job-3")


def test_a_refreshed_request_shows_its_newest_image(wave: Store) -> None:
    put(
        wave,
        "results",
        "refresh",
        result("t1", "job-9", "draft", DRAFT_MODEL, "0.02", wave="other", image="f" * 64),
    )
    assert one(wave, "FROM results WHERE request_id = ?", request_id("t1"))["image"] == "f" * 64
    lineage = one(wave, "FROM lineage WHERE asset LIKE '%t1.jpg'")
    assert lineage["draft_image"] == image_id("t1"), "what was delivered stays what it was"
    assert lineage["draft_job_id"] == "job-draft"


def test_answered_are_requests_with_an_image_or_text(wave: Store) -> None:
    names = ("t1", "t3", "expand", "never-asked")
    assert analytics.answered(wave, [request_id(name) for name in names]) == {
        request_id("t1"),
        request_id("expand"),
    }
    assert analytics.answered(wave, []) == set()


# Jobs.


def test_a_job_in_flight_holds_money(local_store: Store) -> None:
    claimed, accepted = job("job-1", "draft", DRAFT_MODEL, 5, None)
    put(local_store, "jobs", "claimed", claimed)
    row = one(local_store, "FROM jobs")
    assert (row["event"], row["held_usd"], row["captured_usd"]) == ("claimed", usd("0.3"), 0)
    put(local_store, "jobs", "accepted", accepted)
    row = one(local_store, "FROM jobs")
    assert (row["event"], row["held_usd"]) == ("accepted", usd("0.3"))
    assert row["provider_job"] == "batches/job-1"
    assert row["claimed_at"] < row["accepted_at"]
    assert row["settled_at"] is None


def test_a_settled_job_holds_nothing_more(local_store: Store) -> None:
    # Settled is last, whatever the clocks of the machines said.
    *open_, settled = job("job-1", "draft", DRAFT_MODEL, 5, "0.12")
    put(local_store, "jobs", "settled", settled)
    put(local_store, "jobs", "open", *open_)
    row = one(local_store, "FROM jobs")
    assert (row["event"], row["state"]) == ("settled", "succeeded")
    assert (row["estimate_usd"], row["held_usd"]) == (usd("0.3"), 0)
    assert row["captured_usd"] == usd("0.12")


def test_a_released_job_holds_nothing(local_store: Store) -> None:
    claimed, _ = job("job-1", "draft", DRAFT_MODEL, 5, None)
    put(local_store, "jobs", "claimed", claimed)
    put(local_store, "jobs", "released", claimed | {"event": "released", "message": "429"})
    row = one(local_store, "FROM jobs")
    assert (row["event"], row["held_usd"], row["message"]) == ("released", 0, "429")


def test_the_ledger_tells_every_movement_of_money(store: Store) -> None:
    ledger = Ledger(store)
    ledger.hold("job-1", WAVE, usd("0.5"), Budget())
    ledger.capture("job-1", usd("0.3"))
    ledger.capture_late("job-1", WAVE, usd("0.01"), "batches/job-1")
    rows = analytics.query(store, "SELECT * EXCLUDE (recorded_at) FROM ledger ORDER BY seq")
    assert [tuple(row.values()) for row in rows] == [
        (1, "hold", "job-1", WAVE, usd("0.5"), None, None),
        (2, "capture", "job-1", WAVE, usd("0.3"), 1, None),
        (3, "late", "job-1", WAVE, usd("0.01"), None, "batches/job-1"),
    ]
    [first, *_] = column(store, "SELECT recorded_at FROM ledger ORDER BY seq")
    assert timedelta() <= datetime.now(UTC).replace(tzinfo=None) - first < timedelta(minutes=5)
    ledger.hold("job-2", WAVE, usd("0.5"), Budget())
    assert column(store, "SELECT count(*) FROM ledger") == [4]


# Waves, revisions and reuse.


def new_revision(store: Store, revision: str, part: str) -> None:
    put(store, "waves", part, {"wave": WAVE, "revision": revision, "file": "spring.toml"})


def test_views_speak_of_the_current_revision(wave: Store) -> None:
    new_revision(wave, "ffffffff", "run-2")
    put(
        wave,
        "briefs",
        "run-2",
        {"wave": WAVE, "revision": "ffffffff", "brief": "tulips", "text": "Tulips", "want": 3},
    )
    assert analytics.query(wave, "SELECT brief, want, requested FROM funnel") == [
        {"brief": "tulips", "want": 3, "requested": 0}
    ]
    for view in ("prompts", "requests", "screens", "judgements", "decisions", "finals", "assets"):
        assert column(wave, f"SELECT count(*) FROM {view}") == [0], view
    assert one(wave, "SELECT sum(cost_usd) AS usd FROM costs") == {"usd": usd("0.3555")}
    assert one(wave, "SELECT accepted, cost_usd FROM cost_per_accepted WHERE per = 'wave'") == {
        "accepted": 0,
        "cost_usd": usd("0.3555"),
    }
    assert column(wave, "SELECT count(*) FROM every_briefs") == [3]


def test_going_back_to_a_revision_makes_it_current_again(wave: Store) -> None:
    new_revision(wave, "ffffffff", "run-2")
    new_revision(wave, REVISION, "run-3")
    assert column(wave, "SELECT revision FROM waves") == [REVISION]
    assert column(wave, "SELECT count(*) FROM briefs") == [2]
    assert column(wave, "SELECT count(*) FROM every_waves") == [2]


def test_a_reused_request_costs_the_second_wave_nothing(wave: Store) -> None:
    second = {"wave": "summer", "revision": "11111111"}
    put(wave, "waves", "summer", second)
    put(wave, "briefs", "summer", second | {"brief": "tulips", "text": "Tulips", "want": 1})
    put(wave, "requests", "summer", ask("t1", "draft", DRAFT_MODEL, **second, reused=True))
    row = one(wave, "SELECT requested, generated FROM funnel WHERE wave = 'summer'")
    assert row == {"requested": 1, "generated": 1}
    assert column(wave, "SELECT count(*) FROM costs WHERE wave = 'summer'") == [0]
    assert one(
        wave, "SELECT cost_usd FROM cost_per_accepted WHERE wave = 'summer' AND per = 'wave'"
    ) == {"cost_usd": 0}
    assert one(wave, "SELECT sum(cost_usd) AS usd FROM costs") == {"usd": usd("0.3555")}
    assert column(wave, "SELECT reused FROM requests WHERE wave = 'summer'") == [True]


def test_a_request_of_two_briefs_is_paid_once(wave: Store) -> None:
    put(wave, "requests", "shared", ask("t1", "draft", DRAFT_MODEL, brief="harbour"))
    assert one(wave, "SELECT sum(cost_usd) AS usd FROM costs") == {"usd": usd("0.3555")}
    assert column(
        wave, "SELECT requested FROM funnel WHERE brief IN ('harbour', 'tulips') ORDER BY brief"
    ) == [4, 4]


def test_the_last_round_decides(wave: Store) -> None:
    put(
        wave,
        "decisions",
        "round-2",
        {
            "wave": WAVE,
            "revision": REVISION,
            "brief": "tulips",
            "request_id": request_id("t2"),
            "tier": "draft",
            "round": 2,
            "decision": "rejected",
            "reason": "near-duplicate of t1",
        },
    )
    assert one(wave, "SELECT accepted FROM funnel WHERE brief = 'tulips'") == {"accepted": 1}
    assert column(wave, "SELECT count(*) FROM every_decisions WHERE brief = 'tulips'") == [4 + 2]


def test_a_judgement_that_failed_is_no_verdict(wave: Store) -> None:
    put(
        wave,
        "judgements",
        "again",
        {
            "wave": WAVE,
            "revision": REVISION,
            "brief": "tulips",
            "request_id": request_id("t1"),
            "judge_request_id": "again",
            "verdict": "failed",
        },
    )
    assert one(wave, "SELECT judged_ok FROM funnel WHERE brief = 'tulips'") == {"judged_ok": 2}
    assert one(wave, "FROM lineage WHERE asset LIKE '%t1.jpg'")["judge_score"] == 0.9


def test_a_fact_recorded_twice_counts_once(wave: Store) -> None:
    before = analytics.query(wave, "FROM funnel ORDER BY brief")
    for table in COLUMNS:
        with analytics.connect(wave, f"raw_{table}") as connection:
            cursor = connection.execute(f"SELECT * EXCLUDE (recorded_at) FROM raw_{table}")
            names = [name for name, *_ in cursor.description or ()]
            rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        facts.append(wave, table, "again", rows)
    assert column(wave, "SELECT count(*) FROM raw_results") == [2 * 17]
    assert column(wave, "SELECT count(*) FROM attempts") == [17]
    assert analytics.query(wave, "FROM funnel ORDER BY brief") == before
    assert one(wave, "SELECT sum(cost_usd) AS usd FROM costs") == {"usd": usd("0.3555")}
    assert column(wave, "SELECT count(*) FROM lineage") == [3]


# The connection.


def test_a_store_in_a_bucket_answers_like_one_on_disk(store: Store) -> None:
    small_wave(store)
    assert column(store, "SELECT sum(final) FROM funnel") == [3]
    put(
        store,
        "findings",
        "new",
        {"wave": WAVE, "job_id": "j", "kind": "k", "key": "", "detail": ""},
    )
    assert column(store, "SELECT count(*) FROM findings") == [2]


def test_a_connection_sees_the_facts_of_when_it_was_made(wave: Store) -> None:
    with analytics.connect(wave) as connection:
        before = connection.execute("SELECT count(*) FROM findings").fetchone()
        put(wave, "findings", "new", {"job_id": "j", "kind": "k", "key": "", "detail": ""})
        assert connection.execute("SELECT count(*) FROM findings").fetchone() == before
    assert column(wave, "SELECT count(*) FROM findings") == [2]


def test_a_snapshot_sees_the_facts_of_when_it_was_made(wave: Store) -> None:
    facts = analytics.Snapshot(wave)
    count = "SELECT count(*) AS found FROM findings"
    before = facts.query(count)
    put(wave, "findings", "new", {"job_id": "j", "kind": "k", "key": "", "detail": ""})
    assert facts.query(count) == before
    assert analytics.query(wave, count) == [{"found": 2}]


@pytest.mark.parametrize("view", [name for name, _ in analytics.views()])
def test_a_query_answers_as_a_connection_does(wave: Store, view: str) -> None:
    with analytics.connect(wave) as connection:
        expected = connection.execute(f"FROM {view}").fetchall()
    found = [tuple(row.values()) for row in analytics.query(wave, f"FROM {view}")]
    assert sorted(map(str, found)) == sorted(map(str, expected))


def test_a_query_may_name_parts_of_its_own(wave: Store) -> None:
    sql = """
    with mine AS (SELECT brief FROM briefs),
    joined AS (SELECT * FROM mine JOIN funnel USING (brief))
    SELECT brief FROM joined WHERE wave = $wave ORDER BY brief DESC LIMIT $most
    """
    briefs = analytics.query(wave, "SELECT brief FROM briefs ORDER BY brief DESC LIMIT 1")
    assert briefs
    assert analytics.query(wave, sql, {"wave": WAVE, "most": 1}) == briefs


def test_every_view_answers_on_an_empty_store(local_store: Store) -> None:
    with analytics.connect(local_store) as connection:
        for name, comment in analytics.views():
            assert connection.execute(f"FROM {name}").fetchall() == []
            assert comment.endswith("."), name


def test_the_views_of_the_contract_are_there() -> None:
    names = {name for name, _ in analytics.views()}
    assert names >= {
        "waves", "briefs", "prompts", "requests", "jobs", "attempts", "results", "images",
        "screens", "judgements", "decisions", "finals", "assets", "findings", "costs", "funnel",
        "cost_per_accepted", "lineage", "ledger",
    }  # fmt: skip


def test_a_query_makes_only_the_views_it_names(wave: Store) -> None:
    def made(sql: str) -> set[str]:
        with analytics.connect(wave, sql) as connection:
            views = connection.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal")
            return {name for (name,) in views.fetchall()}

    assert made("SELECT 1") == set()
    assert not analytics.asks_for_facts("SELECT 1")
    assert made("select * from FINDINGS") == {"raw_findings", "every_findings", "findings"}
    assert analytics.asks_for_facts("from Findings")
    assert analytics.asks_for_facts("from ledger")
    assert "lineage" in made("SHOW TABLES")


@pytest.mark.parametrize("view", ["funnel", "costs", "cost_per_accepted", "lineage", "finals"])
def test_a_view_made_alone_answers_as_among_all(wave: Store, view: str) -> None:
    with analytics.connect(wave) as connection:
        expected = connection.execute(f"FROM {view}").fetchall()
    with analytics.connect(wave, f"FROM {view}") as connection:
        assert sorted(connection.execute(f"FROM {view}").fetchall()) == sorted(expected)


def test_asking_imports_nothing_heavy(wave: Store) -> None:
    script = (
        "import sys; from imagewave.storage.facts import analytics; "
        "from imagewave.storage.store import Store; "
        f"analytics.query(Store.open({wave.url!r}), 'FROM funnel'); "
        "print(*sys.modules, sep='\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, env=os.environ
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert loaded & {"pyarrow", "pandas", "numpy", "pydantic", "fsspec", "s3fs", "prefect"} == set()


def test_every_view_is_explained_where_it_is_made() -> None:
    with analytics.connect(None) as connection:
        made = connection.execute(
            "SELECT view_name, comment FROM duckdb_views() WHERE NOT internal"
            " AND NOT starts_with(view_name, 'raw_') AND NOT starts_with(view_name, 'every_')"
            " ORDER BY view_oid"
        ).fetchall()
    assert made == analytics.views()


def test_times_are_utc_without_a_zone(wave: Store) -> None:
    [recorded_at] = column(wave, "SELECT recorded_at FROM findings")
    assert recorded_at.tzinfo is None
    assert datetime.now(UTC).replace(tzinfo=None) - recorded_at < timedelta(minutes=5)
