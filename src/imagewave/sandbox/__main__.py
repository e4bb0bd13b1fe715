"""`python -m imagewave.sandbox JSON`: how `EmbeddedSandbox` starts its child.

People use `imagewave sandbox serve`. The argument holds `state`, `ready_file`, `host`, `port` and
`settings`, which are those of `Config`.
"""

import json
import sys
from functools import partial
from pathlib import Path

from imagewave.sandbox.core.config import Config
from imagewave.sandbox.core.disk import EXIT_IN_USE, FolderInUse
from imagewave.sandbox.server import listen, serve, write_ready_file


def main(argument: str) -> None:
    """Serves until the parent ends."""
    options = json.loads(argument)
    try:
        serve(
            Path(options["state"]),
            Config().merged(options["settings"]),
            listener=listen(options["host"], options["port"]),
            on_ready=partial(write_ready_file, Path(options["ready_file"])),
            exit_with_parent=True,
        )
    except FolderInUse as error:
        print(error, file=sys.stderr)  # noqa: T201 - to the process that started it
        sys.exit(EXIT_IN_USE)


if __name__ == "__main__":
    main(sys.argv[1])
