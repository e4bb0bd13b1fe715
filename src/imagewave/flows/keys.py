"""Providers' keys for deployed runs: from the worker's environment, else from Secret blocks.

Keys are never parameters: a parameter is stored in the clear and shown in the UI.
"""

import os
from typing import cast

from prefect.blocks.system import Secret

# The environment variables that may hold a key, the first of which is set from the block.
_BLOCKS = {"gemini-api-key": ("GEMINI_API_KEY", "GOOGLE_API_KEY")}


def fetch_keys() -> None:
    """Sets the variables of keys that are not in the environment but in a Secret block."""
    for block, variables in _BLOCKS.items():
        if any(os.environ.get(variable) for variable in variables):
            continue
        try:
            secret = cast(Secret[str], Secret.load(block))
        except ValueError:  # no such block; the lane says that it has no key, and how to set one
            continue
        os.environ[variables[0]] = secret.get()
