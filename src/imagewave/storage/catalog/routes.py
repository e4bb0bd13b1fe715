"""Routing: from what a picture is for to the cheapest models that can do it, and why these.

The needs are data (`routes.toml`), so is what models are good at; prices and pixels come from the
catalog. Nobody pays for 4K to deliver a thumbnail.
"""

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from importlib import resources
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from imagewave.errors import ImagewaveError
from imagewave.storage.catalog import NOTICE, CatalogError, Model, find_model, models
from imagewave.storage.catalog.lanes import batch_lane
from imagewave.storage.catalog.prices import UnknownPrice, estimate

USER_ROUTES = "IMAGEWAVE_ROUTES"
"""Environment variable: path of a TOML file of the form of routes.toml that overrides it."""

# Words of a prompt, for comparing prices.
_PROMPT_CHARS = 300


class NoRoute(ImagewaveError):
    """No model that is known meets what the use cases need."""


class Need(BaseModel):
    """What one use of a picture needs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    edge: int = Field(ge=1, le=100_000)
    abilities: tuple[str, ...] = ()
    rough: bool = False
    max_oversample: float = Field(default=4, ge=1, le=100)
    why: str = ""


class _Routes(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    use: Mapping[str, Need] = Field(default_factory=dict)
    abilities: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A model at a size and quality: the longest `edge` in pixels that every ratio gets at least,
    the price per picture, and why it is this one."""

    model: str
    size: str
    quality: str | None
    edge: int
    usd: Decimal
    why: str = ""

    @property
    def label(self) -> str:
        """Size and quality in words."""
        return " ".join(filter(None, (self.size, self.quality)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """What a wave of some use cases should be made with; no `final`: the drafts will do."""

    draft: Choice
    final: Choice | None
    max_oversample: float
    explanation: tuple[str, ...]


def known_uses() -> tuple[str, ...]:
    """The use cases that have needs."""
    return tuple(_routes(os.environ.get(USER_ROUTES, "")).use)


def route(
    use_cases: Sequence[str],
    *,
    lane: str,
    ratios: Sequence[str],
    draft_model: str | None = None,
    draft_size: str | None = None,
    today: date | None = None,
) -> Route | None:
    """The cheapest way to meet what all of the use cases need; None where none of them is known.

    `draft_model` and `draft_size` are those that the drafts must have. Models that retire within 30
    days, or whose licence forbids commercial use, are left out.

    Raises:
        NoRoute: nothing meets it in this lane; says what each model lacks.
        UnknownModel: there is no such `draft_model`.
        CatalogError: the file named by $IMAGEWAVE_ROUTES cannot be used.
    """
    table = _routes(os.environ.get(USER_ROUTES, ""))
    needs = {use: table.use[use] for use in dict.fromkeys(use_cases) if use in table.use}
    if not needs:
        return None
    edge = max(need.edge for need in needs.values())
    abilities = {ability for need in needs.values() for ability in need.abilities}
    frame = _Frame(table, lane, tuple(dict.fromkeys(ratios)), today or datetime.now(UTC).date())
    draft = frame.cheapest(find_model(draft_model) if draft_model else None, size=draft_size)
    able = _models_with(table, abilities)
    final = None
    too_rough = draft.quality is not None and not all(need.rough for need in needs.values())
    if draft.edge < edge or (able is not None and draft.model not in able) or too_rough:
        final = frame.cheapest(None, edge=edge, able=able, quality=_MIDDLE)
    said = [f"{use} needs {need.edge} pixels{_also(need)}" for use, need in needs.items()]
    said.append(f"drafts by {draft.model} {draft.label}: {draft.why}")
    if final:
        said.append(f"finals by {final.model} {final.label}: {final.why}")
    else:
        said.append("no finals: the drafts are good enough for that, so they are delivered")
    return Route(
        draft=draft,
        final=final,
        max_oversample=max(need.max_oversample for need in needs.values()),
        explanation=tuple(said),
    )


_LOWEST, _MIDDLE = 0.0, 0.5


@dataclass(frozen=True, slots=True)
class _Frame:
    """What every model has to fit into."""

    table: _Routes
    lane: str
    ratios: tuple[str, ...]
    today: date

    def cheapest(
        self,
        only: Model | None,
        *,
        size: str | None = None,
        edge: int = 0,
        able: set[str] | None = None,
        quality: float = _LOWEST,
    ) -> Choice:
        """The cheapest of all models, or of `only` one, at the smallest size with that edge.

        `size`: at this one.
        """
        found: list[Choice] = []
        lacking: list[str] = []
        for model in [only] if only else [m for m in models() if self._is_candidate(m)]:
            fits = self._size(model, edge, (size,) if size else model.sizes)
            if able is not None and model.id not in able:
                lacking.append(f"{model.id} is not known to be able to")
            elif fits is None:
                lacking.append(f"{model.id} is too small, or lacks an aspect ratio")
            else:
                try:
                    found.append(self._choice(model, fits, quality))
                except UnknownPrice:
                    lacking.append(f"{model.id} has no known price")
        if not found:
            raise NoRoute(
                f"No model of {self.lane} can draw that: {'; '.join(lacking) or 'none is there'}.",
                "Name models under [draft] and [final], or another lane.",
            )
        found.sort(key=lambda choice: (choice.usd, choice.model))
        best, *others = found
        why = f"${best.usd:.4f}"
        if others:
            why += f", the cheapest; {others[0].model} {others[0].label} ${others[0].usd:.4f}"
        if lacking:
            why += f"; {', '.join(lacking)}"
        return replace(best, why=why)

    def _is_candidate(self, model: Model) -> bool:
        lives = (model.released is None or model.released <= self.today) and (
            model.shutdown is None or model.shutdown - self.today > NOTICE
        )
        return model.kind == "image" and self.lane in model.lanes and lives and model.commercial_use

    def _size(self, model: Model, edge: int, sizes: Sequence[str]) -> str | None:
        """The smallest of the sizes at which all the wave's ratios have that edge."""
        for size in sizes:
            pixels = [model.pixels.get((ratio, size)) for ratio in self.ratios]
            if all(each and max(each) >= edge for each in pixels):
                return size
        return None

    def _choice(self, model: Model, size: str, quality: float) -> Choice:
        qualities = model.qualities
        level = qualities[int(quality * len(qualities))] if qualities else None
        usd = estimate(
            model,
            lane=self.lane,
            size=size,
            quality=level,
            aspect_ratio=self.ratios[0],
            prompt_chars=_PROMPT_CHARS,
            thinking="minimal",
            today=self.today,
        )
        return Choice(
            model=model.id,
            size=size,
            quality=level,
            edge=min(max(model.pixels[ratio, size]) for ratio in self.ratios),
            usd=usd,
        )


def cheapest_reader(provider: str, today: date | None = None) -> str | None:
    """The provider's cheapest model that looks at pictures and writes; None: it has none."""
    day = today or datetime.now(UTC).date()
    found = []
    for model in models():
        # One that retires soon is nothing to begin with.
        lives = model.shutdown is None or model.shutdown - day > NOTICE
        if model.provider != provider or model.kind != "text" or not (lives and model.lanes):
            continue
        try:
            usd = estimate(
                model,
                lane=batch_lane(model) or model.lanes[0],
                prompt_chars=_PROMPT_CHARS,
                references=1,
                today=day,
            )
        except UnknownPrice:
            continue
        found.append((usd, model.id))
    return min(found)[1] if found else None


def _models_with(table: _Routes, abilities: set[str]) -> set[str] | None:
    """The models that have all of the abilities; None where none is asked for."""
    if not abilities:
        return None
    return set.intersection(*(set(table.abilities.get(ability, ())) for ability in abilities))


def _also(need: Need) -> str:
    return "".join(f", {ability}" for ability in need.abilities) + (
        f" ({need.why})" if need.why else ""
    )


@cache
def _routes(user_file: str) -> _Routes:
    text = resources.files(__package__).joinpath("routes.toml").read_text("utf-8")
    document = tomllib.loads(text)
    if user_file:
        try:
            theirs = tomllib.loads(Path(user_file).read_text("utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise CatalogError(
                f"The routes file {user_file!r} cannot be read: {error}.",
                f"Correct or unset ${USER_ROUTES}.",
            ) from error
        document = {
            name: document.get(name, {}) | theirs.get(name, {})
            for name in dict.fromkeys([*document, *theirs])
        }
    try:
        return _Routes.model_validate(document)
    except ValidationError as error:
        [first, *_] = error.errors()
        place = ".".join(map(str, first["loc"]))
        raise CatalogError(
            f"The routes file {user_file!r} is wrong at {place}: {first['msg']}.",
            f"Correct or unset ${USER_ROUTES}.",
        ) from error
