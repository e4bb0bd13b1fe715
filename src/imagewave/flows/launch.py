"""Runs a wave for whoever asks for it here: a command, a notebook.

Where the surroundings name a Prefect server, the run is one of its flow runs. Else it is this
process alone: a server of its own would take longer to start than most waves take, and nobody would
look at it.
"""

from imagewave.flows.settle import Waiting
from imagewave.flows.wave import run_wave
from imagewave.loopback import spare_loopback
from imagewave.prefect_server import named_server


def launch(
    wave_file: str,
    store: str,
    *,
    wait: bool = True,
    lane: str | None = None,
    rerun: str | None = None,
    edition: str | None = None,
) -> str:
    """Runs a wave as `run_wave` does; returns its report's path, "" while it waits for its jobs.

    Raises:
        BudgetExceeded: a budget is used up; raise it and run again.
        ServerError: the Prefect server that is named does not answer, or refuses.
    """
    spare_loopback()
    server = named_server()
    if not server:
        try:
            return run_wave(wave_file, store, wait=wait, lane=lane, rerun=rerun, edition=edition)
        except Waiting:
            return ""
    from imagewave.flows.prefect.server import working_with
    from imagewave.flows.prefect.wave import wave

    with working_with(server):
        return str(wave(wave_file, store, wait, lane, rerun, edition=edition))
