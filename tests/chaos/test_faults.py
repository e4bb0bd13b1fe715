"""The fault matrix: what becomes of a wave when its provider misbehaves. One test, one row of
docs/reliability.md. Faults are the sandbox's, outside our process; the client is the real one."""

import resource
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.chaos.bench import (
    SETTINGS,
    assert_money,
    assert_no_fact_twice,
    check_exactly_once,
    wait_until,
)
from tests.chaos.rounds import Bench, settling

from imagewave.flows.settle import Waiting, harvest
from imagewave.sandbox.embedded import EmbeddedSandbox
from imagewave.storage.money.ledger import Ledger
from imagewave.storage.store import StoreError

pytestmark = pytest.mark.slow


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


PLAIN = ("a red tulip", "a green bench", "a blue boat", "a white house")

# Nothing of these reaches the results: the wave ends as if they had not been.
UNNOTICED: dict[str, dict[str, Any]] = {
    "create accepted, the connection dropped": {"create_dropped": 1},
    "create dropped before it was accepted": {"create_unheard": 1},
    "create 429": {"create_429": 1},
    "create 429 with RetryInfo": {"create_429": {"times": 2, "retry_after": 0.5}},
    "create 500, not accepted": {"create_500": 1},
    "create 500, accepted": {"create_500": {"accepted": True}},
    "create 503 with RetryInfo": {"create_503": {"retry_after": 0.5}},
    "create 503, accepted": {"create_503": {"accepted": True}},
    "create dropped and the list lags": {
        "create_dropped": 1,
        "list_lag": {"seconds": 0.4},
    },
    "upload 500": {"upload_500": 2},
    "list 500": {"create_dropped": 1, "list_500": 2},
    "get 500": {"get_500": 2},
    "download dropped at 10 %": {"download_dropped": {"times": 3, "fraction": 0.1}},
    "download dropped at 50 %": {"download_dropped": {"times": 3, "fraction": 0.5}},
    "download dropped at 90 %": {"download_dropped": {"times": 3, "fraction": 0.9}},
    "download 500": {"download_500": 2},
    "lines end in CRLF": {"result_crlf": 1},
    "no newline at the end": {"result_no_final_newline": 1},
    "a line of 30 MB": {"result_long_line": 1},
    "invalid UTF-8": {"result_invalid_utf8": 1},
}


@pytest.mark.parametrize("fault", UNNOTICED)
def test_unnoticed(fault: str, bench: Bench) -> None:
    bench.arm(**UNNOTICED[fault])

    bench.settle(*PLAIN)

    assert check_exactly_once(bench.store, bench.billed()) == 1.0
    assert bench.statuses() == {"image": 4}
    assert len(bench.provider_jobs()) == 1


def test_a_list_that_lags_for_five_seconds_does_not_lead_to_a_second_job(bench: Bench) -> None:
    bench.arm(create_dropped=1, list_lag={"seconds": 5.0})

    bench.settle(*PLAIN, wait="list_lag_seconds = 7")

    assert len(bench.provider_jobs()) == 1
    assert check_exactly_once(bench.store, bench.billed()) == 1.0
    (job,) = bench.sql("SELECT message FROM raw_jobs WHERE event = 'accepted'")
    assert job["message"] == "adopted"


def test_a_list_that_lags_longer_than_allowed_for_pays_twice_and_loses_nothing(
    bench: Bench,
) -> None:
    """The residual window of docs/reliability.md: the allowance is what keeps it shut."""
    bench.arm(create_dropped=1, list_lag={"seconds": 2.0})
    with bench.run(wait="list_lag_seconds = 0.2") as run:
        bench.settle_in(run, bench.asks(PLAIN))
        assert len(bench.provider_jobs()) == 2
        both = {job["name"] for job in bench.provider_jobs()}
        wait_until(lambda: both <= {name for name, _ in run.lane.listed()}, "the list")

        while harvest(run):
            pass
        before = bench.statuses()
        assert harvest(run) == []

    assert bench.statuses() == before == {"image": 8}
    assert bench.findings() == {"second job": 1}
    assert check_exactly_once(bench.store, bench.billed()) == 1.0


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("job_failed", "JOB_FAILED"),
        ("job_cancelled", "JOB_CANCELLED"),
        ("job_expired", "JOB_EXPIRED"),
    ],
)
def test_a_job_that_ends_without_results_is_asked_for_again(
    fault: str, reason: str, bench: Bench
) -> None:
    bench.arm(**{fault: 1})

    bench.settle(*PLAIN)

    # Attempts are facts: four that brought nothing and cost nothing, four that brought a picture.
    assert bench.statuses() == {f"missing {reason}": 4, "image": 4}
    assert max(Counter(line["key"] for line in bench.billed()).values()) == 1
    assert_money(bench.store, bench.billed())


def test_a_job_that_always_fails_is_tried_three_times(bench: Bench) -> None:
    bench.arm(job_failed=9)

    outcome = bench.settle(*PLAIN)

    assert bench.statuses() == {"missing JOB_FAILED": 12}
    assert len(bench.provider_jobs()) == 3
    assert {answer.status for answer in outcome.answers.values()} == {"missing"}
    assert_money(bench.store, bench.billed())


def test_of_a_partial_job_only_the_rest_is_asked_for_again(bench: Bench) -> None:
    bench.arm(job_partial=1)

    bench.settle(*PLAIN)

    assert bench.statuses() == {"missing MISSING_KEY": 2, "image": 4}
    assert len(bench.billed()) == 4
    assert_money(bench.store, bench.billed())


def test_results_that_are_gone_are_not_paid_for_a_second_time(bench: Bench) -> None:
    bench.arm(result_gone=1)

    bench.settle(*PLAIN)

    assert bench.statuses() == {"missing RESULTS_GONE": 4}
    assert bench.findings()["results gone"] == 1
    assert len(bench.provider_jobs()) == 1
    # What was billed is not known, so it is charged as estimated, not as nothing.
    charged = Ledger(bench.store).state().captured["faults"]
    assert abs(charged - bench.usd()) < bench.usd() / 100


def test_a_job_that_was_deleted_at_the_provider_is_not_paid_for_again(bench: Bench) -> None:
    bench.arm(job_stuck=1)
    with pytest.raises(Waiting):
        bench.settle(*PLAIN, patient=False)
    (job,) = bench.provider_jobs()
    delete = urllib.request.Request(
        f"{bench.sandbox.url}/v1beta/{job['name']}",
        method="DELETE",
        headers={"x-goog-api-key": "sandbox"},
    )
    urllib.request.urlopen(delete, timeout=30).close()

    bench.settle(*PLAIN)

    assert bench.statuses() == {"missing RESULTS_GONE": 4}
    assert bench.provider_jobs() == []
    assert not Ledger(bench.store).open_holds()


@pytest.mark.parametrize(
    ("defect", "expected", "found"),
    [
        # The line stands there twice: one picture, billed once.
        ("key_duplicate", {"image": 4}, {"duplicate key": 1}),
        # Its picture is kept, but nobody knows whose it is: the request is asked for again.
        (
            "key_missing x1",
            {"image": 4, "missing MISSING_KEY": 1},
            {"line without key": 1, "missing key": 1},
        ),
        (
            "key_unknown x1",
            {"image": 4, "missing MISSING_KEY": 1},
            {"unknown key": 1, "missing key": 1},
        ),
        # Nobody can see this: two pictures change places, and each is judged by its looks.
        ("key_swapped", {"image": 4}, {}),
    ],
)
def test_suspect_keys_are_findings(
    defect: str, expected: dict[str, int], found: dict[str, int], bench: Bench
) -> None:
    bench.settle(f"[[sandbox:{defect}]] a red tulip", *PLAIN[1:])

    assert bench.statuses() == expected
    assert bench.findings() == found
    assert_no_fact_twice(bench.store)
    assert_money(bench.store, bench.billed())
    # Every picture that was billed is in the store, whoever it belongs to.
    paid = [line for line in bench.billed() if line["outcome"] == "image"]
    kept = bench.sql("SELECT image FROM images")
    assert len(kept) == len({line["key"] for line in paid})


@pytest.mark.parametrize(
    ("defect", "attempts"),
    [
        ("bad_base64 x1", ["failed INVALID_BASE64", "image"]),
        ("corrupt x1", ["failed UNDECODABLE", "image"]),
        ("truncated x1", ["failed UNDECODABLE", "image"]),
        ("bomb", ["failed UNDECODABLE", "failed UNDECODABLE"]),
        ("no_image x1", ["failed NO_IMAGE", "image"]),
        ("error_13 x1", ["failed INTERNAL", "image"]),
        ("error_8 x2", ["failed RESOURCE_EXHAUSTED", "failed RESOURCE_EXHAUSTED", "image"]),
        ("error_13", ["failed INTERNAL", "failed INTERNAL", "failed INTERNAL"]),
        ("error_3", ["failed INVALID_ARGUMENT"]),
        ("usage_missing", ["image"]),
    ],
)
def test_the_table_of_failures_decides_about_another_try(
    defect: str, attempts: list[str], bench: Bench
) -> None:
    bench.settle(f"[[sandbox:{defect}]] a red tulip", "a green bench")

    rows = bench.sql(
        "SELECT status, reason, attempt FROM attempts JOIN requests USING (wave, request_id)"
        " WHERE prompt_id = '0' ORDER BY attempt"
    )
    assert [f"{row['status']} {row['reason']}".strip() for row in rows] == attempts
    assert [row["attempt"] for row in rows] == list(range(1, len(attempts) + 1))
    # Each attempt is sent and billed once, the broken one as well if the provider bills it.
    asked = Counter(
        row["request_id"] for row in bench.sql("SELECT request_id FROM raw_submissions")
    )
    assert Counter(line["key"] for line in bench.billed()) == asked
    assert_no_fact_twice(bench.store)
    if defect != "usage_missing":
        assert_money(bench.store, bench.billed())


def test_an_answer_without_usage_is_charged_as_estimated(bench: Bench) -> None:
    bench.settle("[[sandbox:usage_missing]] a red tulip")

    assert bench.findings() == {"no usage": 1}
    charged = Ledger(bench.store).state().captured["faults"]
    assert abs(charged - bench.usd()) < bench.usd() / 100


@pytest.mark.parametrize("defect", ["block_safety", "finish_prohibited", "block_image_safety"])
def test_a_refused_request_is_never_resent(defect: str, bench: Bench) -> None:
    outcome = bench.settle(f"[[sandbox:{defect}]] a red tulip", "a green bench")

    assert sorted(answer.status for answer in outcome.answers.values()) == ["image", "refused"]
    assert check_exactly_once(bench.store, bench.billed()) == 1.0


def test_a_truncated_file_costs_its_last_line_only(bench: Bench) -> None:
    bench.arm(result_truncated=1)

    bench.settle(*PLAIN)

    statuses = bench.statuses()
    assert statuses["image"] == 4
    assert statuses.total() == 5
    # The cut line's tokens cannot be read: it is charged as estimated.
    charged = Ledger(bench.store).state().captured["faults"]
    assert abs(charged - bench.usd()) < bench.usd() / 100
    assert bench.findings()["no usage"] == 1


def test_a_disk_that_is_full_stops_the_wave_and_loses_nothing(bench: Bench) -> None:
    """No file may grow beyond 40 kB: the kernel refuses each picture as it would on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, hard))
    try:
        with pytest.raises(StoreError, match="images/"):
            bench.settle(*PLAIN)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert bench.statuses() == {}
    assert len(Ledger(bench.store).open_holds()) == 1

    bench.settle(*PLAIN)

    assert bench.statuses() == {"image": 4}
    assert len(bench.provider_jobs()) == 1
    assert check_exactly_once(bench.store, bench.billed()) == 1.0
    images = Path(bench.store.url, "images").rglob("*")
    assert len([path for path in images if path.is_file()]) == 4  # nothing half written is left
