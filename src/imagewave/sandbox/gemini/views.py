"""How models, files and batches look on Gemini's wire."""

import base64
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, TypeVar

import orjson
from starlette.requests import Request

from imagewave.sandbox.batches.jobs import EXPIRED, FAILED, PARTIAL, SUCCEEDED, Job
from imagewave.sandbox.batches.order import Place
from imagewave.sandbox.batches.service import Service
from imagewave.sandbox.core.errors import ApiError
from imagewave.sandbox.core.files import StoredFile
from imagewave.sandbox.core.models import draws
from imagewave.storage.catalog import Model

T = TypeVar("T")
_MAX_PAGE = 1000
_PACKAGE = "type.googleapis.com/google.ai.generativelanguage.v1main"


def model_view(model: Model) -> dict[str, Any]:
    """A model's resource."""
    return {
        "name": f"models/{model.id}",
        "version": "001",
        "displayName": model.name,
        "inputTokenLimit": 65_536 if draws(model) else 1_048_576,
        "outputTokenLimit": 32_768 if draws(model) else 65_536,
        "supportedGenerationMethods": ["generateContent", "batchGenerateContent"],
    }


def file_view(stored: StoredFile, base_url: str) -> dict[str, Any]:
    """A file's resource; `base_url` is the server's, without a slash at its end."""
    uri = f"{base_url}/v1beta/files/{stored.id}"
    view = {
        "name": f"files/{stored.id}",
        "displayName": stored.display_name,
        "mimeType": stored.mime_type,
        "sizeBytes": str(stored.size),
        "createTime": timestamp(stored.created),
        "updateTime": timestamp(stored.created),
        "expirationTime": timestamp(stored.expires),
        "uri": uri,
        "state": "ACTIVE",
        "source": "GENERATED" if stored.generated else "UPLOADED",
    }
    if stored.generated:
        view["downloadUri"] = f"{uri}:download?alt=media"
    if stored.sha256:
        # Google's file hashes are the base64 of the hex digits.
        view["sha256Hash"] = base64.b64encode(stored.sha256.encode("ascii")).decode("ascii")
    return view


def batch_view(service: Service, job: Job, *, inline: bool = True) -> dict[str, Any]:
    """A batch as the long-running operation that it is; `inline` includes inlined responses."""
    now = datetime.now(UTC).timestamp()
    state = job.state(now)
    metadata: dict[str, Any] = {
        "@type": f"{_PACKAGE}.GenerateContentBatch",
        "model": f"models/{job.model}",
        "displayName": job.display_name,
        "createTime": timestamp(job.created),
        "updateTime": timestamp(job.ended or min(now, max(job.created, job.starts))),
        "batchStats": _stats(job),
        "state": f"BATCH_STATE_{state}",
        "name": f"batches/{job.id}",
    }
    if job.source:
        metadata["inputConfig"] = {"fileName": f"files/{job.source}"}
    view: dict[str, Any] = {"name": f"batches/{job.id}", "metadata": metadata}
    if not job.end:
        return view
    metadata["endTime"] = timestamp(job.ended)
    view["done"] = True
    if job.end in (FAILED, EXPIRED):
        view["error"] = {"code": 13 if job.end == FAILED else 4, "message": job.message}
    if job.end in (SUCCEEDED, PARTIAL):
        output = _output(service, job, inline)
        metadata["output"] = output
        view["response"] = {"@type": f"{_PACKAGE}.GenerateContentBatchOutput", **output}
    return view


def _output(service: Service, job: Job, inline: bool) -> dict[str, Any]:
    if job.source:
        return {"responsesFile": f"files/{job.result}"}
    if not inline:
        return {}
    path = service.files.path(job.result)
    rows = [orjson.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []
    return {"inlinedResponses": {"inlinedResponses": rows}}


def _stats(job: Job) -> dict[str, str]:
    counts = {
        "requestCount": job.count,
        "successfulRequestCount": job.succeeded,
        "failedRequestCount": job.failed,
        "pendingRequestCount": 0 if job.end else job.count,
    }
    return {name: str(count) for name, count in counts.items() if count}


def timestamp(moment: float) -> str:
    """Epoch seconds as protobuf's JSON writes them."""
    return datetime.fromtimestamp(moment, UTC).isoformat().replace("+00:00", "Z")


def cut_page(
    request: Request, items: Iterable[T], place: Callable[[T], Place], *, default: int
) -> tuple[list[T], dict[str, str]]:
    """One page by `pageSize` and `pageToken`, and the answer's `nextPageToken`, if any.

    The token is the last item's place, so that a page neither skips nor repeats anything when
    items come and go meanwhile. As at Google, a full page always has a next one: it may turn out
    to be empty.

    Raises:
        ApiError: the token or the size is none.
    """
    size_text = request.query_params.get("pageSize", str(default))
    if not size_text.isdigit():
        raise ApiError("INVALID_ARGUMENT", f"Invalid value at 'page_size': {size_text}")
    size = min(int(size_text) or default, _MAX_PAGE)
    token = request.query_params.get("pageToken")
    last = _read_token(token) if token else None
    ordered = sorted(items, key=place)
    page = [item for item in ordered if last is None or place(item) > last][:size]
    if len(page) < size:
        return page, {}
    return page, {"nextPageToken": base64.urlsafe_b64encode(orjson.dumps(place(page[-1]))).decode()}


def _read_token(token: str) -> Place:
    try:
        created, name = orjson.loads(base64.urlsafe_b64decode(token))
        return float(created), str(name)
    except (ValueError, TypeError) as error:
        raise ApiError("INVALID_ARGUMENT", "The page token is invalid.") from error
