"""The catalogs that other distributions bring along: rows for the providers that they add.

A distribution names a package under the entry point group `imagewave.catalog`; that package holds
a `catalog.toml` of the form of `models.toml`, with a table `[lane]` for lanes of its own.
"""

import tomllib
from decimal import Decimal
from functools import cache
from importlib import import_module, resources
from importlib.metadata import entry_points
from typing import Any

from imagewave.storage.catalog import CatalogError

GROUP = "imagewave.catalog"
FILE = "catalog.toml"


@cache
def catalogs() -> dict[str, dict[str, Any]]:
    """The documents of all installed catalogs, each under a name for people.

    Raises:
        CatalogError: one cannot be read; names the distribution.
    """
    found = {}
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        place = f"the catalog {point.name!r} of {point.dist.name if point.dist else point.value}"
        try:
            text = resources.files(import_module(point.value)).joinpath(FILE).read_text("utf-8")
            found[place] = tomllib.loads(text, parse_float=Decimal)
        except (ImportError, OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise CatalogError(
                f"In {place}, {FILE} cannot be read: {error}.",
                "Correct that distribution, or uninstall it.",
            ) from error
    return found
