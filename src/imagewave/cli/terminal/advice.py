"""Commands that a message advises, as they can be pasted."""

import os
import shlex

from imagewave.storage.store import Store
from imagewave.tasks.stores import default_store


def command(store: Store, words: str) -> str:
    """`imagewave …` in backquotes; names the store unless that is the one it would use anyway."""
    elsewhere = store.url != os.path.abspath(default_store())
    option = f" --store {shlex.quote(store.url)}" if elsewhere else ""
    return f"`imagewave {words}{option}`"
