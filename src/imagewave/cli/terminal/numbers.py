"""Numbers on the command line."""

import math

import typer


def finite(number: float | None) -> float | None:
    """An option's number; nan and inf, which Python reads as numbers, are wrong usage."""
    if number is not None and not math.isfinite(number):
        raise typer.BadParameter(f"{number} is not a number of anything.")
    return number
