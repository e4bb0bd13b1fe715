"""The OpenAI API's files: upload as a form, metadata, list, delete and content."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from imagewave.sandbox.batches.faulty import faulty_download
from imagewave.sandbox.batches.order import newest_first
from imagewave.sandbox.batches.service import Service
from imagewave.sandbox.core.errors import ApiError
from imagewave.sandbox.core.files import StoredFile, new_id
from imagewave.sandbox.core.http import json_response

_CHUNK = 1 << 20
_MAX_FILE = 512_000_000
_PURPOSES = ("batch", "vision", "user_data", "assistants", "evals", "fine-tune")


def routes(service: Service) -> list[Route]:
    """All routes of the files."""
    api = _Files(service)
    return [
        Route("/v1/files", api.upload, methods=["POST"]),
        Route("/v1/files", api.list, methods=["GET"]),
        Route("/v1/files/{name}", api.get, methods=["GET"]),
        Route("/v1/files/{name}", api.delete, methods=["DELETE"]),
        Route("/v1/files/{name}/content", api.content, methods=["GET"]),
    ]


class _Files:
    def __init__(self, service: Service) -> None:
        self._service = service

    async def upload(self, request: Request) -> Response:
        """Takes one file and its purpose."""
        if self._service.faults.take("upload_500"):
            raise ApiError("INTERNAL", "The server had an error while processing your request.")
        async with request.form() as form:
            purpose, file = form.get("purpose"), form.get("file")
            if purpose not in _PURPOSES:
                raise ApiError("INVALID_ARGUMENT", f"'{purpose}' is not one of {_PURPOSES}.")
            if not isinstance(file, UploadFile):
                raise ApiError("INVALID_ARGUMENT", "Missing required parameter: 'file'.")
            _check(str(purpose), file)
            upload = self._service.files.begin(
                file_id=f"file-{new_id()}",
                display_name=file.filename or "file",
                mime_type=str(purpose),
                size=file.size,
            )
            await self._service.files.append(upload, 0, _chunks(file))
        stored = self._service.files.finish(upload, self._service.config.file_ttl_s)
        return json_response(file_view(stored))

    async def list(self, request: Request) -> Response:
        """All files, newest first, in one page."""
        stored = sorted(self._service.files.all(), key=newest_first)
        data = [file_view(file) for file in stored]
        return json_response({"object": "list", "data": data, "has_more": False})

    async def get(self, request: Request) -> Response:
        """One file's metadata."""
        return json_response(file_view(self._service.files.get(request.path_params["name"])))

    async def delete(self, request: Request) -> Response:
        """Removes a file."""
        name = request.path_params["name"]
        self._service.files.delete(name)
        return json_response({"id": name, "object": "file", "deleted": True})

    async def content(self, request: Request) -> Response:
        """The file's bytes."""

        def find() -> Path:
            return self._service.files.path(self._service.files.get(request.path_params["name"]).id)

        return faulty_download(self._service.faults, find, "application/octet-stream", request)


def _check(purpose: str, file: UploadFile) -> None:
    if not file.size:
        raise ApiError("INVALID_ARGUMENT", "The file is empty.")
    if file.size > _MAX_FILE:
        raise ApiError("INVALID_ARGUMENT", f"The file is larger than {_MAX_FILE:,} bytes.")
    if purpose == "batch" and not str(file.filename).endswith(".jsonl"):
        raise ApiError("INVALID_ARGUMENT", "Invalid file format for Batch API. Must be .jsonl")


async def _chunks(file: UploadFile) -> AsyncIterator[bytes]:
    while chunk := await file.read(_CHUNK):
        yield chunk


def file_view(stored: StoredFile) -> dict[str, Any]:
    """A file's object; what was uploaded keeps its purpose where others keep a type."""
    return {
        "id": stored.id,
        "object": "file",
        "bytes": stored.size,
        "created_at": int(stored.created),
        "expires_at": int(stored.expires),
        "filename": stored.display_name,
        "purpose": "batch_output" if stored.generated else stored.mime_type,
        "status": "processed",
    }
