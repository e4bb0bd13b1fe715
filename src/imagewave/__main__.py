"""`python -m imagewave` is `imagewave`."""

from imagewave.cli import main

main()
