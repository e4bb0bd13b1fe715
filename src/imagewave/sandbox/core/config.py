"""How a sandbox behaves: its clock, its seed, its defects and the size of its pictures."""

import dataclasses
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imagewave.sandbox.core.defects import PROFILES, Defects


class BadConfig(ValueError):
    """A configuration that names an unknown setting or gives a value that is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All settings; times are seconds of the wall clock.

    A job is PENDING for `pending_s`, then RUNNING for `running_s` plus `per_line_s` for each
    line; it EXPIRES when it is not done after `expire_s`. `tiny` divides the pictures' edges.
    `max_jobs` is how many jobs may be open at once before create answers 429. The lists of models
    leave out those `unlisted`, and have those `listed` besides, each as "provider:id".
    """

    seed: int = 0
    pending_s: float = 0.1
    running_s: float = 0.4
    per_line_s: float = 0.0
    expire_s: float = 48 * 3600
    file_ttl_s: float = 48 * 3600
    max_jobs: int = 100
    tiny: int = 1
    listed: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()
    defects: Defects = field(default_factory=Defects)

    def merged(self, changes: Mapping[str, Any]) -> "Config":
        """A copy with some settings changed; `defects` is a profile's name or a table of rates.

        Raises:
            BadConfig: and what to write instead.
        """
        known = {f.name: f for f in dataclasses.fields(self)}
        values: dict[str, Any] = {}
        for name, value in changes.items():
            if name not in known:
                raise BadConfig(f"unknown setting {name!r}; known ones are {', '.join(known)}")
            if name == "defects":
                values[name] = _defects(value)
                continue
            if isinstance(known[name].default, tuple):
                values[name] = _names(name, value)
                continue
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not math.isfinite(value) or value < 0:
                raise BadConfig(f"{name!r} must be a number of at least 0, not {value!r}")
            values[name] = int(value) if known[name].type is int else float(value)
        if values.get("tiny") == 0:
            raise BadConfig("'tiny' must be at least 1")
        return dataclasses.replace(self, **values)

    def to_json(self) -> dict[str, Any]:
        """The settings as `merged` takes them."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {**values, "defects": self.defects.to_json()}


def _names(name: str, value: object) -> tuple[str, ...]:
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise BadConfig(f"{name!r} must be a list of texts, not {value!r}")


def _defects(value: object) -> Defects:
    if isinstance(value, str):
        if value in PROFILES:
            return PROFILES[value]
        raise BadConfig(f"unknown defects profile {value!r}; known ones are {', '.join(PROFILES)}")
    if not isinstance(value, Mapping):
        raise BadConfig(f"'defects' must be a profile's name or a table of rates, not {value!r}")
    return Defects.parse(value)


def read_config(path: Path) -> dict[str, Any]:
    """Settings from a TOML file: top-level settings and a `[defects]` table.

    Raises:
        BadConfig: it is no TOML.
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        try:
            return tomllib.load(file)
        except ValueError as error:
            raise BadConfig(f"{path} is not TOML: {error}") from error
