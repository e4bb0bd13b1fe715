"""The Prefect server that runs are recorded on, seen from a command that needs it."""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectHTTPStatusError

from imagewave import clock
from imagewave.errors import ImagewaveError
from imagewave.flows.progress import Progress, tell
from imagewave.words import redacted

WAIT_VARIABLE = "IMAGEWAVE_PREFECT_WAIT_SECONDS"
"""How long a server may take to answer for the first time: it may be starting just now."""

_WAIT_S = 60.0
_PAUSE_S = 0.5
_WITHOUT = (
    "Or take PREFECT_API_URL away (`prefect config view` shows where it is set): no wave needs a"
    " server."
)


class ServerError(ImagewaveError):
    """Prefect's server cannot be worked with."""


@contextmanager
def working_with(server: str) -> Iterator[None]:
    """Waits until the server answers; what goes wrong with it in the block is one error.

    Raises:
        ServerError: its address is none, or it does not answer in time, refuses, or is lost in the
            block.
    """
    _check(server)
    _await(server)
    try:
        yield
    except (httpx.HTTPError, PrefectHTTPStatusError) as error:
        raise ServerError(
            f"Prefect's server at {redacted(server)} failed: {_said(error)}.",
            "All that the wave has done is kept. See to the server, and run the same command"
            f" again. {_WITHOUT}",
        ) from error


def _check(server: str) -> None:
    """Refuses an address at which no server can ever answer, so that nobody waits for it."""
    try:
        parts = urlsplit(server)
        sound = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # of the port, or of the brackets around an IPv6 address
        sound = False
    if not sound:
        raise ServerError(
            f"PREFECT_API_URL is {redacted(server)!r}, which is not the address of a server.",
            f"Write it like http://127.0.0.1:4200/api. {_WITHOUT}",
        )


def _await(server: str) -> None:
    limit = _wait_s()
    deadline = clock.steady() + limit
    name = redacted(server)
    waited = False
    with get_client(sync_client=True) as client:
        while (error := client.api_healthcheck()) is not None:
            if isinstance(error, PrefectHTTPStatusError) and error.response.status_code < 500:
                raise ServerError(
                    f"Prefect's server at {name} refuses: {_said(error)}.",
                    f"Check PREFECT_API_URL, and the key or password that it asks for. {_WITHOUT}",
                ) from error
            if clock.steady() >= deadline:
                raise ServerError(
                    f"Prefect's server at {name} has not answered for {limit:g} s: {_said(error)}.",
                    f"Start it; {WAIT_VARIABLE} says how long to wait for it. {_WITHOUT}",
                ) from error
            tell(Progress(stage="Prefect", requests=1, note=f"waiting for the server at {name}"))
            waited = True
            clock.sleep(_PAUSE_S)
    if waited:
        tell(Progress(stage="Prefect", requests=1, requests_done=1, note="the server answers"))


def _wait_s() -> float:
    given = os.environ.get(WAIT_VARIABLE, "")
    if not given:
        return _WAIT_S
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ImagewaveError(f"{WAIT_VARIABLE}={given} is no number of seconds.", "Try 120.")
    return seconds


def _said(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
