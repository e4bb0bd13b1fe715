"""`imagewave report`: a wave's report, written anew from the facts."""

from typing import Annotated

import typer

from imagewave.storage.store import DEFAULT_STORE, Store


def report(
    wave: Annotated[str, typer.Argument(help="The wave's name.", metavar="WAVE")],
    store: Annotated[str, typer.Option(help="Folder or URL of the store.")] = DEFAULT_STORE,
) -> None:
    """Write a wave's report again, from the facts as they are now, and print its path.

    Examples:

      imagewave report spring-covers

      imagewave report spring-covers --store s3://team/imagewave
    """
    from imagewave.tasks.report import write_report

    opened = Store.open(store, create=False)
    print(opened.url_of(write_report(opened, wave)))
