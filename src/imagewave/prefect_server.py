"""Which Prefect server there is to work with, if any.

A wave needs none. Importing Prefect takes longer than all the rest, so it is asked only where
something of its settings is in sight.
"""

import os
import sys
import tomllib
from pathlib import Path

from pydantic import ValidationError

from imagewave.errors import ImagewaveError

# Where Prefect looks for the address, or for the profile that has it. It takes any case.
_VARIABLES = {"PREFECT_API_URL", "PREFECT_PROFILE", "PREFECT_PROFILES_PATH"}


def named_server() -> str:
    """The address of the Prefect API that the surroundings name; "" if they name none.

    Raises:
        ImagewaveError: Prefect cannot read its settings.
    """
    if "prefect" not in sys.modules and not _in_sight():
        return ""
    try:
        from prefect.settings import PREFECT_API_URL

        return str(PREFECT_API_URL.value() or "")
    except ValidationError as error:
        said = "; ".join(fault["msg"] for fault in error.errors(include_input=False))
        raise ImagewaveError(
            f"Prefect cannot read its settings: {said}.",
            "Correct them, or unset them: they are PREFECT_… variables, prefect.toml, .env,"
            " [tool.prefect] in pyproject.toml, and the profile (`prefect profile inspect`).",
        ) from None


def _in_sight() -> bool:
    """Whether Prefect may have been given an address; if so, it knows how to read it."""
    if any(name.upper() in _VARIABLES and value for name, value in os.environ.items()):
        return True
    home = Path(os.environ.get("PREFECT_HOME") or Path.home() / ".prefect")
    return (
        Path("prefect.toml").exists()
        or "PREFECT_" in _text(Path(".env")).upper()
        or "PREFECT_API_URL" in _text(home / "profiles.toml")
        or _pyproject_has_settings()
    )


def _pyproject_has_settings() -> bool:
    try:
        return "prefect" in tomllib.loads(_text(Path("pyproject.toml"))).get("tool", {})
    except tomllib.TOMLDecodeError:
        return False


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
