"""Single calls to the provider, with books of their own, and the threads that make them.

The lane is the production one (imagewave.providers.interactive.lane); only what it would send over
HTTP comes here instead.
"""

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import orjson
from requests import ConnectTimeout, ReadTimeout, Response
from tests.simulation.provider import USAGE, picture, price
from tests.simulation.scheduler import Actor, Process, World

from imagewave.providers.gemini.caller import GeminiCaller
from imagewave.providers.interactive.lane import InteractiveLane
from imagewave.storage.realms import Realm
from imagewave.storage.store import Store


@dataclass(eq=False, slots=True, kw_only=True)
class Call:
    """One call that arrived: it is billed, whatever becomes of the answer."""

    request_id: str
    caller: Process
    usd: Decimal
    sha256: str
    over: bool = False


class CallService:
    """The provider's side of single calls."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.calls: list[Call] = []
        self.on_call: Callable[[Call], None] = lambda call: None

    def lane(self, store: Store) -> InteractiveLane:
        """One process's lane."""
        return InteractiveLane(store, {"google": _Caller(self)})

    def answer(self, model: str, line: Mapping[str, Any]) -> Response:
        """What happens to one call."""
        world, chance = self.world, self.world.weather.call
        world.point()
        if world.chance(chance, "call not connected"):
            raise ConnectTimeout
        if world.chance(chance, "call refused"):
            return _error(429, "RESOURCE_EXHAUSTED")
        if world.chance(chance, "call failed"):
            return _error(500, "INTERNAL")
        image = picture(f"call {len(self.calls) + 1} {line['key']}")
        call = Call(
            request_id=str(line["key"]),
            caller=world.running,
            usd=price(model, "interactive"),
            sha256=hashlib.sha256(image).hexdigest(),
        )
        self.calls.append(call)
        world.note(f"called for {call.request_id}")
        self.on_call(call)
        try:
            world.pause(world.seconds(60.0, 1.0))
        finally:
            call.over = True
        if world.chance(chance, "call's answer lost"):
            raise ReadTimeout
        if world.chance(chance, "gateway answered"):
            return _response(504, b"<html>")
        return _response(200, _drawn(image))

    def under_way(self, process: Process) -> list[Call]:
        """The calls that the process waits for."""
        return [call for call in self.calls if call.caller is process and not call.over]


class _Caller(GeminiCaller):
    """Gemini's calls, answered by the service."""

    def __init__(self, service: CallService) -> None:
        self._service = service
        self._key = "a key"
        self.realm = Realm.SANDBOX

    def try_key(self) -> Response:
        self._service.world.point()
        return _response(200, b"{}")

    def post(self, model: str, line: Mapping[str, Any]) -> Response:
        return self._service.answer(model, line)


def _response(status: int, body: bytes) -> Response:
    made = Response()
    made.status_code = status
    made._content = body
    return made


def _error(status: int, word: str) -> Response:
    error = {"code": status, "status": word, "message": word.lower()}
    return _response(status, orjson.dumps({"error": error}))


def _drawn(image: bytes) -> bytes:
    inline = {"mimeType": "image/png", "data": base64.b64encode(image).decode()}
    candidate = {"content": {"parts": [{"inlineData": inline}]}, "finishReason": "STOP"}
    drawn = [{"modality": "IMAGE", "tokenCount": USAGE.image_tokens}]
    usage = {
        "promptTokenCount": USAGE.prompt_tokens,
        "candidatesTokenCount": USAGE.image_tokens,
        "candidatesTokensDetails": drawn,
    }
    return orjson.dumps({"candidates": [candidate], "usageMetadata": usage})


def threading_of(world: World) -> SimpleNamespace:
    """What `threading` offers, with actors for threads."""

    class Thread:
        def __init__(self, target: Callable[[], object], name: str, daemon: bool) -> None:
            self._target = target
            self._actor: Actor | None = None

        def start(self) -> None:
            self._actor = world.thread(self._target)

        def is_alive(self) -> bool:
            return self._actor is not None and not self._actor.done

        def join(self) -> None:
            while self.is_alive():
                world.pause(1.0)

    class Lock:
        def __init__(self) -> None:
            self._held = False

        def __enter__(self) -> None:
            while self._held:
                world.pause(1.0)
            self._held = True

        def __exit__(self, *_: object) -> None:
            self._held = False

    class Condition(Lock):
        def wait(self, timeout: float | None = None) -> None:
            self._held = False
            world.pause(min(timeout or 1.0, 10.0))
            self.__enter__()

        def notify_all(self) -> None:
            pass

    return SimpleNamespace(Thread=Thread, Lock=Lock, Condition=Condition)
