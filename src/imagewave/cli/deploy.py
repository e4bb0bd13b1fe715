"""`imagewave deploy`: work pools, deployments and automations on a Prefect server."""

from importlib import resources
from typing import Annotated

import typer

from imagewave.cli.terminal.printing import say
from imagewave.storage.store import DEFAULT_STORE, Store


def deploy(
    wave: Annotated[
        str,
        typer.Argument(
            help="A wave file (path or URL) that gets a deployment of its own.", metavar="[WAVE]"
        ),
    ] = "",
    store: Annotated[str, typer.Option(help="Folder or URL of the store.")] = DEFAULT_STORE,
    cron: Annotated[str, typer.Option(help="When the wave runs, as a cron line.")] = "",
    timezone: Annotated[str, typer.Option(help="The time zone of --cron.")] = "UTC",
    notify: Annotated[
        str, typer.Option(help="Notification block to tell of failures: slack-webhook/ops.")
    ] = "",
    helpers: Annotated[
        int,
        typer.Option(
            min=0, help="How many other workers may share the collecting of one wave's jobs."
        ),
    ] = 0,
    settings: Annotated[
        bool, typer.Option("--settings", help="Print settings for servers and workers instead.")
    ] = False,
) -> None:
    """Put imagewave on the Prefect server that PREFECT_API_URL names.

    Creates the work pools `default` and `gpu`, the deployments `wave`, `share`, `watch`, `upkeep`
    and `render`, and the automations for zombies, failures and budget stops. With a wave file, also
    a deployment for that wave, of which one run at a time is let through. Repeat it whenever
    something changes.

    Examples:

      imagewave deploy --settings > prefect.env

      imagewave deploy --store s3://team/imagewave --helpers 3

      imagewave deploy s3://team/waves/covers.toml --cron "0 6 * * 1" --store s3://team/imagewave
    """
    if settings:
        env = resources.files("imagewave.deployments").joinpath("prefect.env").read_text()
        say(env.rstrip("\n"), lines=True)
        return
    if cron and not wave:
        raise typer.BadParameter("--cron needs a wave file to run.")
    from prefect.schedules import Cron

    from imagewave.deployments import deploy as server
    from imagewave.storage.waves.handover import absolute
    from imagewave.storage.waves.wave_file import load_wave

    url = server.require_server()
    opened = Store.open(store)
    loaded = load_wave(wave) if wave else None
    for made in server.deploy(opened, notify=notify or None, helpers=helpers):
        say(made)
    if loaded is not None:
        schedule = Cron(cron, timezone=timezone) if cron else None
        name = server.deploy_wave(opened, loaded, absolute(wave), schedule, helpers=helpers)
        say(f"deployment {name}" + (f", {cron} {timezone}" if cron else ""))
    say(f"Deployed to {url}. Start a worker where the keys are: prefect worker start -p default")
