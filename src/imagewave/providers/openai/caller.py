"""Single calls to OpenAI."""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import orjson
from requests import Response

from imagewave.providers.caller import (
    TIMEOUT_S,
    ErrorAnswer,
    body_of,
    error_answer_of,
    is_answer,
    json_of,
)
from imagewave.providers.http.sessions import KeyedSession
from imagewave.providers.openai import batch as openai_batch
from imagewave.providers.openai import wire as openai_wire
from imagewave.providers.openai.faults import read_fault as read_openai_fault
from imagewave.providers.protocol import Outcome
from imagewave.providers.realm import realm_of
from imagewave.providers.wire.input_file import Reference
from imagewave.providers.wire.jsonl import Line
from imagewave.storage.realms import Realm
from imagewave.storage.requests import Request


class OpenAICaller:
    """Images, edits and chat completions."""

    def __init__(self, api_key: str, base_url: str | None = None) -> None:
        self._key = api_key
        self._root = (base_url or openai_batch.BASE_URL).rstrip("/")
        self._session = KeyedSession("Authorization", f"Bearer {api_key}")
        self._base_url = base_url

    @cached_property
    def realm(self) -> Realm:
        """The realm of who answers at its address."""
        return realm_of(self._base_url)

    def line(self, request: Request, reference: Reference) -> bytes:
        return openai_wire.request_line(request, reference)

    def key(self, line: Mapping[str, Any]) -> str:
        return str(line["custom_id"])

    def try_key(self) -> Response:
        return self._session.get(f"{self._root}/models", timeout=TIMEOUT_S)

    def post(self, model: str, line: Mapping[str, Any]) -> Response:
        # The address ends with the version, with which the line's begins.
        return self._session.post(
            self._root + str(line["url"]).removeprefix("/v1"),
            data=orjson.dumps(line["body"]),
            headers={"Content-Type": "application/json"},
            timeout=TIMEOUT_S,
        )

    def error_answer(self, response: Response) -> ErrorAnswer:
        fault = read_openai_fault(response.status_code, json_of(response), response.headers)
        return error_answer_of("OpenAI", fault, self._key)

    def wrap(self, line: Mapping[str, Any], response: Response) -> bytes:
        body = body_of(response)
        if not is_answer(response):
            shown = body.decode("utf-8", "replace").replace(self._key, "…")
            body = shown.encode() if isinstance(json_of(response), dict) else b"{}"
        return b'{"custom_id":%s,"response":{"status_code":%d,"body":%s},"error":null}' % (
            orjson.dumps(line["custom_id"]),
            response.status_code,
            body,
        )

    def read(self, line: Line, wants_image: Callable[[str], bool]) -> Outcome:
        return openai_wire.read_line(line, wants_image)
