"""docs/api.md is what the docstrings say, of every public name."""

import re

from docs import api_page

import imagewave


def test_the_page_is_up_to_date() -> None:
    assert api_page.PAGE.read_text("utf-8") == api_page.page(), "run: python docs/api_page.py"


def test_it_has_every_public_name_with_its_words() -> None:
    entries = dict(
        re.findall(r"^### `(\w+)`\n\n(.*?)(?=^##|\Z)", api_page.page(), re.MULTILINE | re.DOTALL)
    )
    assert set(imagewave.__all__) <= set(entries)
    for name, words in entries.items():
        assert re.search(r"^[A-Z][^.]*\.", words, re.MULTILINE), f"{name} says nothing"
