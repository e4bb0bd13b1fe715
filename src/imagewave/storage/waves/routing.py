"""Chooses the models that a wave's file does not name: by its use cases, and by its keys."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from imagewave.storage.catalog import UnknownModel, find_model
from imagewave.storage.catalog.lanes import lane_kinds
from imagewave.storage.catalog.routes import cheapest_reader, route
from imagewave.storage.waves.briefs import Brief


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
    if not (routes_draft or routes_final) or lane not in lane_kinds() or not briefs:
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


def choose_readers(document: Mapping[str, Any], tables: dict[str, Any], today: date | None) -> None:
    """Has a judge and a writer that the document does not name be of the pictures' own provider.

    Where the wave's pictures need one key, the rest is not to need another. Waves that need a
    Gemini key anyway, and those whose pictures come from your GPUs, keep the defaults.
    """
    draft, final = tables["draft"], tables["final"]
    drawn_by = [draft.model] + ([final.model] if final.carry != "accept" else [])
    try:
        providers = [find_model(name).provider for name in drawn_by]
    except UnknownModel:  # a fault of its own
        return
    used = {"judge": tables["judge"].asks_model, "expand": tables["expand"].mode == "model"}
    for name in used:
        if not used[name] or _names(document, name):
            continue
        if find_model(tables[name].model).provider in providers:
            continue
        for provider in providers:
            if reader := cheapest_reader(provider, today):
                tables[name] = tables[name].model_copy(update={"model": reader})
                break


def _names(document: Mapping[str, Any], table: str) -> bool:
    return isinstance(found := document.get(table), dict) and "model" in found
