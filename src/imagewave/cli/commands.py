"""Commands that a message advises, as they can be pasted."""

import os
import shlex

from imagewave.storage.store import DEFAULT_STORE, Store


def command(store: Store, words: str) -> str:
    """`imagewave …` in backquotes; names the store unless that is the one it would use anyway."""
    elsewhere = store.url != os.path.abspath(DEFAULT_STORE)
    option = f" --store {shlex.quote(store.url)}" if elsewhere else ""
    return f"`imagewave {words}{option}`"
