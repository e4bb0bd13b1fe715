"""Files by path and by the URLs of fsspec: whole, within limits, and without their secrets."""

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
from tests.storage.sources.listed import fields, write

from imagewave.errors import ImagewaveError
from imagewave.storage.sources.fetch import read_url
from imagewave.storage.sources.read import read_briefs
from imagewave.storage.sources.rows import SourceError
from imagewave.storage.waves.wave_file import WaveFileError, load_wave

pytestmark = pytest.mark.heavy


def test_a_format_may_be_named_where_the_ending_does_not(tmp_path: Path) -> None:
    path = write(tmp_path, "briefs", "text\na\n")
    assert fields(path, "csv") == [{"text": "a"}]
    with pytest.raises(SourceError, match=r"csv, tsv, jsonl.*format ="):
        list(read_briefs(str(path)))


@pytest.fixture
def files(tmp_path: Path) -> Iterator[str]:
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


def test_a_url_is_read_with_its_query_ignored_for_the_ending(files: str, tmp_path: Path) -> None:
    write(tmp_path, "b.csv", "text\na\n")
    assert fields(f"{files}/b.csv?version=2.1") == [{"text": "a"}]


@pytest.mark.parametrize("name", ["none.csv", "bad.csv", "b.txt"])
def test_what_is_secret_in_a_url_is_not_said(files: str, tmp_path: Path, name: str) -> None:
    write(tmp_path, "bad.csv", "text\na,b\n")
    write(tmp_path, "b.txt", "text\n")
    secret = f"{files.replace('://', '://me:PASSWORD@')}/{name}?sig=SIGNATURE"
    wave = write(tmp_path, "w.toml", f'[wave]\nname = "w"\n[briefs]\nsource = "{secret}"\n')
    for source in (str(wave), secret):
        with pytest.raises(ImagewaveError) as told:
            load_wave(source)
        # With its causes: Prefect's log has them, too.
        said = "".join(traceback.format_exception(told.value))
        assert f"{files}/{name}?sig=…" in str(told.value)
        assert "PASSWORD" not in said
        assert "SIGNATURE" not in said


def test_what_is_secret_is_not_in_what_is_said(files: str, tmp_path: Path) -> None:
    write(tmp_path, "b.csv", "text;want\nTulpen für Ostern;2\n".encode("cp1252"))
    heard: list[str] = []
    url = f"{files.replace('://', '://me:PASSWORD@')}/b.csv?sig=SIGNATURE"
    assert fields(url, say=heard.append) == [{"text": "Tulpen für Ostern", "want": 2}]
    assert len(heard) == 2
    assert "PASSWORD" not in "".join(heard)
    assert "SIGNATURE" not in "".join(heard)


def test_any_file_system_of_fsspec_serves() -> None:
    with fsspec.open("memory://briefs/b.csv", "wb") as file:
        file.write(b"text\na\n")
    assert fields("memory://briefs/b.csv") == [{"text": "a"}]
    with pytest.raises(SourceError, match="cannot be read"):
        read_url("nonsense://b.csv")


def test_a_source_that_is_too_large_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "b.csv", b"x" * (2**20 + 1))
    assert len(read_url(str(path), 2**20 + 1)) == 2**20 + 1
    with pytest.raises(SourceError, match="more than 1 MiB"):
        read_url(str(path), 2**20)


def test_a_folder_is_no_source(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="folder"):
        read_url(str(tmp_path))


def test_a_bucket_is_read_and_what_it_lacks_is_named(s3_url: str) -> None:
    table = pa.table({"text": ["from a bucket"]})
    with fsspec.open(f"{s3_url}/b.parquet", "wb") as file:
        pq.write_table(table, file)

    assert fields(f"{s3_url}/b.parquet") == [{"text": "from a bucket"}]
    with pytest.raises(SourceError, match="does not exist"):
        read_url(f"{s3_url}/none.csv")


def test_a_wave_at_a_url_names_sources_of_its_own_server(files: str, tmp_path: Path) -> None:
    write(tmp_path, "w.toml", '[wave]\nname = "w"\n[briefs]\nsource = "in/b.csv"\n')
    write(tmp_path, "in/b.csv", "text\nfrom afar\n")
    assert [brief.text for brief in load_wave(f"{files}/w.toml?v=a/b").briefs] == ["from afar"]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("file:///etc/passwd", "may only name http and https sources"),
        ("local:///etc/passwd", "may only name http and https sources"),
        ("s3://bucket/b.csv", "may only name http and https sources"),
        ("simplecache::file:///etc/passwd", "may only name http and https sources"),
        ("memory://b.csv", "may only name http and https sources"),
        ("http://127.0.0.1:9/b.csv", "no public address"),
        ("http://169.254.169.254/latest/b.csv", "no public address"),
    ],
)
def test_a_wave_at_a_url_names_nothing_of_this_machine(
    files: str, tmp_path: Path, source: str, words: str
) -> None:
    write(
        tmp_path,
        "w.toml",
        f'[wave]\nname = "w"\n[briefs]\nsource = "{source}"\nformat = "csv"\n',
    )
    with pytest.raises(ImagewaveError, match=words) as told:
        load_wave(f"{files}/w.toml")
    assert "root:" not in str(told.value)


def test_a_wave_at_a_url_names_no_models_in_files_of_this_machine(
    files: str, tmp_path: Path
) -> None:
    write(
        tmp_path,
        "w.toml",
        '[wave]\nname = "w"\nlane = "gpu"\n[[brief]]\ntext = "a"\n'
        '[draft]\nmodel = "sdxl"\nloras = ["org/style@0.5", "/a/b.safetensors@0.5"]\n'
        '[judge]\nby = "local"\nlocal_model = "../clip"\nlocal_aesthetic = "head.pt"\n',
    )
    with pytest.raises(WaveFileError) as told:
        load_wave(f"{files}/w.toml")
    assert [problem.key for problem in told.value.problems] == [
        "draft.loras",
        "judge.local_model",
        "judge.local_aesthetic",
    ]


def test_a_wave_in_a_bucket_names_nothing_but_buckets(s3_url: str) -> None:
    for source, words in (
        ("b.csv", ""),
        (f"{s3_url}/b.csv", ""),
        ("file:///etc/passwd", "may only name s3 sources"),
        ("http://example.org/b.csv", "may only name s3 sources"),
        (f"{s3_url}/b.csv::file:///etc/passwd", "may only name s3 sources"),
    ):
        head = '[wave]\nname = "w"\n[briefs]\nformat = "csv"\n'
        with fsspec.open(f"{s3_url}/w.toml", "w") as file:
            file.write(f'{head}source = "{source}"\n')
        with fsspec.open(f"{s3_url}/b.csv", "w") as file:
            file.write("text\na\n")
        if words:
            with pytest.raises(ImagewaveError, match=words):
                load_wave(f"{s3_url}/w.toml")
        else:
            assert len(load_wave(f"{s3_url}/w.toml").briefs) == 1


def test_columns_and_values_of_a_stranger_s_source_are_not_told(files: str, tmp_path: Path) -> None:
    for rows in ("root,x:0\n1,2\n", "text,want\na,hunter2\n", "text,hunter2\na,b\n"):
        write(tmp_path, "b.csv", rows)
        write(
            tmp_path,
            "w.toml",
            '[wave]\nname = "w"\n[briefs]\nsource = "b.csv"\n[expand]\ntemplates = ["{mood}"]\n',
        )
        with pytest.raises(ImagewaveError) as told:
            load_wave(f"{files}/w.toml")
        assert "root" not in str(told.value)
        assert "hunter2" not in str(told.value)
