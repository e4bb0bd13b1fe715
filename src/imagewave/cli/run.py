"""`imagewave run`: one wave, from briefs to delivered images."""

import importlib
import os
import signal
import sys
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import psutil
import typer

from imagewave.cli.terminal import printing
from imagewave.cli.terminal.advice import command
from imagewave.cli.terminal.display import ProgressDisplay, print_summary, summary
from imagewave.cli.terminal.options import StoreOption
from imagewave.providers.environment import realm_here
from imagewave.storage.facts.analytics import query
from imagewave.storage.realms import money_note
from imagewave.storage.store import Store
from imagewave.tasks.reporting import standing
from imagewave.tasks.stores import store_to_fill
from imagewave.words import counted, legible

if TYPE_CHECKING:
    from imagewave.storage.waves.wave import Wave

NOTHING_DELIVERED = 4
"""What a command ends with whose wave has ended without a single picture."""

# Ctrl-C is to end within 5 s, however slow the store is.
_LAST_WORDS_S = 3.5


def run(
    wave: Annotated[str, typer.Argument(help="The wave file: a path or URL.", metavar="WAVE")],
    store: StoreOption = None,
    wait: Annotated[
        bool, typer.Option(help="Wait for the provider's jobs; else come back later.")
    ] = True,
    edition: Annotated[
        str,
        typer.Option(
            help="Make new pictures as this edition: a word, or daily, weekly, monthly.",
        ),
    ] = "",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object; progress goes to stderr.")
    ] = False,
) -> None:
    """Run a wave: briefs in, accepted images out.

    Without GEMINI_API_KEY it runs on the embedded sandbox: no key, no account, no cost. Its
    stand-ins and real pictures have stores of their own, ./imagewave-sandbox and ./imagewave-data,
    and are never mixed in one. Repeat the
    command after any interruption: it goes on where it was and pays for nothing twice. Ends with 0
    where the wave was delivered, in part at least, or waits; 3 where a budget is used up; 4 where
    the wave has ended and nothing was delivered. An edition that was begun and not finished is gone
    on with, also on the next day.

    Examples:

      imagewave run examples/spring-covers.toml

      GEMINI_API_KEY=… imagewave run covers.toml --store s3://team/imagewave

      imagewave run covers.toml --no-wait

      imagewave run covers.toml --edition 2026-12-24

      imagewave run covers.toml --json
    """
    with printing.answering_in_json(as_json):
        _run(wave, store, wait=wait, edition=edition, as_json=as_json)


def _run(wave: str, store: str | None, *, wait: bool, edition: str, as_json: bool) -> None:
    from imagewave.providers.lanes import providers_of
    from imagewave.storage.waves.editions import choose, current
    from imagewave.storage.waves.wave_file import load_wave

    of_file = load_wave(wave)
    for warning in of_file.warnings:
        printing.warn(warning)
    opened = store_to_fill(store, providers_of(of_file))
    loaded = choose(opened, of_file, edition)
    if not edition and loaded.edition != (now := current(of_file)):
        printing.say(
            f"Going on with {loaded.name}, which was begun and is not finished. For {now}, run"
            f" this again when it is, or add --edition {now}."
        )
    before = standing.paid(opened, loaded.name)
    if not standing.is_done(opened, loaded) or standing.owed(opened, loaded.name):
        make(wave, opened, loaded, wait=wait)
    conclude(opened, loaded, before, as_json=as_json)


def make(wave: str, store: Store, loaded: "Wave", *, wait: bool, rerun: str | None = None) -> None:
    """Runs the wave of the file `wave` as far as it goes, with its progress in the terminal."""
    from imagewave.providers.lanes import providers_of

    display = ProgressDisplay()
    with (
        provider(store, providers_of(loaded)),
        stopping_cleanly(store, loaded.name, display),
    ):
        run_flow(wave, store.url, display, wait=wait, rerun=rerun, edition=loaded.edition)


def conclude(
    store: Store,
    wave: "Wave",
    before: standing.Paid,
    *,
    as_json: bool,
    more: dict[str, Any] | None = None,
) -> None:
    """Says what came of the wave so far, and ends the command where nothing was delivered.

    `before` is what it had paid for before this very run; `more` goes into the JSON object.
    """
    found = summary(store, wave.name, before=before)
    done = standing.is_done(store, wave)
    nothing = done and not found["funnel"]["final"]
    owed = standing.owed(store, wave.name) if done else []
    if as_json:
        state = "nothing delivered" if nothing else "delivered" if done else "waits"
        status = NOTHING_DELIVERED if nothing else 0
        extra = {"given_up_jobs": owed, "exit_status": status}
        printing.answer({"state": state, **found, **extra, **(more or {})})
    else:
        print_summary(store, found)
        for line in _what_next(store, wave, done, owed):
            printing.say(line)
    if nothing:
        raise typer.Exit(NOTHING_DELIVERED)


def _what_next(store: Store, wave: "Wave", done: bool, owed: list[str]) -> Iterator[str]:
    if not done:
        yield (
            f"The wave waits for its provider. {command(store, 'watch')} goes on with it when jobs"
            " have ended; so does this command, repeated."
        )
        return
    if wave.cache == "refresh" and not wave.edition:
        yield 'The next run makes no new pictures; [wave] edition = "daily" would, each day.'
    for job in owed:
        again = f" with --edition {wave.edition}" if wave.edition else ""
        yield f"Job {job} was given up, but may be billed: run this again{again} later."


@contextmanager
def provider(store: Store, needed: Collection[str]) -> Iterator[None]:
    """The keys and addresses of the providers that are needed: the user's, or the sandbox's.

    Raises:
        StoreError: the store holds the pictures of the other realm.
    """
    from imagewave.flows.stand_in import stand_in

    if not realm_here(needed):
        # What the run needs takes as long to import as the sandbox takes to start.
        threading.Thread(
            target=importlib.import_module, args=("imagewave.flows.launch",), daemon=True
        ).start()
    with stand_in(store, needed) as missing:
        if missing:
            names = " and no ".join(missing)
            printing.say(
                f"No {names}: running on the embedded sandbox. Its pictures are stand-ins."
            )
        yield


def quiet_prefect() -> None:
    """Settings for Prefect inside a command; before its first import."""
    # A failed task's error reaches the user as one message; Prefect would print its traceback too.
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
    # Left on, each run ends seconds later.
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")


def run_flow(
    wave: str,
    store: str,
    display: ProgressDisplay,
    *,
    wait: bool,
    rerun: str | None = None,
    edition: str = "",
) -> None:
    """Runs the wave, with its progress on the display."""
    quiet_prefect()
    with display:
        display.note("starting")
        from imagewave.flows.launch import launch
        from imagewave.flows.progress import Progress, watched_by

        def show(progress: Progress) -> None:
            # Prefect takes SIGTERM over while a flow runs, and would wait for its threads first.
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))
            display.show(progress)

        with watched_by(show):
            launch(wave, store, wait=wait, rerun=rerun, edition=edition or None)


@contextmanager
def stopping_cleanly(
    store: Store, wave: str, display: ProgressDisplay | None = None
) -> Iterator[None]:
    """Ctrl-C and SIGTERM end at once: whatever was going on, the store knows how to go on.

    Only single calls that are under way are waited for, since their answers are paid for and come
    but once; a second signal drops them.
    """

    def end(number: int, frame: object) -> NoReturn:
        # Threads that still download or decode may be dropped anywhere: all of it can be repeated.
        os._exit(128 + number)

    def stop(number: int, frame: object) -> NoReturn:
        if display is not None:
            display.leave()
        _write_last("")
        _write_last("Stopping.")
        for each in numbers:
            signal.signal(each, end)
        # The main thread may be in the middle of anything, with locks that these words need.
        telling = threading.Thread(target=_last_words, args=(store, wave), daemon=True)
        telling.start()
        telling.join(_LAST_WORDS_S)
        _take_in_calls()
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                child.terminate()
        end(number, frame)

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _take_in_calls() -> None:
    """Waits for the answers of calls that are under way, if this process has made any."""
    if "imagewave.providers.interactive.working" not in sys.modules:
        return
    from imagewave.providers.interactive.working import end_all, under_way

    if calls := under_way():
        them = "it" if calls == 1 else "them"
        what = f"Waiting for {counted(calls, 'call')} that will be billed; Ctrl-C again drops"
        _write_last(f"{what} {them}.")
    for lost in end_all():
        _write_last(f"Paid for, and lost: {lost}")


def _write_last(line: str) -> None:
    """Writes a line to standard error past Python's buffers, whose locks may be held."""
    with suppress(OSError):  # a terminal that has gone
        os.write(2, f"{legible(line)}\n".encode())


def _last_words(store: Store, wave: str) -> None:
    try:
        _tell_what_is_in_flight(store, wave)
    except Exception as error:  # noqa: BLE001 - said here, or nobody hears it
        _write_last(f"What is in flight could not be looked up: {error}")


def _tell_what_is_in_flight(store: Store, wave: str) -> None:
    jobs = query(
        store,
        "SELECT event, provider_job, requests, held_usd FROM jobs"
        " WHERE wave = ? AND event IN ('claimed', 'accepted') ORDER BY claimed_at",
        [wave],
    )
    one = len(jobs) == 1
    _write_last(
        f"{counted(len(jobs), 'job')} {'is' if one else 'are'} with the provider and"
        f" {'goes' if one else 'go'} on there:"
        if jobs
        else "No job is with the provider."
    )
    note = money_note(store.realm)
    for job in jobs:
        name = job["provider_job"] or "a job that the provider may have, and has not confirmed yet"
        requests = counted(job["requests"], "request")
        _write_last(f"  {name}: {requests}, ${job['held_usd']:.4f} held{note}")
    _write_last("Run the same command again to go on; nothing is asked for twice.")
