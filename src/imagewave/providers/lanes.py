"""Which lanes a wave goes by: one for each model, opened and tried before anything is spent."""

import os
from collections.abc import Iterable, Mapping

from imagewave.errors import ImagewaveError
from imagewave.providers.protocol import Attended, Lane
from imagewave.providers.realm import realm_of
from imagewave.providers.registry import find_provider, open_lane, providers
from imagewave.storage.catalog import Model, find_model
from imagewave.storage.catalog.lanes import is_batch, lane_kinds
from imagewave.storage.realms import Realm
from imagewave.storage.store import Store
from imagewave.storage.waves.wave import Wave


class Lanes:
    """The lanes of one run, each opened and tried when it is first needed.

    `preferred` is the wave's own, which takes what it can.
    """

    def __init__(self, store: Store, preferred: str = "") -> None:
        self._store = store
        self._preferred = preferred
        self._open: dict[str, Lane] = {}

    def close(self) -> None:
        """Ends what this process does on jobs itself; see `Attended.close`."""
        for lane in self._open.values():
            if isinstance(lane, Attended):
                lane.close()

    def named(self, name: str) -> Lane:
        """The lane of this name; raises what `open` does."""
        self.open([name])
        return self._open[name]

    def open(self, names: Iterable[str]) -> None:
        """Opens these lanes and tries them, all before the store is marked as holding theirs.

        Raises:
            ImagewaveError: one cannot be opened, its provider refuses the key, some of this run's
                lanes are the sandbox and others are not, or the store holds another realm's
                pictures.
        """
        found = dict(self._open)
        for name in names:
            if name not in found:
                found[name] = open_lane(name, self._store)
                found[name].check_access()
        realms = {Realm(lane.realm) for lane in found.values()}
        if len(realms) > 1:
            raise _mixed(found)
        for realm in realms:
            self._store.mark_realm(realm)
        self._open = found

    def name_for(self, model: str) -> str:
        """The name of the lane that takes requests of this model."""
        return lane_name(find_model(model), self._preferred)

    def for_model(self, model: str) -> Lane:
        """The lane that takes requests of this model."""
        return self.named(self.name_for(model))


def lane_name(model: Model, preferred: str) -> str:
    """The wave's own lane where it reaches the model, else its provider's: batches first.

    Raises:
        ImagewaveError: no lane reaches the model.
    """
    alive = [lane for lane in model.lanes if model.on(lane).alive()] or model.lanes
    if preferred in alive:
        return preferred
    within_reach = [lane for lane in alive if lane in lane_kinds()]
    if not within_reach:
        raise ImagewaveError(
            f"No lane reaches the model {model.id!r}.",
            "`imagewave models --lane NAME` lists the models of a lane.",
        )
    return min(within_reach, key=lambda lane: not is_batch(lane))


def _mixed(lanes: Mapping[str, Lane]) -> ImagewaveError:
    """Some lanes draw stand-ins and others do not: no store may hold the pictures of both."""
    of_realm = {
        realm: " and ".join(sorted(name for name, lane in lanes.items() if lane.realm == realm))
        for realm in Realm
    }
    stand_ins = {name for name, lane in lanes.items() if lane.realm == Realm.SANDBOX}
    reached = [each for each in providers().values() if each.access]
    # Single calls go to whoever has a key.
    named = [each for each in reached if stand_ins & each.lanes.keys()] or reached
    addresses = [each.access.address for each in named if each.access]
    here = [name for name in addresses if realm_of(os.environ.get(name)) is Realm.SANDBOX]
    return ImagewaveError(
        f"The lanes of this wave do not go together: {of_realm[Realm.LIVE]} is live, and"
        f" {of_realm[Realm.SANDBOX]} is the sandbox, whose pictures are stand-ins.",
        f"Unset {' and '.join(here)}, and set the real service's key; or have every lane ask the"
        " sandbox.",
    )


def models_of(wave: Wave) -> list[str]:
    """The models that the wave asks, or may come to ask."""
    names = [wave.draft.model, wave.draft.fallback_model]
    if wave.final.carry != "accept":
        names += [wave.final.model, wave.final.fallback_model]
    if wave.judge.asks_model:
        names.append(wave.judge.model)
    if wave.expand.mode == "model":
        names.append(wave.expand.model)
    return [name for name in names if name]


def lanes_of(wave: Wave) -> list[str]:
    """The names of the lanes that the wave goes by, its own first."""
    lanes = (lane_name(find_model(model), wave.lane) for model in models_of(wave))
    return list(dict.fromkeys([wave.lane, *lanes]))


def providers_of(wave: Wave) -> set[str]:
    """The providers whose keys the wave needs.

    Raises:
        ImagewaveError: one is not installed.
    """
    return {find_provider(find_model(name).provider).name for name in models_of(wave)}
