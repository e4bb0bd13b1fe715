"""Files on the wire: resumable uploads, metadata, paging, expiry and downloads."""

import base64
import hashlib
import io
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from google.genai import errors, types
from tests.sandbox.conftest import Bench, request_row

_CHUNK = 8 * 1024 * 1024


def _upload(bench: Bench, content: bytes) -> types.File:
    config = types.UploadFileConfig(mime_type="application/jsonl", display_name="lines")
    return bench.client.files.upload(file=io.BytesIO(content), config=config)


def test_an_upload_of_several_chunks_arrives_whole(bench: Bench) -> None:
    content = bytes(range(256)) * (2 * _CHUNK // 256) + b"tail"
    file = _upload(bench, content)
    assert file.size_bytes == len(content)
    assert file.mime_type == "application/jsonl"
    assert file.display_name == "lines"
    assert file.state == types.FileState.ACTIVE
    digest = base64.b64encode(hashlib.sha256(content).hexdigest().encode()).decode()
    assert file.sha256_hash == digest


def test_an_upload_by_path_may_choose_its_name(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"{}\n")
    config = types.UploadFileConfig(mime_type="application/jsonl", name="my-own-name")
    assert bench.client.files.upload(file=path, config=config).name == "files/my-own-name"
    with pytest.raises(errors.ClientError, match="already exists"):
        bench.client.files.upload(file=path, config=config)


@pytest.mark.parametrize("name", ["../escape", "UPPER", "x" * 41])
def test_a_name_that_is_no_id_is_refused(bench: Bench, name: str) -> None:
    config = types.UploadFileConfig(mime_type="text/plain", name=f"files/{name}")
    with pytest.raises(errors.ClientError, match="lowercase alphanumeric"):
        bench.client.files.upload(file=io.BytesIO(b"x"), config=config)


def test_an_interrupted_upload_goes_on_where_it_stopped(bench: Bench) -> None:
    def step(url: str, body: bytes, **headers: str) -> tuple[str, bytes]:
        named = {f"X-Goog-Upload-{name}": value for name, value in headers.items()}
        request = urllib.request.Request(
            url, data=body, headers={"x-goog-api-key": "any", **named}, method="POST"
        )
        with urllib.request.urlopen(request) as response:
            where = response.headers["x-goog-upload-url"]
            return where or response.headers["x-goog-upload-size-received"], response.read()

    start = {"Protocol": "resumable", "Command": "start", "Header-Content-Length": "10"}
    url, _ = step(f"{bench.sandbox.url}/upload/v1beta/files", b"{}", **start)
    step(url, b"01234", Command="upload", Offset="0")
    received, _ = step(url, b"", Command="query")
    assert received == "5"
    with pytest.raises(urllib.error.HTTPError, match="400"):
        step(url, b"x", Command="upload", Offset="7")
    _, body = step(url, b"56789", Command="upload, finalize", Offset="5")
    assert b'"sizeBytes": "10"' in body


def test_metadata_is_listed_in_pages_until_deleted(bench: Bench) -> None:
    names = {_upload(bench, b"page").name for _ in range(3)}
    listed = {file.name for file in bench.client.files.list(config={"page_size": 1000})}
    assert names <= listed
    first = bench.client.files.list(config={"page_size": 2})
    assert len(first.page) == 2
    assert len(first.next_page()) > 0
    for name in names:
        assert name is not None
        assert bench.client.files.get(name=name).name == name
        bench.client.files.delete(name=name)
    assert not names & {f.name for f in bench.client.files.list(config={"page_size": 1000})}


def test_an_expired_file_is_not_found_and_an_unknown_one_forbidden(bench: Bench) -> None:
    bench.control("PUT", "config", {"file_ttl_s": 0})
    file = _upload(bench, b"short-lived")
    assert file.name is not None
    with pytest.raises(errors.ClientError) as gone:
        bench.client.files.get(name=file.name)
    assert (gone.value.code, gone.value.status) == (404, "NOT_FOUND")
    with pytest.raises(errors.ClientError) as unknown:
        bench.client.files.get(name="files/neverwas")
    assert (unknown.value.code, unknown.value.status) == (403, "PERMISSION_DENIED")


def test_only_generated_files_can_be_downloaded(bench: Bench, tmp_path: Path) -> None:
    file = _upload(bench, b"mine")
    assert file.name is not None
    with pytest.raises(errors.ClientError, match="Only generated files"):
        bench.client.files.download(file=file.name)
    job = bench.wait(bench.create(tmp_path, [request_row("a", "a pear")]))
    assert job.dest is not None
    result = bench.client.files.get(name=str(job.dest.file_name))
    assert result.source == types.FileSource.GENERATED
    content = bench.client.files.download(file=result)
    bench.client.files.download(file=result, destination=tmp_path / "result.jsonl")
    assert (tmp_path / "result.jsonl").read_bytes() == content
    assert len(content) == result.size_bytes


def test_a_download_can_be_resumed_by_range(bench: Bench, tmp_path: Path) -> None:
    job = bench.wait(bench.create(tmp_path, [request_row("a", "a plum")]))
    assert job.dest is not None
    name = str(job.dest.file_name)
    content = bench.client.files.download(file=name)
    url = f"{bench.sandbox.url}/download/v1beta/{name}:download?alt=media&key=any"
    request = urllib.request.Request(url, headers={"Range": "bytes=100-"})
    with urllib.request.urlopen(request) as response:
        assert response.status == 206
        assert response.headers["content-range"] == f"bytes 100-{len(content) - 1}/{len(content)}"
        assert response.read() == content[100:]
