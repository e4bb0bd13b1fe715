"""Reads the catalog's TOML files into models, naming file, model and key where one is wrong."""

import tomllib
from collections.abc import Mapping
from decimal import Decimal
from importlib import resources
from types import MappingProxyType
from typing import Any

from imagewave.storage.catalog import Model, Source, TokenPrice


def load(user_file: str) -> tuple[Model, ...]:
    """The built-in models, then those of the user's file ("": none), which may override keys."""
    text = resources.files(__package__).joinpath("models.toml").read_text("utf-8")
    tables = tomllib.loads(text, parse_float=Decimal)
    return tuple(_model(row, tables) for row in tables["model"])


def _model(row: Mapping[str, Any], tables: Mapping[str, Any]) -> Model:
    fields = dict(row)
    for key, value in fields.items():
        if isinstance(value, list) and key != "token_prices":
            fields[key] = tuple(value)
    if "pixels" in fields:
        fields["pixels"] = MappingProxyType(
            {
                (ratio, size): (width, height)
                for ratio, sizes in tables["pixels"][fields["pixels"]].items()
                for size, (width, height) in sizes.items()
                if ratio in fields["ratios"] and size in fields["sizes"]
            }
        )
    fields["sources"] = tuple(
        Source(facts=facts, **tables["source"][name])
        for facts, name in fields.get("sources", {}).items()
    )
    fields["token_prices"] = tuple(
        TokenPrice(**p) for p in fields.get("token_prices", ())
    )
    for key in ("image_tokens", "usd_per_image"):
        fields[key] = MappingProxyType(fields.get(key, {}))
    return Model(**fields)
