"""Reads the catalog's TOML files into models, naming file, model and key where one is wrong."""

import difflib
import tomllib
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from imagewave.storage.catalog import USER_FILE, CatalogError, Model, Source, TokenPrice
from imagewave.storage.catalog.plugins import catalogs

_Row = dict[str, Any]
# What a key's value is, in words, and whether a value is that.
_Kind = tuple[str, Callable[[object], bool]]
_TABLES = ("lane", "source", "pixels")


def load(user_file: str) -> tuple[Model, ...]:
    """The built-in models, those of installed catalogs, then those of the user's file ("": none).

    Each may override keys of those before it.

    Raises:
        CatalogError: a file cannot be used; names the model and the key.
    """
    documents = catalogs() | ({user_file: _parse(user_file)} if user_file else {})
    built_in = _built_in()
    tables = {name: dict(built_in[name]) for name in _TABLES}
    rows: dict[str, _Row] = {row["id"]: row for row in built_in["model"]}
    for place, theirs in documents.items():
        _check_tables(theirs, place)
        for name, table in tables.items():
            table.update(theirs.get(name, {}))
        for row in theirs.get("model", []):
            _check(row, place, tables, known=rows)
            rows[row["id"]] = rows.get(row["id"], {"name": row["id"]}) | row
    return tuple(_model(row, tables) for row in rows.values())


def lanes() -> dict[str, str]:
    """The kind of each lane, of the built-in catalog and of those installed."""
    found: dict[str, str] = dict(_built_in()["lane"])
    for theirs in catalogs().values():
        found |= theirs.get("lane", {})
    return found


@cache
def _built_in() -> _Row:
    text = resources.files(__package__).joinpath("models.toml").read_text("utf-8")
    return tomllib.loads(text, parse_float=Decimal)


def user_ids(user_file: str) -> list[str]:
    """The ids of the models that the user's file adds or overrides.

    Raises:
        CatalogError: it cannot be used.
    """
    return [row["id"] for row in _parse(user_file).get("model", [])]


def _parse(path: str) -> _Row:
    try:
        document = tomllib.loads(Path(path).read_text("utf-8"), parse_float=Decimal)
    except FileNotFoundError as error:
        raise CatalogError(
            f"The models file {path!r} does not exist.",
            f"Correct or unset ${USER_FILE}.",
        ) from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CatalogError(f"The models file {path!r} cannot be read: {error}.") from error
    for name in ("lane", "quota", "time"):
        if name in document:
            raise CatalogError(
                f"{path}: a models file brings no table {name!r}.",
                "Remove it; a provider's distribution brings lanes and their limits.",
            )
    return document


def _check_tables(document: _Row, path: str) -> None:
    for name in document:
        if name not in (*_TABLES, "model", "quota", "time"):
            raise CatalogError(
                f"{path}: there is no table {name!r}.",
                _nearest(name, ("model", "source")),
            )
    if not isinstance(document.get("model", []), list):
        raise CatalogError(f"{path}: [model] is one table.", "Write [[model]], twice bracketed.")


def _check(row: object, path: str, tables: _Row, known: Mapping[str, _Row]) -> None:
    """Refuses a user's row that has an unknown key, a wrong type, or says too little."""
    if not isinstance(row, dict) or not _is_text(row.get("id")):
        raise CatalogError(f"{path}: a [[model]] has no id.", 'Begin it with id = "…".')
    place = f"{path}, model {row['id']!r}"
    _check_keys(row, place, _KEYS)
    for lane, facts in row.get("by_lane", {}).items():
        _check_keys(facts, f"{place}, lane {lane!r}", {key: _KEYS[key] for key in _BY_LANE})
    whole = known.get(row["id"], {}) | row
    for key in ("provider", "kind"):
        if key not in whole:
            raise CatalogError(f"{place}: the key {key!r} is missing.", f"It is {_KEYS[key][0]}.")
    if "pixels" in row and row["pixels"] not in tables["pixels"]:
        raise CatalogError(
            f"{place}: there is no table of pixels {row['pixels']!r}.",
            _nearest(row["pixels"], tables["pixels"]),
        )
    for name in row.get("sources", {}).values():
        if name not in tables["source"]:
            raise CatalogError(
                f"{place}: there is no source {name!r}.",
                _nearest(name, tables["source"]),
            )


def _check_keys(row: _Row, place: str, keys: Mapping[str, _Kind]) -> None:
    for key, value in row.items():
        if key not in keys:
            raise CatalogError(f"{place}: there is no key {key!r}.", _nearest(key, keys))
        wanted, fits = keys[key]
        if not fits(value):
            raise CatalogError(f"{place}: {key} cannot be {_show(value)}.", f"It is {wanted}.")


def _model(row: _Row, tables: _Row) -> Model:
    fields = _fields(row)
    sizes, ratios = fields.get("sizes", ()), fields.get("ratios", ())
    if "pixels" in fields:
        fields["pixels"] = {
            (ratio, size): (width, height)
            for ratio, by_size in tables["pixels"][fields["pixels"]].items()
            for size, (width, height) in by_size.items()
            if ratio in ratios and size in sizes
        }
    fields["sources"] = tuple(
        Source(facts=facts, **tables["source"][name])
        for facts, name in fields.get("sources", {}).items()
    )
    fields["by_lane"] = {lane: _fields(facts) for lane, facts in row.get("by_lane", {}).items()}
    return Model(**fields)


def _fields(row: _Row) -> _Row:
    return {key: _KEYS_AS.get(key, _same)(value) for key, value in row.items()}


def _nearest(name: str, known: Iterable[str]) -> str:
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    return f"Did you mean {near[0]!r}?" if near else f"Known are {', '.join(names)}."


def _show(value: object) -> str:
    shown = str(value) if isinstance(value, Decimal) else repr(value)
    return shown if len(shown) <= 60 else shown[:60] + "…"


def _same(value: Any) -> Any:
    return value


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(_is_text(item) for item in value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_amount(value: object) -> bool:
    number = _is_count(value) or (isinstance(value, Decimal) and value.is_finite())
    return number and isinstance(value, int | Decimal) and 0 <= value <= 1_000_000


def _is_day(value: object) -> bool:
    return isinstance(value, date) and not isinstance(value, datetime)


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_kind(value: object) -> bool:
    return value in ("image", "text")


def _is_table_of(fits: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, dict) and all(map(fits, value.values()))


def _is_token_prices(value: object) -> bool:
    needed, allowed = (
        {"since", "input", "output"},
        {"since", "input", "output", "image"},
    )
    return isinstance(value, list) and all(
        isinstance(item, dict)
        and needed <= item.keys() <= allowed
        and all((_is_day if key == "since" else _is_amount)(item[key]) for key in item)
        for item in value
    )


def _token_prices(value: list[_Row]) -> tuple[TokenPrice, ...]:
    return tuple(
        TokenPrice(
            since=item["since"],
            input=Decimal(item["input"]),
            output=Decimal(item["output"]),
            image=Decimal(item["image"]) if "image" in item else None,
        )
        for item in sorted(value, key=lambda item: item["since"])
    )


def _decimals(value: _Row) -> dict[str, Decimal]:
    return {key: Decimal(amount) for key, amount in value.items()}


_TEXT = ("a text", _is_text)
_TEXTS = ("a list of texts", _is_texts)
_COUNT = ("a whole number", _is_count)
_POSITIVE = ("a whole number from 1", lambda value: _is_count(value) and value != 0)
_AMOUNT = ("a number, not negative, and 1,000,000 at the most", _is_amount)
_DAY = ("a date such as 2026-12-01", _is_day)
_FLAG = ("true or false", _is_flag)

_KEYS: Mapping[str, _Kind] = {
    "id": _TEXT,
    "name": _TEXT,
    "aliases": _TEXTS,
    "provider": _TEXT,
    "kind": ('"image" or "text"', _is_kind),
    "lanes": _TEXTS,
    "by_lane": ("a table of tables, one per lane", _is_table_of(lambda row: isinstance(row, dict))),
    "sizes": _TEXTS,
    "default_size": _TEXT,
    "send_size": _FLAG,
    "ratios": _TEXTS,
    "pixels": ("the name of a table [pixels.…]", _is_text),
    "qualities": _TEXTS,
    "reference_limit": _COUNT,
    "reference_tokens": _COUNT,
    "image_tokens": ("a table of whole numbers per size", _is_table_of(_is_count)),
    "image_token_formula": _TEXT,
    "thinking": _TEXTS,
    "thinking_share": _AMOUNT,
    "licence": _TEXT,
    "commercial_use": _FLAG,
    "released": _DAY,
    "shutdown": _DAY,
    "replacement": _TEXT,
    "price": ('"provider:model" as genai-prices names it', _is_text),
    "batch_multiplier": _AMOUNT,
    "token_prices": (
        "a list such as [{ since = 2026-11-04, input = 5, output = 30 }] (USD per million)",
        _is_token_prices,
    ),
    "usd_per_image": (
        'a table of USD per size or quality, or under "any"',
        _is_table_of(_is_amount),
    ),
    "weights": _TEXT,
    "revision": _TEXT,
    "steps": _POSITIVE,
    "guidance": _AMOUNT,
    "batch": _POSITIVE,
    "gpu_seconds": ("a table of seconds per size", _is_table_of(_is_amount)),
    "gpu_usd_per_hour": _AMOUNT,
    "notes": _TEXT,
    "sources": ("a table of names from [source]", _is_table_of(_is_text)),
}

# What may differ by the lane that a model is reached by.
_BY_LANE = (
    "shutdown",
    "replacement",
    "reference_limit",
    "price",
    "batch_multiplier",
    "token_prices",
    "usd_per_image",
)

_KEYS_AS: Mapping[str, Callable[[Any], Any]] = {
    **{key: tuple for key, kind in _KEYS.items() if kind is _TEXTS},
    "thinking_share": Decimal,
    "batch_multiplier": Decimal,
    "usd_per_image": _decimals,
    "guidance": float,
    "gpu_seconds": _decimals,
    "gpu_usd_per_hour": Decimal,
    "token_prices": _token_prices,
}
