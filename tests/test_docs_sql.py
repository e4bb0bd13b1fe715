"""docs/sql.md: its queries answer as it says, and it knows every view and column."""

import re
from pathlib import Path

import pytest
from tests.storage.builders import small_wave

from imagewave.storage.facts import analytics
from imagewave.storage.facts.tables import COLUMNS
from imagewave.storage.store import Store

PAGE = (Path(__file__).parents[1] / "docs" / "sql.md").read_text("utf-8")

# A heading, its query, and the table of its answer.
QUERIES = re.findall(
    r"^### \d+\. ([^\n]+)\n.*?^```sql\n(.*?)^```\n\n((?:\|[^\n]*\n)+)",
    PAGE,
    re.MULTILINE | re.DOTALL,
)

# A view in bold and, after what it says, its columns.
VIEWS = re.findall(r"^\*\*`(\w+)`\*\* .*?\nColumns: (.*?)\n\n", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with the small wave that the page shows."""
    store = Store.open(str(tmp_path_factory.mktemp("docs") / "store"))
    small_wave(store)
    return store


def test_the_page_has_ten_queries() -> None:
    assert len(QUERIES) == len(re.findall(r"^```sql", PAGE, re.MULTILINE)) == 10


@pytest.mark.parametrize(
    ("query", "answer"), [rest for _, *rest in QUERIES], ids=[title for title, *_ in QUERIES]
)
def test_a_query_answers_as_the_page_says(store: Store, query: str, answer: str) -> None:
    names, _, *rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in answer.splitlines()
    ]
    found = analytics.query(store, query)
    assert found, "an empty answer shows nothing"
    assert list(found[0]) == names
    assert [
        ["" if value is None else str(value) for value in row.values()] for row in found
    ] == rows


def test_the_page_has_every_view() -> None:
    assert [name for name, _ in VIEWS] == [name for name, _ in analytics.views()]


@pytest.mark.parametrize(("name", "columns"), VIEWS)
def test_the_page_names_each_views_columns(name: str, columns: str) -> None:
    with analytics.connect(None) as connection:
        described = connection.execute(f"DESCRIBE {name}").fetchall()
    assert re.findall(r"`(\w+)`", columns) == [column for column, *_ in described]


def test_the_page_names_each_table() -> None:
    [paragraph] = re.findall(r"^Below them.*?\n\n", PAGE, re.MULTILINE | re.DOTALL)
    assert set(COLUMNS) <= set(re.findall(r"`(\w+)`", paragraph))
