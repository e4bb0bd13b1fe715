"""What every lane promises, over HTTP against a service that stands in for its provider's."""

import io
from decimal import Decimal
from typing import Any

import pytest
from PIL import Image

from imagewave.providers.protocol import (
    JobState,
    Lane,
    NoResults,
    Rejected,
    ResultsGone,
    Unavailable,
    Unsure,
)
from imagewave.storage.catalog import find_model
from imagewave.storage.requests import FailureClass, Kind, Request, Status
from imagewave.testing.bench import BAD_KEY, Bench, Retired, a_picture, fields_of


class LaneContract:
    """Every lane."""

    def test_it_says_who_it_is(self, bench: Bench) -> None:
        lane: Lane = bench.lane
        assert (lane.name, lane.realm) == (bench.way.lane, bench.way.realm)
        assert lane.max_requests >= 100
        assert lane.max_bytes >= 10_000_000
        assert lane.name in find_model(bench.way.model).lanes

    def test_its_cost_is_what_the_provider_bills(self, bench: Bench) -> None:
        requests = [
            *bench.drafts(3),
            bench.draft("x [[sandbox:finish_safety]]"),
            bench.draft("x [[sandbox:max_tokens]]"),
            bench.draft("x [[sandbox:error_3]]"),
        ]
        outcomes = bench.outcomes(*requests)
        if bench.way.costs_time:
            assert bench.bill() == 0
            assert bench.cost(*outcomes.values()) > 0
            return
        assert bench.bill() > 0
        assert bench.cost(*outcomes.values()) == bench.bill()

    def test_reading_results_again_gives_the_same_and_bills_nothing(self, bench: Bench) -> None:
        requests = bench.drafts(3)
        name = bench.create(*requests)
        bench.finish(name)
        billed = bench.billed()
        first = [(o.key, o.text, bytes(o.image or b"")) for o in bench.results(name, *requests)]
        again = bench.open()
        wants = bench.way.gives is Status.IMAGE
        outcomes = again.results(name, lambda key: wants)
        second = [(o.key, o.text, bytes(o.image or b"")) for o in outcomes]
        assert first == second
        assert again.poll(name).state is JobState.SUCCEEDED
        assert bench.billed() == billed

    def test_a_job_is_found_by_its_whole_token_alone(self, bench: Bench) -> None:
        name = bench.create(bench.draft(), token=f"{bench.token}-whole")
        assert bench.lane.find(f"{bench.token}-whole") == [name]
        assert bench.lane.find(f"{bench.token}-who") == []

    def test_a_cancelled_job_ends_and_what_it_billed_is_in_its_results(self, bench: Bench) -> None:
        requests = bench.drafts(30)
        name = bench.create(*requests)
        bench.lane.cancel(name)
        assert bench.finish(name) in (JobState.CANCELLED, JobState.SUCCEEDED)
        try:
            outcomes = bench.results(name, *requests)
        except ResultsGone:
            outcomes = []
        assert {outcome.key for outcome in outcomes} <= {request.id for request in requests}
        answered = [outcome for outcome in outcomes if outcome.usage is not None]
        if bench.way.partly:
            assert len(answered) == len(bench.billed())
        if not bench.way.costs_time:
            assert bench.cost(*outcomes) == bench.bill()

    def test_cancelling_what_is_over_is_no_error(self, bench: Bench) -> None:
        name = bench.create(bench.draft())
        bench.finish(name)
        bench.lane.cancel(name)
        assert bench.lane.poll(name).state is JobState.SUCCEEDED

    def test_a_job_that_does_not_exist_is_a_clean_no(self, bench: Bench) -> None:
        with pytest.raises(Rejected):
            bench.lane.poll(bench.way.unknown_job)

    def test_no_input_is_larger_than_the_lane_s_limit(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(type(bench.lane), "max_bytes", 1000)
        with pytest.raises(Rejected, match="fewer requests"):
            bench.create(*bench.drafts(20))
        assert bench.billed() == []


class DrawingContract:
    """Lanes that draw."""

    def test_every_request_gets_its_own_picture(self, bench: Bench) -> None:
        requests = bench.drafts(6)
        across, _, down = bench.way.ratio.partition(":")
        outcomes = bench.outcomes(*requests)
        assert outcomes.keys() == {request.id for request in requests}
        for outcome in outcomes.values():
            assert outcome.status is Status.IMAGE, outcome
            assert outcome.usage is not None
            assert outcome.usage.image_tokens > 0 or outcome.usage.gpu_seconds
            assert outcome.image is not None
            with Image.open(io.BytesIO(outcome.image)) as picture:
                picture.load()
                ratio = picture.width / picture.height
            assert ratio == pytest.approx(int(across) / int(down), rel=0.03)
        assert len({bytes(outcome.image or b"") for outcome in outcomes.values()}) == 6


class JudgingContract:
    """Lanes that look at pictures and answer by a schema."""

    def test_a_judge_answers_in_its_schema(self, bench: Bench) -> None:
        judge = bench.judgement("judge it")
        outcome = bench.outcomes(judge)[judge.id]
        assert outcome.status is Status.TEXT, outcome
        assert fields_of(outcome) == {"score", "reason"}


class ServiceContract:
    """Lanes to a service, which has keys, refuses, errs and loses things."""

    def test_a_good_key_is_let_in_and_a_bad_one_named(self, bench: Bench) -> None:
        bench.lane.check_access()
        with pytest.raises(Rejected, match=r"Check \w+_API_KEY"):
            bench.open(BAD_KEY).check_access()

    def test_refusals_and_errors_are_outcomes_of_their_class(self, bench: Bench) -> None:
        gives = bench.way.gives
        wanted: dict[str, tuple[Status, FailureClass | None]] = {
            "error_3": (Status.FAILED, FailureClass.INVALID),
            "error_8": (Status.FAILED, FailureClass.TRANSIENT),
            "error_13": (Status.FAILED, FailureClass.TRANSIENT),
            "usage_missing": (gives, None),
        }
        if bench.way.refuses:
            wanted["block_safety"] = (Status.REFUSED, FailureClass.REFUSED)
        if gives is Status.IMAGE and bench.way.refuses:
            wanted["finish_image_safety"] = (Status.REFUSED, FailureClass.REFUSED)
        if gives is Status.IMAGE:
            wanted |= {
                "no_image": (Status.FAILED, FailureClass.BROKEN),
                "bad_base64": (Status.FAILED, FailureClass.BROKEN),
            }
        else:
            wanted["max_tokens"] = (Status.FAILED, FailureClass.INVALID)
        requests = {defect: bench.draft(f"tulips [[sandbox:{defect}]]") for defect in wanted}
        outcomes = bench.outcomes(*requests.values())
        found = {
            defect: (outcomes[request.id].status, outcomes[request.id].failure)
            for defect, request in requests.items()
        }
        assert found == wanted
        reasons = [o.reason for o in outcomes.values() if o.status is not gives]
        assert all(reason and reason == reason.upper() for reason in reasons)

    def test_references_are_sent_in_their_order(self, bench: Bench) -> None:
        asked: list[str] = []

        def read_image(sha256: str) -> bytes:
            asked.append(sha256)
            return a_picture(sha256)

        final = bench.draft("again", references=("a" * 64, "b" * 64))
        handle = bench.lane.prepare([final], read_image, "input")
        name = bench.lane.create(handle, final.model, "token")
        bench.finish(name)
        [outcome] = bench.results(name, final)
        assert outcome.status is bench.way.gives
        assert asked == ["a" * 64, "b" * 64]
        if not bench.way.costs_time:
            last = Decimal(bench.billed()[-1]["usd"])
            assert bench.cost(outcome) == last.quantize(Decimal("1e-9"))

    def test_a_job_that_lost_something_gives_up_the_rest(self, bench: Bench) -> None:
        bench.service.arm(**{bench.way.partly: 1})
        requests = bench.drafts(4)
        name = bench.create(*requests)
        bench.finish(name)
        outcomes = bench.results(name, *requests)
        given = [outcome for outcome in outcomes if outcome.status is bench.way.gives]
        assert len(given) in (2, 3)
        for outcome in outcomes:
            if outcome not in given:
                lost = (outcome.status, outcome.failure)
                assert lost == (Status.MISSING, FailureClass.TRANSIENT)


class RetirementContract:
    """Lanes to providers that have retired a model which the catalog knows."""

    def test_a_retired_model_draws_nothing_and_bills_nothing(self, bench: Bench) -> None:
        way = bench.way
        request = Request(kind=Kind.DRAFT, model=way.retired_model, prompt="tulips")
        if way.retired is Retired.AT_CREATE:
            with pytest.raises(Rejected) as caught:
                bench.create(request)
            assert caught.value.failure is FailureClass.INVALID
        elif way.retired is Retired.IN_THE_JOB:
            name = bench.create(request)
            assert bench.finish(name) is JobState.FAILED
            assert way.retired_model in bench.lane.poll(name).message
        else:
            assert bench.outcomes(request)[request.id].failure is FailureClass.INVALID
        assert bench.bill() == 0


class BatchContract:
    """Lanes whose provider takes jobs: their list tells what came of a doubtful one."""

    @pytest.mark.parametrize(
        ("fault", "accepted"),
        [
            ({"create_unheard": 1}, 0),
            ({"create_dropped": 1}, 1),
            ({"create_500": 1}, 0),
            ({"create_500": {"accepted": True}}, 1),
            ({"create_503": {"accepted": True}}, 1),
        ],
    )
    def test_doubt_is_unsure_asked_once_and_resolved_by_the_list(
        self, bench: Bench, fault: dict[str, Any], accepted: int
    ) -> None:
        request = bench.draft()
        handle = bench.lane.prepare([request], a_picture, "input")
        before = bench.service.jobs()
        bench.service.arm(**fault)
        with pytest.raises(Unsure):
            bench.lane.create(handle, request.model, bench.token)
        assert bench.service.jobs() == before + accepted
        assert len(bench.find(bench.token)) == accepted

    def test_a_quota_is_a_clean_no_with_its_wait(self, bench: Bench) -> None:
        request = bench.draft()
        handle = bench.lane.prepare([request], a_picture, "input")
        before = bench.service.jobs()
        bench.service.arm(create_429={"retry_after": 7.5})
        with pytest.raises(Rejected) as caught:
            bench.lane.create(handle, request.model, "token")
        assert (caught.value.failure, caught.value.retry_after) == (FailureClass.TRANSIENT, 7.5)
        assert bench.service.jobs() == before

    @pytest.mark.parametrize("size", [1, 2, 100])
    def test_find_pages_through_everything(
        self, bench: Bench, size: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        names = [bench.create(bench.draft(), token=f"{bench.token}-{n}") for n in (0, 1, 0, 2)]
        monkeypatch.setattr(bench.way.page_size, size)
        assert sorted(bench.lane.find(f"{bench.token}-0")) == sorted([names[0], names[2]])
        assert bench.lane.find(f"{bench.token}-1") == [names[1]]

    @pytest.mark.parametrize("size", [1, 100])
    def test_every_job_is_listed_with_its_token(
        self, bench: Bench, size: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tokens = [f"{bench.token}-{n}" for n in "010"]
        made = [(bench.create(bench.draft(), token=token), token) for token in tokens]
        monkeypatch.setattr(bench.way.page_size, size)
        listed = [pair for pair in bench.lane.listed() if bench.token in pair[1]]
        assert sorted(listed) == sorted(made)

    def test_a_job_whose_answer_was_lost_is_listed_once_it_has_ended(self, bench: Bench) -> None:
        handle = bench.lane.prepare([bench.draft()], a_picture, "input")
        bench.service.arm(create_dropped=1)
        with pytest.raises(Unsure):
            bench.lane.create(handle, bench.way.model, bench.token)
        (name,) = bench.find(bench.token)
        bench.finish(name)
        assert (name, bench.token) in list(bench.lane.listed())

    def test_a_list_that_keeps_failing_is_no_empty_list(self, bench: Bench) -> None:
        name = bench.create(bench.draft(), token=bench.token)
        bench.service.arm(list_500=2)
        assert bench.lane.find(bench.token) == [name]
        bench.service.arm(list_500=3)
        with pytest.raises(Unavailable):
            bench.lane.find(bench.token)

    @pytest.mark.parametrize("fraction", [0.1, 0.9])
    def test_a_download_that_drops_loses_and_repeats_nothing(
        self, bench: Bench, fraction: float
    ) -> None:
        requests = bench.drafts(6)
        name = bench.create(*requests)
        bench.finish(name)
        bench.service.arm(download_dropped={"times": 5, "fraction": fraction}, download_500=1)
        keys = [outcome.key for outcome in bench.results(name, *requests)]
        assert keys == [request.id for request in requests]

    @pytest.mark.parametrize("fraction", [0.0, 0.5])
    def test_an_answer_that_ends_early_without_a_length_is_not_the_file(
        self, bench: Bench, fraction: float
    ) -> None:
        requests = bench.drafts(6)
        name = bench.create(*requests)
        bench.finish(name)
        bench.service.arm(download_short={"fraction": fraction})
        keys = [outcome.key for outcome in bench.results(name, *requests)]
        assert keys == [request.id for request in requests]

    def test_a_job_that_names_no_results_may_name_them_later(self, bench: Bench) -> None:
        name = bench.create(bench.draft())
        bench.finish(name)
        bench.service.arm(output_unnamed=1)
        with pytest.raises(NoResults):
            bench.results(name)
        assert len(bench.results(name)) == 1

    def test_results_that_are_not_there_for_now_come_later(self, bench: Bench) -> None:
        name = bench.create(bench.draft())
        bench.finish(name)
        bench.service.arm(download_404=3)
        with pytest.raises(ResultsGone):
            bench.results(name)
        bench.service.disarm()
        assert len(bench.results(name)) == 1

    def test_results_that_were_deleted_are_gone(self, bench: Bench) -> None:
        bench.service.arm(result_gone=1)
        name = bench.create(bench.draft())
        bench.finish(name)
        with pytest.raises(ResultsGone):
            bench.results(name)

    @pytest.mark.parametrize(
        ("fault", "lost"),
        [("result_crlf", 0), ("result_no_final_newline", 0), ("result_truncated", 1)],
    )
    def test_damage_to_the_file_costs_at_most_the_damaged_line(
        self, bench: Bench, fault: str, lost: int
    ) -> None:
        bench.service.arm(**{fault: 1})
        outcomes = bench.outcomes(*bench.drafts(4))
        broken = [o for o in outcomes.values() if o.status is not bench.way.gives]
        assert [outcome.failure for outcome in broken] == [FailureClass.BROKEN] * lost

    def test_a_bad_key_is_in_no_message(self, bench: Bench) -> None:
        bench.lane = bench.open(BAD_KEY)
        with pytest.raises(Rejected) as caught:
            bench.create(bench.draft())
        assert "secret" not in str(caught.value)
        assert "secret" not in repr(bench.lane)
