"""What a seed stands for: the waves, who runs them, and what goes wrong how often."""

from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from random import Random

from tests.simulation.provider import LANE, MODEL, OTHER_MODEL
from tests.simulation.scheduler import Weather

from imagewave.storage.catalog import find_model
from imagewave.storage.catalog.prices import estimate
from imagewave.storage.requests import Kind, Request
from imagewave.storage.rounds.rounds import Ask
from imagewave.storage.waves.briefs import Brief
from imagewave.storage.waves.wave import Budget, Draft, Wait, Wave

CALLS = "interactive"


@dataclass(frozen=True, slots=True, kw_only=True)
class WavePlan:
    """A wave: its requests by number, its lane, the processes that run it, and its budget.

    One that is not `patient` is handed over: its runs do not wait, `watch` goes on with it.
    """

    name: str
    requests: tuple[int, ...]
    lane: str = LANE
    processes: int = 1
    patient: bool = True
    fallback: bool = False
    wave_usd: Decimal | None = None
    day_usd: Decimal | None = None

    @property
    def wave(self) -> Wave:
        """The wave file, as it would be read."""
        return _wave(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that is decided before the first step."""

    seed: int
    waves: tuple[WavePlan, ...]
    weather: Weather


def plan(seed: int) -> Plan:
    """What the seed stands for. Each run has some of the faults, by chance, and some often."""
    random = Random(f"plan {seed}")
    waves = _waves(random)
    calls = any(wave.lane == CALLS for wave in waves)

    def some(most: float, share: float = 0.4) -> float:
        return most * random.random() ** 2 if random.random() < share else 0.0

    weather = Weather(
        quiet_at=random.choice((600.0, 3600.0, 4 * 3600.0)),
        sticky=random.choice((0.0, 0.0, 0.5, 0.9)),
        slow=some(0.2),
        slowest=random.choice((5.0, 60.0, 300.0, 900.0)),
        freeze=some(0.02),
        kill=some(0.03),
        jump=some(0.01, 0.2),
        store=some(0.03, 0.25),
        create=some(0.3, 0.6),
        ask=some(0.1),
        download=some(0.3),
        lag=some(1.0),
        hidden=some(0.5, 0.3),
        fate=some(0.5, 0.3),
        line=some(0.5, 0.3),
        call=some(0.4, 0.7) if calls else 0.0,
        lost=some(0.5, 0.1),
        twin=some(0.3, 0.05),
        remains=some(0.2, 0.05),
    )
    return Plan(seed=seed, waves=waves, weather=weather)


def _waves(random: Random) -> tuple[WavePlan, ...]:
    count = random.choice((1, 1, 2, 2, 3))
    share = random.random() < 0.8
    handed_over = random.random() < 0.25
    day = ESTIMATE * random.choice((2, 4)) + _CENT if random.random() < 0.1 else None
    waves = []
    for number in range(count):
        first = 0 if share else 10 * number
        budget = ESTIMATE * random.choice((1, 2, 3, 5)) + _CENT if random.random() < 0.25 else None
        waves.append(
            WavePlan(
                name=f"wave-{number + 1}",
                requests=tuple(
                    first + n for n in sorted(random.sample(range(5), random.randint(1, 4)))
                ),
                lane=CALLS if random.random() < 0.2 and not handed_over else LANE,
                processes=random.choice((1, 1, 2, 2, 3)) if count < 3 else 1,
                patient=not handed_over,
                fallback=random.random() < 0.2,
                wave_usd=budget,
                day_usd=day,
            )
        )
    return tuple(waves)


@cache
def _wave(planned: WavePlan) -> Wave:
    return Wave(
        name=planned.name,
        lane=planned.lane,
        briefs=(Brief(id="brief", text="a picture", want=1),),
        draft=Draft(model=MODEL, fallback_model=OTHER_MODEL if planned.fallback else ""),
        budget=Budget(wave_usd=planned.wave_usd, day_usd=planned.day_usd),
        wait=Wait(poll_seconds=(10.0, 300.0)),
    )


@cache
def ask(number: int, lane: str) -> Ask:
    """The ask of that number: the same request in every wave."""
    prompt = f"picture {number}"
    return Ask(
        brief="brief",
        prompt_id=str(number),
        request=Request(kind=Kind.DRAFT, model=MODEL, prompt=prompt, aspect_ratio="1:1", size="1K"),
        estimate_usd=estimate(
            find_model(MODEL), lane=lane, size="1K", prompt_chars=len(prompt), aspect_ratio="1:1"
        ),
    )


_CENT = Decimal("0.01")
ESTIMATE = ask(0, LANE).estimate_usd
