"""Checks what imagewave needs, and its catalog against what the providers list. Spends nothing.

Each check is one finding: what was looked at, whether it is well, what was seen, and the fix.
"""

import os
import platform
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from importlib import metadata
from pathlib import Path

import requests
from packaging.requirements import Requirement

from imagewave.errors import ImagewaveError
from imagewave.providers.environment import realm_here
from imagewave.providers.http.downloads import name_of_loss
from imagewave.providers.provider import Provider
from imagewave.providers.registry import providers, with_keys
from imagewave.storage import catalog
from imagewave.storage.catalog import USER_FILE, CatalogError, Model, UnknownModel
from imagewave.storage.catalog.data import user_ids
from imagewave.storage.catalog.lanes import draws_on_your_gpus, lane_kinds
from imagewave.storage.catalog.prices import (
    GPU_HOUR_VARIABLE,
    UnknownPrice,
    estimate,
    gpu_usd_per_hour,
)
from imagewave.storage.facts.mirror import cache_folder
from imagewave.storage.store import Store, StoreError
from imagewave.words import shown

LOW_SPACE, NO_SPACE = 10 * 10**9, 10**9
"""Bytes of free disk below which a store is warned of, and called unusable."""

PICTURE_BYTES = 1_500_000
"""Bytes of a picture as providers send it, about."""

_PYTHON = (3, 11)
_PREFECT_TIMEOUT_S = 5.0

# What the ids of models that draw have in common: gemini-…-image, …-nano-banana-…, gpt-image-…,
# imagen-…, dall-e-….
_DRAWS = re.compile(r"image|banana|dall-e")
_DATED = re.compile(r"-\d{4}-\d\d-\d\d$")


class State(StrEnum):
    """How a check ended: `fail` keeps waves from running, `warn` may surprise somebody."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check; `fix` is "" where there is nothing to do."""

    check: str
    state: State
    said: str
    fix: str = ""


def examine(
    url: str, environ: Mapping[str, str], *, sandboxed: Iterable[str] = ()
) -> Iterator[Finding]:
    """All checks, one after the other; the store is the one at `url`.

    `environ` has the keys and addresses to ask the providers with; those of the `sandboxed`
    providers are the embedded sandbox's.
    """
    yield _python()
    yield _libraries()
    yield _png()
    yield _compiled()
    yield _store(url, environ)
    yield _space(url)
    yield from _keys(environ, set(sandboxed))
    yield from _prefect(environ)
    yield from _catalog(environ, set(sandboxed))


def compare(provider: str, listed: Sequence[str], today: date) -> list[Finding]:
    """The catalog beside the models that the provider lists: a finding per kind of difference."""
    check = f"models of {provider}"
    ours = {model.id: model for model in catalog.models() if model.provider == provider}
    theirs = {_DATED.sub("", id) for id in listed}
    lost = [id for id, model in ours.items() if model.alive(today) and id not in theirs]
    back = [id for id, model in ours.items() if not model.alive(today) and id in theirs]
    new = sorted(id for id in theirs - ours.keys() if _DRAWS.search(id) and not _is_known(id))
    add = f"Add it to the file that ${USER_FILE} names, or upgrade imagewave."
    found = []
    if lost:
        said = f"not listed any more, though alive in the catalog: {', '.join(lost)}"
        fix = f"Do not use it; set its shutdown date in the file that ${USER_FILE} names."
        found.append(Finding(check=check, state=State.WARN, said=said, fix=fix))
    if new:
        said = f"listed, but not in the catalog: {', '.join(new)}"
        found.append(Finding(check=check, state=State.WARN, said=said, fix=add))
    if back:
        said = f"still listed, though gone by the catalog: {', '.join(back)}"
        fix = "Use the replacement that `imagewave models show` names."
        found.append(Finding(check=check, state=State.WARN, said=said, fix=fix))
    if not found:
        alive = sum(model.alive(today) for model in ours.values())
        said = f"lists every model that the catalog has alive ({alive}), and no new one that draws"
        found.append(Finding(check=check, state=State.OK, said=said))
    return found


def _is_known(id: str) -> bool:
    """Whether it is an alias of a model of the catalog."""
    try:
        catalog.find_model(id)
    except UnknownModel:
        return False
    return True


def _python() -> Finding:
    said = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info[:2] >= _PYTHON:
        return Finding(check="python", state=State.OK, said=said)
    fix = "Use Python 3.11 or later."
    return Finding(check="python", state=State.FAIL, said=said, fix=fix)


def _libraries() -> Finding:
    """Whether what imagewave is installed with is what it was tested with."""
    wrong = []
    for text in metadata.requires("imagewave") or ():
        needed = Requirement(text)
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue
        try:
            there = metadata.version(needed.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{needed.name} is missing")
            continue
        if not needed.specifier.contains(there, prereleases=True):
            wrong.append(f"{needed.name} {there} is not {needed.specifier}")
    if wrong:
        fix = "Install imagewave again, into an environment of its own."
        return Finding(check="libraries", state=State.FAIL, said="; ".join(wrong), fix=fix)
    said = f"imagewave {metadata.version('imagewave')} with all that it needs"
    return Finding(check="libraries", state=State.OK, said=said)


def _png() -> Finding:
    """Whether the fastest decoder of the slowest format is there."""
    from imagewave.pictures.png_readers import PNG_READERS

    fastest = next(iter(PNG_READERS))
    if fastest == "own":
        return Finding(check="png", state=State.OK, said="read by imagewave's own decoder")
    return Finding(
        check="png",
        state=State.WARN,
        said=f"read by {fastest}: right, but slower than by imagewave's own decoder",
        fix="Install a C compiler, and imagewave[fast] again with pip's --force-reinstall and"
        " --no-cache-dir.",
    )


def _compiled() -> Finding:
    """Whether measuring and the search for duplicates run as compiled code."""
    from imagewave.pictures import pixels
    from imagewave.tasks.screening import hash_index

    parts = {"measuring": pixels.compiled, "the search for duplicates": hash_index.compiled}
    slow = [part for part, compiled in parts.items() if not compiled]
    if not slow:
        said = "measuring and the search for duplicates are compiled"
        return Finding(check="speed", state=State.OK, said=said)
    said = f"not compiled: {' and '.join(slow)}; the results are the same, but slower"
    fix = (
        "It takes a processor with AVX2 (x86-64); on others there is nothing to mend."
        if hash_index.compiled
        else "Install a C compiler, and imagewave again with pip's --force-reinstall and"
        " --no-cache-dir."
    )
    return Finding(check="speed", state=State.WARN, said=said, fix=fix)


def _store(url: str, environ: Mapping[str, str]) -> Finding:
    holds = ""
    try:
        if there := Store.try_out(url):
            store = Store.open(url, create=False)
            if realm := realm_here(environ=environ):
                store.require_realm(realm)
            holds = f", holds {store.realm.pictures}" if store.realm else ""
    except StoreError as error:
        return Finding(check="store", state=State.FAIL, said=error.message, fix=error.fix)
    what = f"writable, keeps put-if-absent{holds}"
    said = f"{url}: {what}" if there else f"{url}: none yet, a run makes it; the place is {what}"
    return Finding(check="store", state=State.OK, said=said)


def _space(url: str) -> Finding:
    """Free disk where the store is, or where the copies of a remote one are."""
    protocol, separator, rest = url.partition("://")
    local = not separator or protocol == "file"
    place = Path(rest if separator else url).expanduser().absolute() if local else cache_folder()
    folder = next(each for each in (place, *place.parents) if os.path.isdir(each))
    free = shutil.disk_usage(folder).free
    said = f"{free / 1e9:.1f} GB free at {folder}"
    if local:
        said += f", room for about {free // PICTURE_BYTES:,} pictures"
    if free >= LOW_SPACE:
        return Finding(check="disk", state=State.OK, said=said)
    state = State.WARN if free >= NO_SPACE else State.FAIL
    fix = "Free some space, or name another store with --store."
    return Finding(check="disk", state=state, said=said, fix=fix)


def _keys(environ: Mapping[str, str], sandboxed: set[str]) -> Iterator[Finding]:
    for name, provider in with_keys().items():
        access, check = provider.access, f"key of {name}"
        assert access is not None, "it has keys"
        there = [each for each in access.keys if environ.get(each, "").strip()]
        url = access.base_url(environ)
        if name in sandboxed:
            said = "the embedded sandbox stands in: stand-in pictures, no cost"
            yield Finding(check=check, state=State.OK, said=said)
        elif there:
            asked_at = f", asked at {shown(url)}" if url else ""
            yield Finding(check=check, state=State.OK, said=f"{' and '.join(there)} set{asked_at}")
        elif url:
            said = f"{access.address} is set without a key"
            fix = f"Set {access.keys[0]} too, or unset it; a sandbox takes any key."
            yield Finding(check=check, state=State.FAIL, said=said, fix=fix)
        else:
            said = f"no {' or '.join(access.keys)}: waves with its models cannot run"
            yield Finding(check=check, state=State.OK, said=said)


def _prefect(environ: Mapping[str, str]) -> Iterator[Finding]:
    url = environ.get("PREFECT_API_URL", "").rstrip("/")
    if not url:
        said = "PREFECT_API_URL is not set: waves run in the command's own process"
        yield Finding(check="prefect", state=State.OK, said=said)
        return
    try:
        requests.get(f"{url}/health", timeout=_PREFECT_TIMEOUT_S).raise_for_status()
    except requests.RequestException as error:
        yield Finding(
            check="prefect",
            state=State.FAIL,
            said=f"the server at {shown(url)} does not answer: {name_of_loss(error)}",
            fix="Start it (`prefect server start`), or correct or unset PREFECT_API_URL.",
        )
        return
    yield Finding(check="prefect", state=State.OK, said=f"the server at {shown(url)} answers")


def _catalog(environ: Mapping[str, str], sandboxed: set[str]) -> Iterator[Finding]:
    today = datetime.now(UTC).date()
    try:
        models = catalog.models()
    except CatalogError as error:
        fix = error.fix or f"Correct the file that ${USER_FILE} names, or unset it."
        yield Finding(check="models.toml", state=State.FAIL, said=error.message, fix=fix)
        said = "not asked for their models: there is no catalog to hold them against"
        yield Finding(check="providers", state=State.WARN, said=said, fix="Correct models.toml.")
        return
    if path := os.environ.get(USER_FILE, ""):
        yield _own_models(path, today)
    yield _retiring(models, today)
    yield from _your_gpus(environ, models)
    for name, provider in providers().items():
        if provider.yours:
            yield from _server(provider, environ)
            continue
        if provider.list_models is None or provider.access is None:
            continue
        if name not in sandboxed and not provider.access.key(environ):
            continue
        try:
            listed = provider.list_models(environ)
        except ImagewaveError as error:
            yield Finding(
                check=f"models of {name}", state=State.FAIL, said=error.message, fix=error.fix
            )
        else:
            yield from compare(name, listed, today)


def _your_gpus(environ: Mapping[str, str], models: Sequence[Model]) -> Iterator[Finding]:
    """The hourly price of your GPUs, where it or a server of yours is named."""
    served = any(each.yours and each.is_set_up(environ) for each in providers().values())
    if not (served or environ.get(GPU_HOUR_VARIABLE, "").strip()):
        return
    unpriced = [m for m in models if draws_on_your_gpus(m) and m.gpu_usd_per_hour is None]
    try:
        prices = [gpu_usd_per_hour(model) for model in unpriced]
    except UnknownPrice as error:
        yield Finding(check="price of a GPU", state=State.FAIL, said=error.message, fix=error.fix)
    else:
        said = f"${prices[0]:f} an hour" if prices else "each model's own in models.toml"
        yield Finding(check="price of a GPU", state=State.OK, said=said)


def _server(provider: Provider, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Whether a server of yours answers, where its address is set."""
    address = provider.access.base_url(environ) if provider.access else None
    if address is None or provider.list_models is None:
        return
    try:
        listed = provider.list_models(environ)
    except ImagewaveError as error:
        yield Finding(check="image server", state=State.FAIL, said=error.message, fix=error.fix)
    else:
        models_there = f"lists {', '.join(listed)}" if listed else "has no list of its models"
        said = f"{shown(address)} answers and {models_there}"
        yield Finding(check="image server", state=State.OK, said=said)


def _retiring(models: Sequence[Model], today: date) -> Finding:
    soon = [
        f"{model.id} on {model.shutdown}"
        + (f" (then {heir.id})" if (heir := catalog.replacement_of(model, today)) else "")
        for model in models
        if model.alive(today) and catalog.require_alive(model, today)
    ]
    days = catalog.NOTICE.days
    if not soon:
        said = f"none of the catalog within {days} days"
        return Finding(check="retiring models", state=State.OK, said=said)
    said = f"within {days} days: {', '.join(soon)}"
    fix = "Change wave files that name one to its replacement."
    return Finding(check="retiring models", state=State.WARN, said=said, fix=fix)


def _own_models(path: str, today: date) -> Finding:
    """The user's own rows: readable they are; whether a wave could use them."""
    ids = user_ids(path)
    problems = [problem for id in ids for problem in _problems(catalog.find_model(id), today)]
    if not problems:
        said = f"{path}: {len(ids)} model{'s' * (len(ids) != 1)}, all usable"
        return Finding(check="models.toml", state=State.OK, said=said)
    said = f"{path}: {'; '.join(problems)}"
    fix = "Correct these rows; `imagewave models show NAME --json` shows one that is whole."
    return Finding(check="models.toml", state=State.WARN, said=said, fix=fix)


def _problems(model: Model, today: date) -> Iterator[str]:
    if model.alive(today):
        if not model.lanes:
            yield f"{model.id} has no lanes, so no wave can use it"
        if model.provider not in providers():
            yield f"{model.id} names a provider that there is not: {model.provider}"
        if strange := [lane for lane in model.lanes if lane not in lane_kinds()]:
            yield f"{model.id} names lanes that there are not: {', '.join(strange)}"
        for lane in model.lanes:
            try:
                estimate(
                    model,
                    lane=lane,
                    quality=model.qualities[0] if model.qualities else None,
                    prompt_chars=0,
                    thinking="minimal",
                    today=today,
                )
            except UnknownPrice as error:
                yield error.message.rstrip(".")
                break
    if model.replacement and not _is_known(model.replacement):
        yield f"{model.id} is replaced by {model.replacement!r}, which is no model"
