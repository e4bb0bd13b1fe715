"""Single calls to Gemini."""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any
from urllib.parse import quote

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
from imagewave.providers.gemini import batch as gemini_batch
from imagewave.providers.gemini import wire as gemini_wire
from imagewave.providers.gemini.faults import read_fault as read_gemini_fault
from imagewave.providers.http.sessions import KeyedSession
from imagewave.providers.protocol import Outcome
from imagewave.providers.realm import realm_of
from imagewave.providers.wire.input_file import Reference
from imagewave.providers.wire.jsonl import Line
from imagewave.storage.realms import Realm
from imagewave.storage.requests import Request


class GeminiCaller:
    """generateContent."""

    def __init__(self, api_key: str, base_url: str | None = None) -> None:
        self._key = api_key
        root = (base_url or gemini_batch.BASE_URL).rstrip("/")
        self._root = f"{root}/{gemini_batch.API_VERSION}"
        self._session = KeyedSession("x-goog-api-key", api_key)
        self._base_url = base_url

    @cached_property
    def realm(self) -> Realm:
        """The realm of who answers at its address."""
        return realm_of(self._base_url)

    def line(self, request: Request, reference: Reference) -> bytes:
        return gemini_wire.request_line(request, reference)

    def key(self, line: Mapping[str, Any]) -> str:
        return str(line["key"])

    def try_key(self) -> Response:
        return self._session.get(f"{self._root}/models?pageSize=1", timeout=TIMEOUT_S)

    def post(self, model: str, line: Mapping[str, Any]) -> Response:
        return self._session.post(
            f"{self._root}/models/{quote(model)}:generateContent",
            data=orjson.dumps(line["request"]),
            headers={"Content-Type": "application/json"},
            timeout=TIMEOUT_S,
        )

    def error_answer(self, response: Response) -> ErrorAnswer:
        fault = read_gemini_fault(response.status_code, json_of(response), response.headers)
        return error_answer_of("Gemini", fault, self._key)

    def wrap(self, line: Mapping[str, Any], response: Response) -> bytes:
        key = orjson.dumps(line["key"])
        if is_answer(response):
            return b'{"key":%s,"response":%s}' % (key, body_of(response))
        error_answer = self.error_answer(response)
        error = {"code": response.status_code, "message": error_answer.message}
        return b'{"key":%s,"error":%s}' % (key, orjson.dumps(error))

    def read(self, line: Line, wants_image: Callable[[str], bool]) -> Outcome:
        return gemini_wire.read_line(line, wants_image)
