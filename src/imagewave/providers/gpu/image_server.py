"""The lane `gpu` by address: your GPUs behind somebody else's server, asked as one asks OpenAI.

vLLM-Omni and SGLang-Diffusion answer `/v1/images/generations` and, with models that edit,
`/v1/images/edits`, one picture a call. A job is the interactive lane's: calls that are claimed, in
a folder of the store. What they cost is time: each call's share of that in which the server was
busy with ours, at the price of an hour of what stands behind the address.
"""

import re
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from functools import cached_property
from typing import Any

import orjson
import pybase64
from requests import RequestException, Response

from imagewave.providers.caller import ErrorAnswer, body_of, check_key, is_answer
from imagewave.providers.failures import of_http
from imagewave.providers.gpu.access import ACCESS
from imagewave.providers.http.sessions import KeyedSession
from imagewave.providers.interactive.lane import InteractiveLane
from imagewave.providers.openai.wire import EDITS, GENERATIONS, read_line
from imagewave.providers.protocol import Outcome, Rejected, Unavailable
from imagewave.providers.realm import realm_of
from imagewave.providers.wire.input_file import Reference
from imagewave.providers.wire.jsonl import Line
from imagewave.providers.wire.references import accepted
from imagewave.storage.catalog import Model, find_model
from imagewave.storage.catalog.prices import Usage, gpu_usd_per_hour
from imagewave.storage.images import sniff
from imagewave.storage.realms import Realm
from imagewave.storage.requests import FailureClass, Kind, Request
from imagewave.storage.store import Store
from imagewave.words import shown

TIMEOUT_S = (10.0, 1800.0)
"""Seconds to connect, and of silence while a picture waits for its turn and is drawn."""

LIST_TIMEOUT_S = (10.0, 60.0)
"""Likewise where nothing is drawn."""

_TIME = re.compile(rb'\{"gpu_seconds":([0-9.]+),"usd_per_hour":"([0-9.]+)",')


@dataclass(slots=True)
class Share:
    """One call's part of the time in which the server was busy; complete when the call is over."""

    seconds: float = 0.0


class Meter:
    """Divides the time in which calls are under way among those calls, at every moment equally.

    So the shares of all calls add up to the time in which there was any, however many were under
    way together.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._under_way = 0
        self._at = clock()
        self._each = 0.0  # seconds that a call would have got that is under way all the time

    @contextmanager
    def running(self) -> Iterator[Share]:
        """Counts the block as a call."""
        share = Share()
        begun = self._step(+1)
        try:
            yield share
        finally:
            share.seconds = self._step(-1) - begun

    def _step(self, change: int) -> float:
        with self._lock:
            now = self._clock()
            if self._under_way:
                self._each += (now - self._at) / self._under_way
            self._at = now
            self._under_way += change
            return self._each


class ImageServerCaller:
    """One server of one or several models that draw."""

    def __init__(self, base_url: str, api_key: str = "") -> None:
        self._root = base_url.rstrip("/")
        self._key = api_key
        # A server without keys is told one all the same, so that requests looks for no other.
        self._session = KeyedSession("Authorization", f"Bearer {api_key or 'none'}")
        self._meter = Meter()
        self.address = shown(self._root)
        self.listed: Collection[str] = ()
        """The models that the server has said it has; () where it has no such list."""

    @cached_property
    def realm(self) -> Realm:
        """The realm of who answers at its address."""
        return realm_of(self._root)

    def line(self, request: Request, reference: Reference) -> bytes:
        """The call as a line: its body, and apart from that what an edit begins with.

        Raises:
            Rejected: the server's API has no word for something that the request asks for, or the
                server does not list the model.
        """
        model = find_model(request.model)
        if self.listed and _called(model) not in self.listed:
            raise _rejected(
                f"The image server at {self.address} does not list {_called(model)!r}, as which"
                f" {model.id!r} is asked for; it lists {', '.join(self.listed)}.",
                "Start one that has it, name another model, or set weights for it in your models"
                " file to what the server calls it.",
            )
        images = [
            accepted(reference(sha256, request.reference_edge))[0] for sha256 in request.references
        ]
        line = {
            "custom_id": request.id,
            # Written down now: whoever collects may not know it.
            "usd_per_hour": str(gpu_usd_per_hour(model)),
            "url": EDITS if images else GENERATIONS,
            "body": _body(request, model),
            "images": [pybase64.b64encode(image).decode("ascii") for image in images],
        }
        return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)

    def key(self, line: Mapping[str, Any]) -> str:
        return str(line["custom_id"])

    def try_key(self) -> Response:
        response = self._session.get(f"{self._root}/models", timeout=LIST_TIMEOUT_S)
        self.listed = _listed(response)
        return response

    def silent(self) -> Unavailable:
        """That nobody answers."""
        fix = f"Start it, or correct {ACCESS.address}."
        return Unavailable(f"The image server at {self.address} does not answer.", fix)

    def post(self, model: str, line: Mapping[str, Any]) -> Response:
        # The address ends with the version, with which the line's begins.
        url = self._root + str(line["url"]).removeprefix("/v1")
        with self._meter.running() as share:
            if line["images"]:
                fields = {name: str(value) for name, value in line["body"].items()}
                response = self._session.post(
                    url, data=fields, files=_files(line["images"]), timeout=TIMEOUT_S
                )
            else:
                response = self._session.post(
                    url,
                    data=orjson.dumps(line["body"]),
                    headers={"Content-Type": "application/json"},
                    timeout=TIMEOUT_S,
                )
        # How long it took is what it cost, so the share stands for the time.
        response.elapsed = timedelta(seconds=share.seconds)
        return response

    def error_answer(self, response: Response) -> ErrorAnswer:
        said = _said(response)
        status = response.status_code
        failure = of_http(status)
        fix = "Change what the message names."
        if status in (401, 403):
            fix = f"Check {ACCESS.keys[0]}."
        elif status == 404:
            fix = f"Check {ACCESS.address}, and that the server's model draws what is asked for."
        return ErrorAnswer(
            from_provider=said is not None,
            retry=failure is FailureClass.TRANSIENT,
            message=f"The image server answered {status}: {self._quiet(said or '')}",
            fix=fix if failure is FailureClass.INVALID else "",
            failure=failure,
        )

    def wrap(self, line: Mapping[str, Any], response: Response) -> bytes:
        body = body_of(response)
        if not is_answer(response):
            body = orjson.dumps({"error": {"message": self._quiet(_said(response) or "")}})
        return (
            b'{"gpu_seconds":%.6f,"usd_per_hour":%s,"custom_id":%s,'
            b'"response":{"status_code":%d,"body":%s},"error":null}'
        ) % (
            response.elapsed.total_seconds(),
            orjson.dumps(line["usd_per_hour"]),
            orjson.dumps(line["custom_id"]),
            response.status_code,
            body,
        )

    def read(self, line: Line, wants_image: Callable[[str], bool]) -> Outcome:
        outcome = read_line(line, wants_image)
        found = _TIME.match(line.buffer, 0, min(line.size, 200))
        assert found is not None, "`wrap` has written it"
        seconds, hourly = (Decimal(text.decode()) for text in found.groups())
        usage = Usage(0, 0, 0, 0, gpu_seconds=seconds, gpu_usd_per_hour=hourly)
        return replace(outcome, usage=usage)

    def _quiet(self, said: str) -> str:
        return said.replace(self._key, "…") if self._key else said


def served(caller: ImageServerCaller) -> list[str]:
    """The models that the server lists; none without a list.

    Raises:
        Rejected: the key is refused.
        Unavailable: nobody answers.
    """
    try:
        check_key(caller)
    except RequestException:
        raise caller.silent() from None
    return list(caller.listed)


class ImageServerLane(InteractiveLane):
    """Calls to one server; what the interactive lane says of its jobs holds for these."""

    name = "gpu"
    # A GPU gains by a few at once, and what waits for it there could not be given up any more.
    at_once = 8

    def __init__(self, store: Store, caller: ImageServerCaller) -> None:
        super().__init__(store, {"self": caller})
        self._server = caller

    def check_access(self) -> None:
        """Makes sure that somebody answers, and takes the key.

        Raises:
            Rejected: the key is refused.
            Unavailable: nobody answers.
        """
        try:
            super().check_access()
        except Unavailable as error:
            raise self._server.silent() from error


def _called(model: Model) -> str:
    """What the server knows the model as."""
    return model.weights or model.id


def _listed(response: Response) -> tuple[str, ...]:
    """The names in a server's list of models; () where it has none."""
    try:
        data = response.json()["data"] if response.status_code == 200 else ()
        return tuple(str(model["id"]) for model in data)
    except (ValueError, LookupError, TypeError):
        return ()


def _body(request: Request, model: Model) -> dict[str, Any]:
    ratio, size = request.aspect_ratio or "1:1", request.size or model.default_size or ""
    pixels = model.pixels.get((ratio, size))
    if pixels is None:
        raise _rejected(
            f"Nobody knows the pixels of {ratio} at {size or 'error_answer size'} on {model.id!r}.",
            "Set pixels for it in your models file.",
        )
    if request.loras:
        raise _rejected(
            "An image server is not told of adapters call by call.",
            "Start it with them, and leave loras out; or render with diffusers: unset "
            f"{ACCESS.address}.",
        )
    if request.strength is not None:
        raise _rejected(
            "An image server edits a picture; how much of it is drawn anew cannot be said.",
            f'Use carry = "reference" and a model that edits, or unset {ACCESS.address}.',
        )
    prompt = f"{request.system}\n\n{request.prompt}" if request.system else request.prompt
    body = {
        "model": _called(model),
        "prompt": prompt,
        "n": 1,
        "size": "{}x{}".format(*pixels),
        "response_format": "b64_json",
        # Drafts are many, and looked at; finals are delivered.
        "output_format": "png" if request.kind is Kind.FINAL else "jpeg",
        # Left out, it is the same for every call at SGLang-Diffusion.
        "seed": int(request.id[:7], 16) if request.seed is None else request.seed,
        "num_inference_steps": request.steps or model.steps,
        "guidance_scale": model.guidance if request.guidance is None else request.guidance,
    }
    return {name: value for name, value in body.items() if value is not None}


def _files(images: list[str]) -> list[tuple[str, tuple[str, bytes, str]]]:
    files = []
    for number, image in enumerate(images):
        data = pybase64.b64decode(image)
        found = sniff(data)
        files.append(("image", (f"{number}", data, found.mime if found else "image/jpeg")))
    return files


def _said(response: Response) -> str | None:
    """The words of an error, whoever's dialect it is; None where the answer is not the server's."""
    try:
        body = response.json()
    except ValueError:
        return None
    if not isinstance(body, dict):
        return None
    said = body.get("detail") or body.get("error") or body.get("message")
    if isinstance(said, dict):
        said = said.get("message")
    return None if said is None else said if isinstance(said, str) else orjson.dumps(said).decode()


def _rejected(message: str, fix: str) -> Rejected:
    return Rejected(message, fix, FailureClass.INVALID)
