"""Checks a wave against the catalog: its models, and what they draw, take and offer."""

from collections.abc import Collection
from datetime import date

from imagewave.storage import catalog
from imagewave.storage.catalog.lanes import draws_on_your_gpus, lane_kinds, on_your_gpus
from imagewave.storage.waves.checks import Fault
from imagewave.storage.waves.toml_lines import KeyPath
from imagewave.storage.waves.wave import Draft, Expand, Final, Judge


class ModelCheck:
    """Turns the models, sizes and thinking levels that a wave names into those that it gets.

    Gathers `faults` and `warnings`; the tables it returns are complete where there is no fault.
    """

    def __init__(self, lane: str, today: date | None) -> None:
        # With a lane that does not exist, which is a fault of its own, any lane may be meant.
        self._every_lane = set(lane_kinds())
        self._lanes = {lane} if lane in self._every_lane else self._every_lane
        # Bulk drafts come from your GPUs, and finals perhaps from somebody's API.
        self._other_lanes = self._every_lane if on_your_gpus(lane) else self._lanes
        self._today = today
        self.faults: list[Fault] = []
        self.warnings: list[str] = []
        self.image_models: list[catalog.Model] = []

    def expand(self, table: Expand) -> Expand:
        if table.mode != "model":
            return table
        model = self._model(("expand", "model"), table.model, "text")
        return table.model_copy(update={"model": model.id}) if model else table

    def judge(self, table: Judge) -> Judge:
        if not table.asks_model:
            if table.enabled and table.brand_rules:
                self.warnings.append('With [judge] by = "local", brand_rules are not looked at.')
            return table
        model = self._model(("judge", "model"), table.model, "text")
        return table.model_copy(update={"model": model.id}) if model else table

    def draft(self, table: Draft) -> Draft:
        model = self._model(("draft", "model"), table.model, "image")
        if model is None:
            return table
        self.image_models.append(model)
        least = "minimal" if "minimal" in model.thinking else None
        return table.model_copy(
            update={
                "model": model.id,
                "size": self._size("draft", table.size, model),
                "quality": self._quality("draft", table.quality, model, at=0),
                "thinking": self._thinking("draft", table.thinking, model) or least,
                "fallback_model": self._fallback("draft", table.fallback_model, model),
                **self._on_own_gpus("draft", table, model),
            }
        )

    def final(self, table: Final) -> Final:
        if table.carry == "accept":
            return table
        model = self._model(("final", "model"), table.model, "image", self._other_lanes)
        if model is None:
            return table
        self.image_models.append(model)
        if table.carry == "reference":
            self._takes_references(model, ("final", "carry"))
        if table.carry == "seed" and not draws_on_your_gpus(model):
            self.warnings.append(
                f"The seeds of {model.id!r} are hints that do not reproduce a draft: "
                'carry = "reference" keeps its intent.'
            )
        return table.model_copy(
            update={
                "model": model.id,
                "size": self._size("final", table.size, model),
                "quality": self._quality(
                    "final", table.quality, model, at=len(model.qualities) // 2
                ),
                "thinking": self._thinking("final", table.thinking, model),
                "fallback_model": self._fallback(
                    "final", table.fallback_model, model, carries=table.carry == "reference"
                ),
                **self._on_own_gpus("final", table, model),
            }
        )

    def _fallback(self, table: str, name: str, first: catalog.Model, carries: bool = False) -> str:
        """The id of the model that takes over from the first one; "" where none is named."""
        path = (table, "fallback_model")
        model = self._model(path, name, "image", self._other_lanes) if name else None
        if model is None:
            return ""
        if model.id == first.id:
            message = f"{model.id!r} is the model that it is to take over from."
            self.faults.append(Fault(path=path, message=message, fix="Name another model."))
        if carries:
            self._takes_references(model, path)
        self.image_models.append(model)
        return model.id

    def _on_own_gpus(
        self, table: str, given: Draft | Final, model: catalog.Model
    ) -> dict[str, object]:
        """Steps and guidance as they will be used; a fault where the model has neither."""
        if draws_on_your_gpus(model):
            return {
                "steps": given.steps or model.steps,
                "guidance": model.guidance if given.guidance is None else given.guidance,
            }
        for key in ("steps", "guidance", "loras"):
            if getattr(given, key):
                message = f"{model.id!r} is not rendered on your GPUs, so it has no {key}."
                fault = Fault(path=(table, key), message=message, fix=f"Leave {key} out.")
                self.faults.append(fault)
        return {}

    def _takes_references(self, model: catalog.Model, path: KeyPath) -> None:
        if model.reference_limit < 1:
            self.faults.append(
                Fault(
                    path=path,
                    message=f"the model {model.id!r} takes no reference images.",
                    fix='Use carry = "seed", carry = "accept", or another model.',
                )
            )

    def ratio_fault(self, ratio: str, path: KeyPath, brief: int | None = None) -> None:
        """Notes a fault if one of the wave's image models does not draw this aspect ratio."""
        for model in self.image_models:
            if ratio in model.ratios:
                continue
            common = [
                r for r in model.ratios if all(r in other.ratios for other in self.image_models)
            ]
            self.faults.append(
                Fault(
                    path=path,
                    message=f"{model.id!r} does not draw the aspect ratio {ratio[:40]!r}.",
                    fix=f"Choose one of {', '.join(common)}.",
                    brief=brief,
                )
            )
            return

    def _model(
        self, path: KeyPath, name: str, kind: str, lanes: Collection[str] | None = None
    ) -> catalog.Model | None:
        """The model, if it lives, is of that kind and is reached by one of the lanes (None: the
        wave's)."""
        # What judges or writes has a lane of its own where another provider draws.
        allowed = self._every_lane if kind == "text" else set(lanes or self._lanes)
        try:
            model = catalog.find_model(name)
            reaching = [model.on(lane) for lane in model.lanes if lane in allowed]
            # One lane on which it lives is enough.
            best = max(reaching, key=lambda on: on.shutdown or date.max, default=model)
            warning = catalog.require_alive(best, self._today)
        except (catalog.UnknownModel, catalog.RetiredModel) as error:
            self.faults.append(Fault(path=path, message=error.message, fix=error.fix))
            return None
        if warning and warning not in self.warnings:
            self.warnings.append(warning)
        if model.kind != kind:
            self._refuse(path, f"{model.id!r} is a model for {model.kind}s, not {kind}s.", kind)
            return None
        if not reaching:
            tried = " or ".join(sorted(allowed))
            self._refuse(path, f"{model.id!r} cannot be reached by {tried}.", kind)
            return None
        return model

    def _refuse(self, path: KeyPath, message: str, kind: str) -> None:
        others = [
            m.id
            for m in catalog.models()
            if m.kind == kind and m.alive(self._today) and self._lanes & set(m.lanes)
        ]
        fix = f"Choose one of {', '.join(others)}." if others else ""
        self.faults.append(Fault(path=path, message=message, fix=fix))

    def _size(self, table: str, size: str | None, model: catalog.Model) -> str | None:
        if size is None:
            return model.default_size
        if size.upper() in model.sizes:
            return size.upper()
        self._choose((table, "size"), size, "size", model.sizes, model)
        return None

    def _quality(self, table: str, level: str | None, model: catalog.Model, at: int) -> str | None:
        """The quality to ask for, never left to the model: that would leave it the bill, too."""
        if level is None:
            return model.qualities[at] if model.qualities else None
        if level not in model.qualities:
            self._choose((table, "quality"), level, "quality", model.qualities, model)
        return level

    def _thinking(self, table: str, level: str | None, model: catalog.Model) -> str | None:
        if level is not None and level not in model.thinking:
            self._choose((table, "thinking"), level, "thinking level", model.thinking, model)
        return level

    def _choose(
        self,
        path: KeyPath,
        given: str,
        what: str,
        allowed: Collection[str],
        model: catalog.Model,
    ) -> None:
        fix = f"Choose one of {', '.join(allowed)}." if allowed else f"Leave {path[-1]} out."
        self.faults.append(
            Fault(
                path=path,
                message=f"{model.id!r} has no {what} {given[:40]!r}.",
                fix=fix,
            )
        )
