"""Sources of briefs: CSV, JSONL, Parquet, by path and by URL, and what malformed ones say."""

import functools
import http.server
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.servers import free_port

from imagewave.errors import ImagewaveError
from imagewave.storage.briefs import (
    RawBrief,
    SourceError,
    id_problem,
    read_briefs,
    read_url,
    slug,
)
from imagewave.storage.wavefile import load_wave


def fields(source: Path | str, format: str | None = None) -> list[dict[str, Any]]:
    """The fields of all rows, none of which may be an error."""
    rows = list(read_briefs(str(source), format))
    assert not [row for row in rows if isinstance(row, SourceError)]
    return [dict(row.fields) for row in rows if isinstance(row, RawBrief)]


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_columns_of_a_brief_keep_their_meaning_and_others_become_variables(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "b.csv",
        "ID,Text,want,Aspect Ratio,Shelf Colour,note\n"
        'mug,"A mug, blue",2,4:5,pale oak,\n'
        "\n"
        '"tray","A ""round"" tray\nof wood",,,birch,seen from above\n',
    )
    assert fields(path) == [
        {
            "id": "mug",
            "text": "A mug, blue",
            "want": 2,
            "aspect_ratio": "4:5",
            "variables": {"shelf_colour": "pale oak"},
        },
        {
            "id": "tray",
            "text": 'A "round" tray\nof wood',
            "variables": {"shelf_colour": "birch", "note": "seen from above"},
        },
    ]


def test_rows_know_the_line_that_they_begin_on(tmp_path: Path) -> None:
    path = write(tmp_path, "b.csv", 'text\none\n"two\nlines"\nthree\n')
    rows = [row.row for row in read_briefs(str(path))]
    assert rows == [2, 3, 5]


def test_a_csv_saved_by_a_spreadsheet_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, "b.csv", b"\xef\xbb\xbftext,id\r\nTulpen f\xc3\xbcr Ostern,t\r\n")
    assert fields(path) == [{"text": "Tulpen für Ostern", "id": "t"}]


def test_jsonl_keeps_types_and_nested_variables(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "b.jsonl",
        '{"text": "a", "want": 3, "variables": {"season": "spring"}, "sold": true, "price": 4.5}\n'
        "\n"
        '{"text": "b", "id": null}\n',
    )
    assert fields(path) == [
        {
            "text": "a",
            "want": 3,
            "variables": {"season": "spring", "sold": True, "price": 4.5},
        },
        {"text": "b"},
    ]


def test_parquet_is_read(tmp_path: Path) -> None:
    table = pa.table({"text": ["a", "b"], "want": [1, 2], "Colour": ["red", None]})
    pq.write_table(table, tmp_path / "b.parquet")
    assert fields(tmp_path / "b.parquet") == [
        {"text": "a", "want": 1, "variables": {"colour": "red"}},
        {"text": "b", "want": 2},
    ]


def test_a_format_may_be_named_where_the_ending_does_not(tmp_path: Path) -> None:
    path = write(tmp_path, "briefs", "text\na\n")
    assert fields(path, "csv") == [{"text": "a"}]
    with pytest.raises(SourceError, match=r"csv, jsonl, ndjson, parquet.*format ="):
        list(read_briefs(str(path)))


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """A web server over the test's folder; yields its base URL."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            """Tests print nothing."""

    handler = functools.partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_url_is_read_with_its_query_ignored_for_the_ending(web: str, tmp_path: Path) -> None:
    write(tmp_path, "b.csv", "text\na\n")
    assert fields(f"{web}/b.csv?version=2.1") == [{"text": "a"}]


def test_a_url_that_is_missing_or_refuses_says_so(web: str) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        read_url(f"{web}/none.csv")
    with pytest.raises(SourceError, match="Cannot connect"):
        read_url("http://127.0.0.1:1/b.csv")
    with pytest.raises(SourceError, match="cannot be read"):
        read_url("nonsense://b.csv")


@pytest.mark.parametrize("name", ["none.csv", "bad.csv", "b.txt"])
def test_what_is_secret_in_a_url_is_not_said(web: str, tmp_path: Path, name: str) -> None:
    write(tmp_path, "bad.csv", "text\na,b\n")
    write(tmp_path, "b.txt", "text\n")
    secret = f"{web.replace('://', '://me:PASSWORD@')}/{name}?sig=SIGNATURE"
    wave = write(tmp_path, "w.toml", f'[wave]\nname = "w"\n[briefs]\nsource = "{secret}"\n')
    for source in (str(wave), secret):
        with pytest.raises(ImagewaveError) as told:
            load_wave(source)
        # With its causes: Prefect's log has them, too.
        said = "".join(traceback.format_exception(told.value))
        assert f"{web}/{name}?sig=…" in str(told.value)
        assert "PASSWORD" not in said
        assert "SIGNATURE" not in said


def test_any_file_system_of_fsspec_serves() -> None:
    with fsspec.open("memory://briefs/b.csv", "wb") as file:
        file.write(b"text\na\n")
    assert fields("memory://briefs/b.csv") == [{"text": "a"}]


@pytest.mark.parametrize(
    ("name", "content", "row", "words"),
    [
        ("b.csv", b"text,want\na,1\nb,2,3\n", 3, ["3 values", "header 2", "commas"]),
        ("b.csv", b"text,want\na\n", 2, ["1 values"]),
        ("b.csv", b'text\n"never closed\n', 2, ["malformed"]),
        ("b.csv", b"texte,want\na,1\n", 1, ["'text'", "texte, want"]),
        ("b.csv", b"text;want\na;1\n", 1, ["'text'", "commas"]),
        ("b.csv", b"text,Text\na,b\n", 1, ["'text'", "twice"]),
        ("b.csv", b"text\nok\nTulpen f\xfcr Ostern\n", 3, ["0xfc", "UTF-8"]),
        ("b.jsonl", b'{"text": "a"}\n{"text": }\n', 2, ["JSON"]),
        ("b.jsonl", b"[1]\n", 1, ["object"]),
        ("b.jsonl", b'{"text": "a", "text": "b"}\n', 1, ["'text' occurs twice"]),
        ("b.parquet", b"PAR1 nothing", None, ["Parquet"]),
    ],
)
def test_malformed_sources_name_the_row(
    tmp_path: Path, name: str, content: bytes, row: int | None, words: list[str]
) -> None:
    path = write(tmp_path, name, content)
    errors = []
    try:
        errors = [r for r in read_briefs(str(path)) if isinstance(r, SourceError)]
    except SourceError as error:
        errors.append(error)
    assert [(error.file, error.row) for error in errors] == [(str(path), row)]
    for word in words:
        assert word in str(errors[0])


def test_all_malformed_rows_are_told(tmp_path: Path) -> None:
    path = write(tmp_path, "b.csv", "text,want\na\nb,1\nc,1,2\n")
    rows = list(read_briefs(str(path)))
    assert [(row.row, isinstance(row, SourceError)) for row in rows] == [
        (2, True),
        (3, False),
        (4, True),
    ]


def test_a_source_that_is_too_large_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "b.csv", b"x" * (2**20 + 1))
    assert len(read_url(str(path), 2**20 + 1)) == 2**20 + 1
    with pytest.raises(SourceError, match="more than 1 MiB"):
        read_url(str(path), 2**20)


def test_a_folder_is_no_source(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="folder"):
        read_url(str(tmp_path))


@pytest.mark.parametrize("id", ["a", "tulips", "sku-12.3_b", "0" * 64])
def test_ids_that_can_be_folders(id: str) -> None:
    assert id_problem(id) is None


@pytest.mark.parametrize(
    "id",
    [
        *("", ".", "..", "../x", "a/b", "a\\b", "/etc/passwd", "a..b", "a.", "-a", ".hidden"),
        *("A", "naïve", "a b", "a\n", "a\x00", "~", "C:", "x" * 65),
    ],
)
def test_ids_that_cannot_be_folders(id: str) -> None:
    problem = id_problem(id)
    assert problem is not None
    assert len("".join(problem)) < 300


def test_a_long_id_is_shown_cut() -> None:
    message, fix = id_problem("x" * 300) or ("", "")
    assert "300 characters" in message
    assert "x" * 41 not in message
    assert f"{'x' * 48!r}" in fix


def test_slugs_are_ids() -> None:
    assert slug("A red bicycle, in Rain!") == "a-red-bicycle-in-rain"
    assert slug("春") == ""
    assert id_problem(slug("w " * 200)) is None


def test_a_bucket_is_read_and_what_it_lacks_is_named(s3_url: str, tmp_path: Path) -> None:
    table = pa.table({"text": ["from a bucket"]})
    with fsspec.open(f"{s3_url}/b.parquet", "wb") as file:
        pq.write_table(table, file)

    assert fields(f"{s3_url}/b.parquet") == [{"text": "from a bucket"}]
    with pytest.raises(SourceError, match="does not exist"):
        read_url(f"{s3_url}/none.csv")


def test_a_host_that_does_not_answer_is_not_said_to_lack_the_file() -> None:
    url = f"http://127.0.0.1:{free_port()}/briefs.csv"
    with pytest.raises(SourceError, match="could not be reached") as error:
        read_url(url)
    assert "does not exist" not in str(error.value)
