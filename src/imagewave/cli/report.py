"""`imagewave report`: a wave's report, written anew from the facts."""

from typing import Annotated

import typer

from imagewave.cli.terminal.options import StoreOption
from imagewave.cli.terminal.printing import say
from imagewave.tasks.stores import store_to_read


def report(
    wave: Annotated[str, typer.Argument(help="The wave's name.", metavar="WAVE")],
    store: StoreOption = None,
) -> None:
    """Write a wave's report again, from the facts as they are now, and print its path.

    Examples:

      imagewave report spring-covers

      imagewave report spring-covers --store s3://team/imagewave
    """
    from imagewave.tasks.reporting.report import write_report

    opened = store_to_read(store)
    say(opened.url_of(write_report(opened, wave)))
