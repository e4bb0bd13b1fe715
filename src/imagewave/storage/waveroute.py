"""Has a wave's use cases choose the models that its file does not name."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from imagewave.storage.briefs import Brief
from imagewave.storage.catalog import UnknownModel
from imagewave.storage.catalog.routes import route
from imagewave.storage.wavecheck import LANES


def choose_models(
    document: Mapping[str, Any],
    tables: dict[str, Any],
    briefs: Sequence[Brief],
    lane: str,
    today: date | None,
) -> tuple[str, ...]:
    """Completes the tables `draft` and `final`; returns why so, () where nothing was chosen.

    A table of the `document` that names a model keeps all its own, and so does [final] with a size,
    a quality or a carry. What is wrong with a lane or a model, those find who check them.

    Raises:
        NoRoute: no model meets what the use cases need.
    """
    named = {
        name: set(table) if isinstance(table := document.get(name), dict) else set()
        for name in ("draft", "final")
    }
    routes_draft = "model" not in named["draft"]
    routes_final = not named["final"] & {"model", "size", "quality", "carry"}
    if not (routes_draft or routes_final) or lane not in LANES or not briefs:
        return ()
    draft, final = tables["draft"], tables["final"]
    try:
        found = route(
            [brief.use_case for brief in briefs],
            lane=lane,
            ratios=[brief.aspect_ratio for brief in briefs],
            draft_model=None if routes_draft else draft.model,
            draft_size=draft.size,
            today=today,
        )
    except UnknownModel:
        return ()
    if found is None:
        return ()
    if routes_draft:
        chosen = {
            "model": found.draft.model,
            "size": found.draft.size,
            "quality": found.draft.quality,
            "max_oversample": found.max_oversample,
        }
        kept = {name: value for name, value in chosen.items() if name not in named["draft"]}
        tables["draft"] = draft.model_copy(update=kept)
    if routes_final and found.final is None:
        tables["final"] = final.model_copy(update={"carry": "accept"})
    elif routes_final and found.final is not None:
        chosen = {
            "model": found.final.model,
            "size": found.final.size,
            "quality": found.final.quality,
        }
        tables["final"] = final.model_copy(update=chosen)
    return found.explanation
