"""SQL from outside: conditions stay conditions, and a bucket's facts are read like a folder's."""

import duckdb
import pytest
from tests.storage.builders import small_wave

from imagewave.storage.facts.questions import NotARead, ask_where, asking
from imagewave.storage.store import Store

pytestmark = pytest.mark.heavy

SQL = "SELECT brief FROM funnel WHERE ({where}) ORDER BY brief"


def test_a_question_is_answered_on_disk_and_in_a_bucket(store: Store) -> None:
    small_wave(store)
    with asking(store, "select count(*) from assets, costs") as connection:
        [(count,)] = connection.sql("select count(*) from assets").fetchall()
        assert count == 3
        with pytest.raises(duckdb.PermissionException):
            connection.execute("select * from read_text('/etc/hostname')")
        with pytest.raises(duckdb.InvalidInputException):
            connection.execute("set enable_external_access = true")


@pytest.mark.parametrize(
    "sql", ["copy (select 1) to 'a'", "select 1; detach x", "call checkpoint()"]
)
def test_what_does_more_than_read_is_refused(sql: str) -> None:
    with pytest.raises(NotARead), asking(None, sql):
        pass


def test_a_condition_picks_rows(local_store: Store) -> None:
    small_wave(local_store)
    for condition in (
        "brief = 'tulips'",
        "accepted > 1 -- more than one",
        "brief not in ('harbour')",
    ):
        assert ask_where(local_store, SQL, condition) == [{"brief": "tulips"}]


@pytest.mark.parametrize(
    "condition",
    [
        "true) UNION SELECT content FROM read_text('/etc/hostname') WHERE (true",
        "true); COPY (SELECT 1) TO 'a'; SELECT (true",
        "exists (from read_text('/etc/hostname'))",
        "1 LIMIT 1",
        "",
        "nothing = 1",
    ],
)
def test_a_condition_stays_one(local_store: Store, condition: str) -> None:
    small_wave(local_store)
    with pytest.raises(duckdb.Error):
        ask_where(local_store, SQL, condition)
