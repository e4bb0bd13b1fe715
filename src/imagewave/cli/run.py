"""`imagewave run`: one wave, from briefs to delivered images."""

import os
import signal
import sys
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, NoReturn

import psutil
import typer

from imagewave.cli.commands import command
from imagewave.cli.display import ProgressDisplay, paid_by, print_summary
from imagewave.storage.analytics import query
from imagewave.storage.store import DEFAULT_STORE, Store
from imagewave.words import counted

NOTHING_DELIVERED = 4
"""What a command ends with whose wave has ended without a single picture."""

# Ctrl-C is to end within 5 s, however slow the store is.
_LAST_WORDS_S = 3.5

_SETTINGS = {
    "google": ("GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_GEMINI_BASE_URL"),
    "openai": ("OPENAI_API_KEY", "OPENAI_BASE_URL"),
    "anthropic": ("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"),
}


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
    command after any interruption: it goes on where it was and pays for nothing twice. Ends with 0
    where the wave was delivered, in part at least, or waits; 3 where a budget is used up; 4 where
    the wave has ended and nothing was delivered.

    Examples:

      imagewave run examples/spring-covers.toml

      GEMINI_API_KEY=… imagewave run covers.toml --store s3://team/imagewave

      imagewave run covers.toml --no-wait
    """
    from imagewave.storage.wavefile import load_wave
    from imagewave.tasks.lanes import providers_of

    loaded = load_wave(wave)
    for warning in loaded.warnings:
        print(f"Warning: {warning}", file=sys.stderr)
    opened = Store.open(store)
    before = paid_by(opened, loaded.name)
    if not is_done(opened, loaded.name, loaded.revision) or _owed(opened, loaded.name):
        with provider(opened, providers_of(loaded)), stopping_cleanly(opened, loaded.name):
            run_flow(wave, store, wait=wait)
    delivered = print_summary(opened, loaded.name, before=before)
    if is_done(opened, loaded.name, loaded.revision):
        for job in _owed(opened, loaded.name):
            print(f"Job {job} was given up, but the provider may bill it: run this again later.")
        if not delivered:
            raise typer.Exit(NOTHING_DELIVERED)
    else:
        print(
            f"The wave waits for its provider. {command(opened, 'watch')} goes on with it when jobs"
            " have ended; so does this command, repeated."
        )


def is_done(store: Store, wave: str, revision: str) -> bool:
    """Whether this very wave was delivered before: then there is nothing to decide."""
    rows = query(store, "SELECT revision FROM waves WHERE wave = ?", [wave])
    if rows != [{"revision": revision}]:
        return False
    from imagewave.storage.reruns import is_delivered

    return is_delivered(store, wave, revision)


def _owed(store: Store, wave: str) -> list[str]:
    """The wave's jobs that nobody waits for, and that the provider may still finish and bill."""
    from imagewave.storage.ledger import Ledger

    return [hold.job_id for hold in Ledger(store).open_holds() if hold.wave == wave]


@contextmanager
def provider(store: Store, needed: Collection[str] = ("google",)) -> Iterator[None]:
    """The keys and addresses of the providers that are needed: the user's, or the sandbox's."""
    variables = [variable for provider in needed for variable in _SETTINGS.get(provider, ())]
    # An address without a key is a mistake that the lane will name, not a wish for the sandbox.
    # Pictures from own GPUs are real, and a stand-in's must not be mixed with them.
    if "self" in needed or any(os.environ.get(variable) for variable in variables):
        yield
        return
    from imagewave.sandbox.embedded import EmbeddedSandbox

    folder = store.local_path("sandbox")
    state = folder or Path.home() / ".cache" / "imagewave" / "sandbox" / store.id
    with EmbeddedSandbox(state) as sandbox:
        missing = " and no ".join(_SETTINGS[provider][0] for provider in sorted(needed))
        print(f"No {missing}: running on the embedded sandbox. Its pictures are stand-ins.")
        surroundings = sandbox.environment()
        before = {name: os.environ.get(name) for name in surroundings}
        os.environ.update(surroundings)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


def quiet_prefect() -> None:
    """Settings for Prefect inside a command; before its first import."""
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("PREFECT_SERVER_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")


def run_flow(wave: str, store: str, *, wait: bool, rerun: str | None = None) -> None:
    """Runs the wave's flow, with its progress in the terminal."""
    # A failed task's error reaches the user as one message; Prefect would print its traceback too.
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
    os.environ.setdefault("PREFECT_SERVER_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    with ProgressDisplay() as display:
        display.note("starting Prefect")
        from imagewave.flows.progress import Progress, watched_by
        from imagewave.flows.throwaway import end_server_with_process
        from imagewave.flows.wave import wave as wave_flow

        end_server_with_process()

        def show(progress: Progress) -> None:
            # Prefect takes SIGTERM over while a flow runs, and would wait for its threads first.
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))
            display.show(progress)

        with watched_by(show):
            wave_flow(wave, store, wait, rerun=rerun)


@contextmanager
def stopping_cleanly(store: Store, wave: str) -> Iterator[None]:
    """Ctrl-C and SIGTERM end at once: whatever was going on, the store knows how to go on."""

    def stop(number: int, frame: object) -> NoReturn:
        os.write(2, b"\nStopping.\n")
        # The main thread may be in the middle of anything, with locks that these words need.
        telling = threading.Thread(target=_tell_what_is_in_flight, args=(store, wave), daemon=True)
        telling.start()
        telling.join(_LAST_WORDS_S)
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                child.terminate()
        # Threads that still download or decode may be dropped anywhere: all of it can be repeated.
        os._exit(128 + number)

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _tell_what_is_in_flight(store: Store, wave: str) -> None:
    jobs = query(
        store,
        "SELECT event, provider_job, requests, held_usd FROM jobs"
        " WHERE wave = ? AND event IN ('claimed', 'accepted') ORDER BY claimed_at",
        [wave],
    )
    lines = [
        f"  {job['provider_job'] or 'a job that the provider may have, it did not say yet'}: "
        f"{counted(job['requests'], 'request')}, ${job['held_usd']:.4f} held"
        for job in jobs
    ]
    in_flight = (
        f"With the provider are {counted(len(jobs), 'job')}, which go on there:"
        if jobs
        else "No job is with the provider."
    )
    words = "\n".join(
        (
            in_flight,
            *lines,
            "Run the same command again to go on; nothing is asked for twice.",
            "",
        )
    )
    os.write(2, words.encode())
