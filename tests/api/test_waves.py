"""`import imagewave as iw`: load, plan, run, rerun, once, and what they raise."""

from decimal import Decimal
from pathlib import Path

import pytest
from tests.api.conftest import HURRY, WAVE, Bench, Ran, keys
from tests.servers import environment

import imagewave as iw

pytestmark = pytest.mark.heavy

# One draft, which is the final: the shortest wave there is.
SHORT = (
    HURRY
    + """
[wave]
name = "short"
[draft]
max_rounds = 1
max_oversample = 1
[judge]
enabled = false
[final]
carry = "accept"
[[brief]]
id = "tulips"
text = "{text}"
"""
)


def short(text: str = "red tulips") -> str:
    return SHORT.replace("{text}", text)


class TestLoad:
    def test_a_wave_file_is_read(self, tmp_path: Path) -> None:
        path = tmp_path / "wave.toml"
        path.write_text(WAVE)

        wave = iw.load(path)

        assert isinstance(wave, iw.Wave)
        assert [brief.want for brief in wave.briefs] == [2, 1]

    def test_every_fault_of_a_file_is_told_with_its_line(self, tmp_path: Path) -> None:
        path = tmp_path / "wave.toml"
        path.write_text('[wave]\nname = "A wave"\nlan = "gpu"\n[[brief]]\nid = "a"\ntext = "a"\n')

        with pytest.raises(iw.WaveFileError) as caught:
            iw.load(path)

        assert [(problem.line, problem.key) for problem in caught.value.problems] == [
            (2, "wave.name"),
            (3, "wave.lan"),
        ]
        assert isinstance(caught.value, iw.ImagewaveError)


class TestPlan:
    def test_a_wave_is_priced_without_a_store_or_a_key(self, tmp_path: Path) -> None:
        path = tmp_path / "wave.toml"
        path.write_text(WAVE)

        planned = iw.plan(path, store=tmp_path / "none")

        assert isinstance(planned, iw.Plan)
        assert planned.usd.low <= planned.usd.middle <= planned.usd.high
        assert planned.wanted == 3
        assert not (tmp_path / "none").exists()

    def test_other_models_are_put_beside_it(self, tmp_path: Path) -> None:
        path = tmp_path / "wave.toml"
        path.write_text(WAVE)

        lite, none = iw.compare(path, ["nano banana 2 lite", "no-such-model"], store=tmp_path / "s")

        assert lite.plan is not None
        assert none.plan is None
        assert "no-such-model" in none.problem

    def test_what_was_paid_is_put_beside_it(self, ran: Ran) -> None:
        checks = iw.check_plan(ran.file, store=ran.store)
        assert sum(check.usd for check in checks) == ran.result.usd


class TestRun:
    def test_it_returns_what_the_wave_came_to(self, ran: Ran) -> None:
        result = ran.result

        assert result.delivered
        assert result.funnel.want == result.funnel.final == len(result.assets) == 3
        assert result.usd == result.new_usd == ran.bench.bill()
        assert result.usd == sum(line.usd for line in result.bill)
        assert result.usd_per_accepted == pytest.approx(result.usd / 3)
        assert [*result.open_jobs, *result.owed_jobs, *result.briefs_short] == []
        assert "<html" in Path(result.report).read_text()
        assert "final 3" in str(result)

    def test_its_progress_is_told_stage_by_stage(self, ran: Ran) -> None:
        stages = list(dict.fromkeys(progress.stage for progress in ran.told))
        assert stages[:3] == ["draft 1", "screen draft 1", "judge draft 1"]
        assert "final 1" in stages
        assert stages[-2:] == ["deliver", "report"]
        last = [progress for progress in ran.told if progress.stage == "draft 1"][-1]
        assert last.requests_done == last.requests > 0

    def test_again_it_is_free(self, ran: Ran) -> None:
        billed = ran.bench.billed()
        with environment(**keys(ran.bench.url)):
            again = iw.run(iw.load(ran.file), store=ran.store)
        assert again.new_usd == again.new_answers == 0
        assert again.assets == ran.result.assets
        assert again.usd == ran.result.usd
        assert ran.bench.billed() == billed

    @pytest.mark.slow
    def test_an_interrupt_in_the_callback_loses_nothing(self, bench: Bench) -> None:
        file = bench.write(WAVE)
        stages: list[str] = []

        def interrupt(progress: iw.Progress) -> None:
            # At the first word of each stage: while it is with the provider, or between two.
            if progress.stage not in stages:
                stages.append(progress.stage)
                raise KeyboardInterrupt

        tries = 0
        while not (tries and iw.Store(bench.store).result("covers").delivered):
            tries += 1
            assert tries < 20
            try:
                iw.run(file, store=bench.store, progress=interrupt)
            except KeyboardInterrupt:
                continue

        result = iw.run(file, store=bench.store)
        billed = [line["key"] for line in bench.billed()]
        assert len(stages) >= 8
        assert len(billed) == len(set(billed)), "a request was billed twice"
        assert result.usd == bench.bill()
        assert result.funnel.final == 3

    def test_a_callback_that_fails_ends_no_wave(
        self, bench: Bench, caplog: pytest.LogCaptureFixture
    ) -> None:
        def broken(progress: iw.Progress) -> None:
            raise ZeroDivisionError

        result = iw.run(bench.write(short()), store=bench.store, progress=broken)

        assert result.delivered
        assert "could not be shown" in caplog.text

    def test_a_budget_that_is_too_small_stops_it_before_it_spends(self, bench: Bench) -> None:
        file = bench.write(WAVE + "[budget]\nwave_usd = 0.01\n")

        with pytest.raises(iw.BudgetExceeded) as caught:
            iw.run(file, store=bench.store)

        assert caught.value.limit == Decimal("0.01")
        assert bench.billed() == []
        assert [stop.wave for stop in iw.Store(bench.store).status().stopped] == ["covers"]

    def test_a_wave_that_does_not_wait_says_what_is_with_its_provider(self, bench: Bench) -> None:
        file = bench.write(WAVE)

        begun = iw.run(file, store=bench.store, wait=False)

        assert not begun.delivered
        assert [job.kind for job in begun.open_jobs] == ["draft"]
        assert begun.held_usd > 0
        assert "waits for its provider" in str(begun)
        assert iw.run(file, store=bench.store).delivered

    @pytest.mark.parametrize("how", ["in memory", "in its file"])
    def test_what_was_not_looked_at_is_not_paid_for(self, bench: Bench, how: str) -> None:
        file = bench.write(short())
        wave = iw.load(file)
        if how == "in memory":
            wave = wave.model_copy(update={"briefs": ()})
        else:
            bench.write(short("red roses"))

        with pytest.raises(iw.ImagewaveError, match=r"differ now: briefs"):
            iw.run(wave, store=bench.store)

        assert bench.billed() == []


def test_what_was_refused_is_made_again_by_name(bench: Bench) -> None:
    file = bench.write(short("red tulips [[sandbox:block_safety x1]]"))
    first = iw.run(file, store=bench.store)
    assert [(brief.brief, brief.final) for brief in first.briefs_short] == [("tulips", 0)]
    assert iw.plan_rerun(file, store=bench.store).requests == ()

    planned = iw.plan_rerun("short", refused=True, store=bench.store)
    again = iw.rerun("short", refused=True, store=bench.store)

    assert [(each.redo.brief, each.status) for each in planned.requests] == [("tulips", "refused")]
    assert planned.price.requests > 0
    assert again.funnel.final == 1
    assert again.new_answers == 1
    assert again.usd == bench.bill()
    with pytest.raises(iw.ImagewaveError, match="Did you mean 'tulips'"):
        iw.rerun(file, briefs=["tulip"], store=bench.store)


class TestOnce:
    def test_pictures_come_at_once_and_again_for_nothing(self, bench: Bench) -> None:
        told: list[iw.Progress] = []
        first = iw.once("a red bicycle", n=2, store=bench.store, progress=told.append)
        again = iw.once("a red bicycle", n=2, store=bench.store)

        assert len(first.assets) == 2
        assert len({asset.read() for asset in first.assets}) == 2
        assert first.new_usd == first.usd == bench.bill() > 0
        assert told[-1].requests_done == 2
        assert again.new_usd == 0
        assert again.assets == first.assets

    def test_what_did_not_come_is_counted_by_its_reason(self, bench: Bench) -> None:
        result = iw.once("a bicycle [[sandbox:block_safety]]", n=2, store=bench.store)
        assert result.missing == {"PROMPT_SAFETY": 2}
        assert result.assets == ()

    def test_beyond_its_limit_nothing_is_sent(self, bench: Bench) -> None:
        with pytest.raises(iw.BudgetExceeded, match="50 pictures would cost about") as caught:
            iw.once("a bicycle", n=50, max_usd=0.01, store=bench.store)
        assert "wave file" not in str(caught.value)
        assert bench.billed() == []

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ({"n": 0}, "n: 0 is not possible"),
            ({"size": "9K"}, "size: "),
            ({"aspect_ratio": "5:1"}, "aspect_ratio: "),
            ({"max_usd": "cheap"}, "max_usd: 'cheap'"),
            ({"max_usd": -1}, "max_usd: -1 is not possible"),
            ({"model": "gpt-image-1"}, "model: "),
        ],
    )
    def test_an_argument_that_makes_no_sense_is_named(
        self, tmp_path: Path, arguments: dict[str, int | str], said: str
    ) -> None:
        with pytest.raises(iw.ImagewaveError) as caught:
            iw.once("a bicycle", store=tmp_path / "store", **arguments)  # type: ignore[arg-type]
        assert str(caught.value).startswith(said)
        assert not (tmp_path / "store").exists()
