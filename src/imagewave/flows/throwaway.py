"""Prefect's throw-away server, which ends with the process that it was started for."""

from prefect.settings import PREFECT_API_URL


def end_server_with_process() -> None:
    """Has the server that Prefect starts, where none is named, end however this process ends.

    To be called before the first flow runs. A server that somebody else started is left alone.
    """
    if not PREFECT_API_URL.value():
        # Heavy; but whoever starts such a server imports it anyway.
        from imagewave.flows.guarded_server import GuardedServer

        GuardedServer()  # Prefect starts the one instance that there is
