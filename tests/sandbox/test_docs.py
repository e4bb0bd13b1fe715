"""The page about the sandbox names everything that can be set, planted or armed."""

import dataclasses
import re
from pathlib import Path

import pytest

from imagewave.sandbox.core.config import Config
from imagewave.sandbox.core.defects import Defect
from imagewave.sandbox.core.faults import KNOWN

_PAGE = Path(__file__).parents[2] / "docs" / "sandbox.md"
_NAMES = [
    *Defect,
    *(field.name for field in dataclasses.fields(Config)),
    *KNOWN,
    *(parameter for parameters in KNOWN.values() for parameter in parameters),
]


@pytest.mark.parametrize("name", sorted(set(map(str, _NAMES))))
def test_the_page_names_it(name: str) -> None:
    assert re.search(rf"`{name}\b", _PAGE.read_text("utf-8"))
