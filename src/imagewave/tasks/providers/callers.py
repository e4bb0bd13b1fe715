"""Single calls to providers, in their batches' spelling: a line goes out, a line comes back."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote

import orjson
from requests import Response

from imagewave.storage.requests import FailureClass, Request
from imagewave.tasks.providers import (
    anthropic_faults,
    anthropic_wire,
    gemini_batch,
    gemini_wire,
    openai_batch,
    openai_wire,
)
from imagewave.tasks.providers.faults import Fault
from imagewave.tasks.providers.gemini_faults import read_fault as read_gemini_fault
from imagewave.tasks.providers.jsonl import Line
from imagewave.tasks.providers.keyed import KeyedSession, realm_of
from imagewave.tasks.providers.openai_faults import read_fault as read_openai_fault
from imagewave.tasks.providers.protocol import Outcome, Rejected
from imagewave.tasks.providers.spool import Reference

TIMEOUT_S = (10.0, 300.0)
"""Seconds to connect, and of silence while a picture is drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class No:
    """An answer that is none: whether the provider itself gave it, and when to call again.

    `again` is False where time does not help, True where it may, or a number of seconds.
    """

    own: bool
    again: bool | float
    message: str
    fix: str
    failure: FailureClass


class Caller(Protocol):
    """One provider."""

    @property
    def realm(self) -> str:
        """As a lane's."""
        ...

    def line(self, request: Request, reference: Reference) -> bytes:
        """The request as a line of a batch's input, newline included."""
        ...

    def key(self, line: Mapping[str, Any]) -> str:
        """The id of the request that the line is of."""
        ...

    def try_key(self) -> Response:
        """Asks for something free."""
        ...

    def post(self, model: str, line: Mapping[str, Any]) -> Response:
        """Makes the call that the line asks for, once."""
        ...

    def no(self, response: Response) -> No:
        """What an answer other than 200 means."""
        ...

    def wrap(self, line: Mapping[str, Any], response: Response) -> bytes:
        """The answer as a line of a batch's results, without a newline."""
        ...

    def read(self, line: Line, wants_image: Callable[[str], bool]) -> Outcome:
        """What such a line says."""
        ...


def check_key(caller: Caller) -> None:
    """Raises Rejected where the provider refuses the key; other trouble shows when it matters."""
    response = caller.try_key()
    if response.status_code in (400, 401, 403):
        no = caller.no(response)
        raise Rejected(no.message, no.fix, no.failure)


class GeminiCaller:
    """generateContent."""

    def __init__(self, api_key: str, base_url: str | None = None) -> None:
        self._key = api_key
        root = (base_url or gemini_batch.BASE_URL).rstrip("/")
        self._root = f"{root}/{gemini_batch.API_VERSION}"
        self._session = KeyedSession("x-goog-api-key", api_key)
        self.realm = realm_of(root)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "GeminiCaller | None":
        """The caller for the key in the environment; None without one."""
        for variable in gemini_batch.KEY_VARIABLES:
            if key := environ.get(variable, "").strip():
                return cls(key, environ.get(gemini_batch.BASE_URL_VARIABLE) or None)
        return None

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

    def no(self, response: Response) -> No:
        fault = read_gemini_fault(response.status_code, _json(response), response.headers)
        return _no("Gemini", fault, self._key)

    def wrap(self, line: Mapping[str, Any], response: Response) -> bytes:
        key = orjson.dumps(line["key"])
        if response.status_code == 200:
            return b'{"key":%s,"response":%s}' % (key, response.content)
        no = self.no(response)
        error = {"code": response.status_code, "message": no.message}
        return b'{"key":%s,"error":%s}' % (key, orjson.dumps(error))

    def read(self, line: Line, wants_image: Callable[[str], bool]) -> Outcome:
        return gemini_wire.read_line(line, wants_image)


class OpenAICaller:
    """Images, edits and chat completions."""

    def __init__(self, api_key: str, base_url: str | None = None) -> None:
        self._key = api_key
        self._root = (base_url or openai_batch.BASE_URL).rstrip("/")
        self._session = KeyedSession("Authorization", f"Bearer {api_key}")
        self.realm = realm_of(self._root)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "OpenAICaller | None":
        """The caller for the key in the environment; None without one."""
        key = environ.get(openai_batch.KEY_VARIABLE, "").strip()
        return cls(key, environ.get(openai_batch.BASE_URL_VARIABLE) or None) if key else None

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

    def no(self, response: Response) -> No:
        fault = read_openai_fault(response.status_code, _json(response), response.headers)
        return _no("OpenAI", fault, self._key)

    def wrap(self, line: Mapping[str, Any], response: Response) -> bytes:
        body = response.content
        if response.status_code != 200:
            shown = body.decode("utf-8", "replace").replace(self._key, "…")
            body = shown.encode() if isinstance(_json(response), dict) else b"{}"
        return b'{"custom_id":%s,"response":{"status_code":%d,"body":%s},"error":null}' % (
            orjson.dumps(line["custom_id"]),
            response.status_code,
            body,
        )

    def read(self, line: Line, wants_image: Callable[[str], bool]) -> Outcome:
        return openai_wire.read_line(line, wants_image)


class AnthropicCaller:
    """Messages."""

    VERSION = "2026-10-21"

    def __init__(self, api_key: str, base_url: str | None = None) -> None:
        self._key = api_key
        self._root = (base_url or anthropic_faults.BASE_URL).rstrip("/")
        self._session = KeyedSession("Authorization", f"Bearer {api_key}")
        self._session.headers[anthropic_faults.VERSION] = self.VERSION
        self.realm = realm_of(self._root)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "AnthropicCaller | None":
        """The caller for the key in the environment; None without one."""
        key = environ.get(anthropic_faults.KEY_VARIABLE, "").strip()
        return cls(key, environ.get(anthropic_faults.BASE_URL_VARIABLE) or None) if key else None

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

    def no(self, response: Response) -> No:
        fault = anthropic_faults.read_fault(response.status_code, _json(response), response.headers)
        return _no("Claude", fault, self._key)

    def wrap(self, line: Mapping[str, Any], response: Response) -> bytes:
        key = orjson.dumps(line["custom_id"])
        if response.status_code == 200:
            result = b'{"type":"succeeded","message":%s}' % response.content
        else:
            said = orjson.dumps(_json(response)).decode().replace(self._key, "…")
            result = b'{"type":"errored","error":%s}' % said.encode()
        return b'{"custom_id":%s,"result":%s}' % (key, result)

    def read(self, line: Line, wants_image: Callable[[str], bool]) -> Outcome:
        return anthropic_wire.read_line(line)


def _json(response: Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return None


def _no(who: str, fault: Fault, key: str) -> No:
    said = fault.message.replace(key, "…")
    return No(
        own=bool(fault.kind),
        again=fault.wait,
        message=f"The {who} API answered {fault.http} {fault.code or fault.kind}: {said}",
        fix=fault.fix,
        failure=fault.failure,
    )
