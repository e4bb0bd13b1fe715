"""`iw.Store`: questions to the facts, pictures with their lineage, contact sheets."""

import hashlib
import re
import sys
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from tests.api.conftest import Bench, Ran

import imagewave as iw

pytestmark = pytest.mark.heavy


class TestQuery:
    SQL = "SELECT wave, cost_usd FROM costs WHERE wave = ? ORDER BY cost_usd"

    def test_money_is_exact_in_every_form(self, ran: Ran) -> None:
        answer = ran.store.query(self.SQL, ["covers"])

        exact = ran.result.usd
        assert sum(row["cost_usd"] for row in answer) == exact
        assert isinstance(answer.arrow(), pa.Table)
        assert Decimal(answer.df()["cost_usd"].sum()) == exact
        assert answer.pl()["cost_usd"].sum() == exact
        assert len(answer) == len(answer.df()) == len(answer.pl())
        assert answer.columns == ["wave", "cost_usd"]

    def test_parameters_may_have_names(self, ran: Ran) -> None:
        answer = ran.store.query("SELECT $a + 1 AS b", {"a": 41})
        assert answer.rows() == [{"b": 42}]

    def test_a_store_is_asked_by_its_folder_too(self, ran: Ran) -> None:
        sql = "SELECT sum(final) AS final FROM funnel"
        assert iw.query(sql, store=ran.bench.store).rows() == [{"final": 3}]
        assert iw.query(sql, store=ran.store).rows() == [{"final": 3}]

    @pytest.mark.parametrize(("form", "library"), [("df", "pandas"), ("pl", "polars")])
    def test_a_library_that_is_missing_is_named(
        self, ran: Ran, monkeypatch: pytest.MonkeyPatch, form: str, library: str
    ) -> None:
        monkeypatch.setitem(sys.modules, library, None)
        answer = ran.store.query("SELECT 1 AS one")
        with pytest.raises(iw.MissingLibrary, match=rf"pip install 'imagewave\[{library}\]'"):
            getattr(answer, form)()

    @pytest.mark.parametrize(
        ("sql", "said"),
        [
            ("from funel", 'Did you mean "funnel"'),
            ("selec 1", "syntax error"),
            ("", "There is no question"),
            ("SELECT 1 AS one WHERE 1 = ?", "parameter"),
            ("COPY (SELECT 1) TO 'x.csv'", "facts are read, never changed"),
            ("SELECT * FROM read_text('/etc/passwd')", "disabled"),
        ],
    )
    def test_what_is_no_question_is_one_error(self, ran: Ran, sql: str, said: str) -> None:
        with pytest.raises(iw.QueryError, match=re.escape(said)):
            ran.store.query(sql)

    def test_a_notebook_shows_words_as_words(self, ran: Ran) -> None:
        html = ran.store.query("""SELECT '<script>alert("&")</script>' AS "<b>" """)._repr_html_()
        assert "<script" not in html
        assert "&lt;script&gt;" in html
        assert "<th>&lt;b&gt;</th>" in html

    def test_a_long_answer_is_shown_in_part(self, ran: Ran) -> None:
        html = ran.store.query("SELECT unnest(range(1000)) AS n")._repr_html_()
        assert html.count("<tr>") == 51
        assert "950 more rows" in html


def test_without_a_store_there_is_nothing_to_ask(tmp_path: Path) -> None:
    store = iw.Store(tmp_path / "none")
    for ask in (store.images, store.assets, store.status, lambda: store.query("from costs")):
        with pytest.raises(iw.NoStore):
            ask()
    assert not (tmp_path / "none").exists()


def test_a_wave_that_is_not_there_is_told_with_those_that_are(ran: Ran) -> None:
    for ask in (ran.store.images, ran.store.assets, ran.store.status, ran.store.result):
        with pytest.raises(iw.UnknownWave, match="It has: covers"):
            ask("cover")


def test_a_delivered_file_knows_where_it_comes_from(ran: Ran) -> None:
    assets = ran.store.assets("covers", brief="bicycle")

    [asset] = assets
    assert asset.file == Path(asset.url)
    assert asset.size == len(asset.read()) == Path(asset.url).stat().st_size
    lineage = asset.lineage
    assert lineage.brief_text == lineage.prompt == "A red bicycle under cherry blossom"
    assert asset.image == lineage.final_image == hashlib.sha256(asset.read()).hexdigest()
    drawn = {image.image: image for image in ran.store.images(brief="bicycle")}
    assert lineage.draft_image is not None
    assert drawn[lineage.draft_image].model == lineage.draft_model
    assert drawn[lineage.draft_image].decision == "accepted"
    assert drawn[asset.image].kind == "final"
    jobs = {row["job_id"] for row in ran.store.query("SELECT job_id FROM jobs")}
    assert {lineage.draft_job_id, lineage.final_job_id} <= jobs
    costs = ran.store.query(
        "SELECT sum(cost_usd) AS usd FROM costs WHERE request_id IN (?, ?)",
        [lineage.draft_request_id, lineage.final_request_id],
    )
    assert lineage.draft_cost_usd is not None
    assert lineage.final_cost_usd is not None
    assert costs.rows() == [{"usd": lineage.draft_cost_usd + lineage.final_cost_usd}]


def test_a_picture_that_was_removed_is_one_error_and_leaves_its_place(bench: Bench) -> None:
    made = iw.once("a red bicycle", n=2, store=bench.store)
    asset, kept = made.assets
    Path(asset.url).unlink()

    with pytest.raises(iw.StoreError, match="is not there any more"):
        asset.read()

    html = made._repr_html_()
    assert html.count("It is not kept") == html.count("<img") == 1
    assert kept.thumbnail() is not None


class TestSheet:
    def test_it_holds_a_thumbnail_of_each_delivered_picture(self, ran: Ran) -> None:
        html = ran.result._repr_html_()
        assert html.count('<img src="data:image/jpeg;base64,') == 3
        assert re.findall(r'(?:src|href)="(?!data:)', html) == [], "it asks nobody for anything"

    def test_words_are_escaped(self, ran: Ran) -> None:
        html = ran.result._repr_html_()
        assert "<b>" not in html
        assert "tulips &lt;b&gt;&amp; co&lt;/b&gt;" in html
        assert "<script" not in html

    def test_it_is_limited_and_says_so(self, ran: Ran) -> None:
        images = ran.store.images()
        many = type(images)([*images] * 200)

        html = many._repr_html_()

        shown = html.count("<img")
        assert 0 < shown <= 60
        assert f"{len(many) - shown} more are not shown" in html
        assert len(html) < 2_200_000
