"""The Gemini API's files: resumable upload, metadata, list, delete and download."""

from collections.abc import Sequence
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from imagewave.sandbox.batches.faulty import faulty_download
from imagewave.sandbox.batches.order import newest_first
from imagewave.sandbox.batches.service import Service
from imagewave.sandbox.core.errors import ApiError
from imagewave.sandbox.core.files import Upload
from imagewave.sandbox.core.http import json_body, json_response
from imagewave.sandbox.gemini.views import cut_page, file_view
from imagewave.sandbox.gemini.wire import UploadRequest, parse

_MAX_FILE = 2 * 1024**3
_MAX_NAME = 512


def routes(service: Service, versions: Sequence[str]) -> list[Route]:
    """All routes of the files, for every version of the API in the path."""
    api = _Files(service)
    found = []
    for version in versions:
        root = f"/{version}/files"
        found += [
            Route(f"/upload{root}", api.upload, methods=["POST", "PUT"]),
            Route(root, api.list, methods=["GET"]),
            Route(f"{root}/{{name}}:download", api.download, methods=["GET"]),
            Route(f"/download{root}/{{name}}:download", api.download, methods=["GET"]),
            Route(f"{root}/{{name}}", api.get, methods=["GET"]),
            Route(f"{root}/{{name}}", api.delete, methods=["DELETE"]),
        ]
    return found


class _Files:
    def __init__(self, service: Service) -> None:
        self._service = service

    async def upload(self, request: Request) -> Response:
        """One step of a resumable upload, as its X-Goog-Upload-Command says."""
        if self._service.faults.take("upload_500"):
            raise ApiError("INTERNAL", "Internal error encountered.")
        header = request.headers.get("x-goog-upload-command", "")
        commands = {command.strip() for command in header.split(",")}
        if "start" in commands:
            return await self._start(request)
        upload = self._service.files.upload(request.query_params.get("upload_id", ""))
        if "query" in commands:
            return self._active(upload)
        if "upload" in commands:
            offset = request.headers.get("x-goog-upload-offset", "0")
            if not offset.isdigit():
                raise ApiError("INVALID_ARGUMENT", f"Invalid upload offset: {offset}")
            await self._service.files.append(upload, int(offset), request.stream())
        if "finalize" in commands:
            stored = self._service.files.finish(upload, self._service.config.file_ttl_s)
            view = {"file": file_view(stored, _base_url(request))}
            return json_response(view, headers={"x-goog-upload-status": "final"})
        if "upload" in commands:
            return self._active(upload)
        raise ApiError("INVALID_ARGUMENT", f"Invalid upload command: {header!r}")

    async def _start(self, request: Request) -> Response:
        if request.headers.get("x-goog-upload-protocol", "").lower() != "resumable":
            raise ApiError("INVALID_ARGUMENT", "Only the resumable upload protocol is supported.")
        announced = request.headers.get("x-goog-upload-header-content-length", "")
        size = int(announced) if announced.isdigit() else None
        if size is not None and size > _MAX_FILE:
            raise ApiError("INVALID_ARGUMENT", f"File size exceeds the limit: {_MAX_FILE} bytes.")
        file = parse(UploadRequest, await json_body(request)).file
        if len(file.display_name) > _MAX_NAME:
            raise ApiError(
                "INVALID_ARGUMENT",
                f"* CreateFileRequest.file.display_name: at most {_MAX_NAME} characters.\n",
            )
        upload = self._service.files.begin(
            file_id=file.name.removeprefix("files/"),
            display_name=file.display_name,
            mime_type=file.mime_type
            or request.headers.get("x-goog-upload-header-content-type", ""),
            size=size,
        )
        session = f"upload_id={upload.id}&upload_protocol=resumable"
        headers = {
            "x-goog-upload-url": f"{_base_url(request)}{request.url.path}?{session}",
            "x-goog-upload-status": "active",
            "x-goog-upload-chunk-granularity": "262144",
        }
        return json_response({}, headers=headers)

    def _active(self, upload: Upload) -> Response:
        received = str(self._service.files.received(upload))
        headers = {"x-goog-upload-status": "active", "x-goog-upload-size-received": received}
        return json_response({}, headers=headers)

    async def list(self, request: Request) -> Response:
        """One page of the files, newest first."""
        stored = self._service.files.all()
        page, token = cut_page(request, stored, newest_first, default=10)
        files = [file_view(file, _base_url(request)) for file in page]
        return json_response({**({"files": files} if files else {}), **token})

    async def get(self, request: Request) -> Response:
        """One file's metadata."""
        stored = self._service.files.get(request.path_params["name"])
        return json_response(file_view(stored, _base_url(request)))

    async def delete(self, request: Request) -> Response:
        """Removes a file."""
        self._service.files.delete(request.path_params["name"])
        return json_response({})

    async def download(self, request: Request) -> Response:
        """The bytes of a generated file; uploaded ones are not given back, as at Google."""

        def find() -> Path:
            stored = self._service.files.get(request.path_params["name"])
            if not stored.generated:
                raise ApiError("INVALID_ARGUMENT", "Only generated files can be downloaded.")
            return self._service.files.path(stored.id)

        return faulty_download(self._service.faults, find, "application/jsonl", request)


def _base_url(request: Request) -> str:
    return str(request.base_url).rstrip("/")
