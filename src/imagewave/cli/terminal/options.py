"""Options that several commands have."""

from typing import Annotated

import typer

StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        help="A folder or s3://bucket/prefix; left out: imagewave-data, or imagewave-sandbox where"
        " no provider's key is set.",
    ),
]
"""The store that a command works on; tasks/stores.py chooses where it is left out."""
