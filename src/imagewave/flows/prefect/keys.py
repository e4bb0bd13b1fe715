"""Providers' keys for deployed runs: from the worker's environment, else from Secret blocks.

Keys are never parameters: a parameter is stored in the clear and shown in the UI.
"""

import os
from typing import cast

from prefect.blocks.system import Secret

from imagewave.providers.registry import providers


def fetch_keys() -> None:
    """Sets the variables of keys that are not in the environment but in a Secret block.

    The block of GEMINI_API_KEY is called `gemini-api-key`.
    """
    for variables in (each.access.keys for each in providers().values() if each.access):
        if any(os.environ.get(variable) for variable in variables):
            continue
        try:
            secret = cast(Secret[str], Secret.load(variables[0].lower().replace("_", "-")))
        except ValueError:  # no such block; the lane says that it has no key, and how to set one
            continue
        os.environ[variables[0]] = secret.get()
