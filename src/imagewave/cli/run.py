"""`imagewave run`: one wave, from briefs to delivered images."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from imagewave.cli.display import ProgressDisplay, print_summary
from imagewave.storage.analytics import query
from imagewave.storage.store import DEFAULT_STORE, Store

_PROVIDER = ("GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_GEMINI_BASE_URL")


def run(
    wave: Annotated[str, typer.Argument(help="The wave file: a path or URL.", metavar="WAVE")],
    store: Annotated[
        str,
        typer.Option(help="Where everything is kept: a folder or s3://bucket/prefix."),
    ] = DEFAULT_STORE,
    wait: Annotated[
        bool, typer.Option(help="Wait for the provider's jobs; else come back later.")
    ] = True,
) -> None:
    """Run a wave: briefs in, accepted images out.

    Without GEMINI_API_KEY it runs on the embedded sandbox: no key, no account, no cost. Repeat the
    command after any interruption: it goes on where it was and pays for nothing twice.

    Examples:

      imagewave run examples/spring-covers.toml

      GEMINI_API_KEY=… imagewave run covers.toml --store s3://team/imagewave

      imagewave run covers.toml --no-wait
    """
    from imagewave.storage.wavefile import load_wave

    loaded = load_wave(wave)
    for warning in loaded.warnings:
        print(f"Warning: {warning}", file=sys.stderr)
    opened = Store.open(store)
    before = _spent(opened)
    if not _is_done(opened, loaded.name, loaded.revision):
        with provider(opened), _stopping_cleanly(opened, loaded.name):
            _run_flow(wave, store, wait=wait)
    print_summary(opened, loaded.name, spent=_spent(opened) > before)
    if not _is_done(opened, loaded.name, loaded.revision):
        print(
            "The wave waits for its provider. `imagewave watch` goes on with it when jobs have "
            "ended; so does this command, repeated."
        )


def _spent(store: Store) -> Decimal:
    (row,) = query(store, "SELECT coalesce(sum(cost_usd), 0) AS usd FROM costs")
    return Decimal(row["usd"])


def _is_done(store: Store, wave: str, revision: str) -> bool:
    """Whether this very wave was delivered before: then there is nothing to do."""
    rows = query(store, "SELECT revision FROM waves WHERE wave = ?", [wave])
    if rows != [{"revision": revision}]:
        return False
    from imagewave.storage import facts

    return facts.has(store, "assets", f"{wave}-{revision}")


@contextmanager
def provider(store: Store) -> Iterator[None]:
    """The provider's key and address in the environment: the user's, or the embedded sandbox's."""
    # An address without a key is a mistake that the lane will name, not a wish for the sandbox.
    if any(os.environ.get(variable) for variable in _PROVIDER):
        yield
        return
    from imagewave.sandbox.embedded import EmbeddedSandbox

    folder = store.local_path("sandbox")
    state = folder or Path.home() / ".cache" / "imagewave" / "sandbox" / store.id
    with EmbeddedSandbox(state) as sandbox:
        print("No GEMINI_API_KEY: running on the embedded sandbox. Its pictures are stand-ins.")
        os.environ["GEMINI_API_KEY"] = "sandbox"
        os.environ["GOOGLE_GEMINI_BASE_URL"] = sandbox.url
        yield


def quiet_prefect() -> None:
    """Settings for Prefect inside a command; before its first import."""
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("PREFECT_SERVER_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")


def _run_flow(wave: str, store: str, *, wait: bool) -> None:
    # A failed task's error reaches the user as one message; Prefect would print its traceback too.
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
    os.environ.setdefault("PREFECT_SERVER_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    with ProgressDisplay() as display:
        display.note("starting Prefect")
        from imagewave.flows.progress import watched_by
        from imagewave.flows.wave import wave as wave_flow

        with watched_by(display.show):
            wave_flow(wave, store, wait)


@contextmanager
def _stopping_cleanly(store: Store, wave: str) -> Iterator[None]:
    """Ctrl-C and SIGTERM end at once: whatever was going on, the store knows how to go on."""

    def stop(number: int, frame: object) -> NoReturn:
        jobs = query(
            store,
            "SELECT provider_job, requests FROM jobs WHERE wave = ? AND event = 'accepted'",
            [wave],
        )
        held = sum(row["requests"] for row in jobs)
        print(
            f"\nStopped. {len(jobs)} jobs with {held} requests are with the provider and go on"
            f" there{':' if jobs else '.'}",
            *(f"  {row['provider_job']}" for row in jobs),
            "Run the same command again to go on; nothing is asked for twice.",
            sep="\n",
            file=sys.stderr,
            flush=True,
        )
        # Threads that still download or decode may be dropped anywhere: all of it can be repeated.
        os._exit(128 + number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
