"""Single calls to Claude."""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import orjson
from requests import Response

from imagewave.providers.anthropic import faults as anthropic_faults
from imagewave.providers.anthropic import wire as anthropic_wire
from imagewave.providers.caller import (
    TIMEOUT_S,
    ErrorAnswer,
    body_of,
    error_answer_of,
    is_answer,
    json_of,
)
from imagewave.providers.http.sessions import KeyedSession
from imagewave.providers.protocol import Outcome
from imagewave.providers.realm import realm_of
from imagewave.providers.wire.input_file import Reference
from imagewave.providers.wire.jsonl import Line
from imagewave.storage.realms import Realm
from imagewave.storage.requests import Request


class AnthropicCaller:
    """Messages."""

    VERSION = "2026-10-21"

    def __init__(self, api_key: str, base_url: str | None = None) -> None:
        self._key = api_key
        self._root = (base_url or anthropic_faults.BASE_URL).rstrip("/")
        self._session = KeyedSession("Authorization", f"Bearer {api_key}")
        self._session.headers[anthropic_faults.VERSION] = self.VERSION
        self._base_url = base_url

    @cached_property
    def realm(self) -> Realm:
        """The realm of who answers at its address."""
        return realm_of(self._base_url)

    def line(self, request: Request, reference: Reference) -> bytes:
        return anthropic_wire.request_line(request, reference)

    def key(self, line: Mapping[str, Any]) -> str:
        return anthropic_wire.marked(str(line["custom_id"]))[1]

    def try_key(self) -> Response:
        return self._session.get(f"{self._root}/v1/models?limit=1", timeout=TIMEOUT_S)

    def post(self, model: str, line: Mapping[str, Any]) -> Response:
        return self._session.post(
            f"{self._root}/v1/messages",
            data=orjson.dumps(line["params"]),
            headers={"Content-Type": "application/json"},
            timeout=TIMEOUT_S,
        )

    def error_answer(self, response: Response) -> ErrorAnswer:
        fault = anthropic_faults.read_fault(
            response.status_code, json_of(response), response.headers
        )
        return error_answer_of("Claude", fault, self._key)

    def wrap(self, line: Mapping[str, Any], response: Response) -> bytes:
        key = orjson.dumps(line["custom_id"])
        if is_answer(response):
            result = b'{"type":"succeeded","message":%s}' % body_of(response)
        else:
            said = orjson.dumps(json_of(response)).decode().replace(self._key, "…")
            result = b'{"type":"errored","error":%s}' % said.encode()
        return b'{"custom_id":%s,"result":%s}' % (key, result)

    def read(self, line: Line, wants_image: Callable[[str], bool]) -> Outcome:
        return anthropic_wire.read_line(line)
