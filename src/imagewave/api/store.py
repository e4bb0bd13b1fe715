"""A store as its users see it: questions, pictures, and where its waves stand."""

import os
from collections.abc import Mapping, Sequence
from functools import cached_property

from imagewave.api import answers, pictures, results
from imagewave.api.answers import Answer
from imagewave.api.pictures import Asset, Image, Pictures
from imagewave.api.results import Result
from imagewave.storage.facts import analytics
from imagewave.storage.facts.analytics import require_wave
from imagewave.storage.store import Store as Files
from imagewave.tasks.reporting import standing
from imagewave.tasks.reporting.standing import Status
from imagewave.tasks.stores import default_store, store_to_read


class Store:
    """What imagewave remembers at a folder or URL such as `s3://bucket/prefix`.

    Without a URL it is the store that a run from here fills: `imagewave-data`, or
    `imagewave-sandbox` where no provider's key is set. Nothing is looked at before something
    is asked, so the store may be made later, by a run. Each call sees the facts as they are then.

    Every call raises `NoStore` where there is no store, and `StoreError` where it cannot be reached
    or is damaged.
    """

    def __init__(self, url: str | os.PathLike[str] | None = None) -> None:
        self._url = None if url is None else os.fspath(url)

    @property
    def url(self) -> str:
        """The folder or URL, as it was given; else the default store of a run from here."""
        return default_store() if self._url is None else self._url

    def query(
        self, sql: str, params: Sequence[object] | Mapping[str, object] | None = None
    ) -> Answer:
        """What SQL answers over the facts; `params` are for the `?` or `$name` in it.

        It only reads, and only facts: it changes nothing and opens no other file.

        Raises:
            QueryError: it is no SQL, names what is not there, or does more than read.
        """
        return answers.ask(self._url, sql, params)

    def views(self) -> dict[str, str]:
        """The views that queries can ask, each with what it says."""
        return dict(analytics.views())

    def images(self, wave: str = "", *, brief: str = "") -> Pictures[Image]:
        """The drafts and finals that came, of a wave and a brief, or of all.

        Finals come before drafts, and the best first. All of them are in memory: of a store with
        millions, name a wave, or use `query`.

        Raises:
            UnknownWave: the store has no such wave.
        """
        return pictures.images(self._of(wave), wave, brief)

    def assets(self, wave: str = "", *, brief: str = "") -> Pictures[Asset]:
        """The delivered files, each with its lineage, of a wave and a brief, or of all.

        Raises:
            UnknownWave: the store has no such wave.
        """
        return pictures.assets(self._of(wave), wave, brief)

    def status(self, wave: str = "") -> Status:
        """Where a wave stands, or every wave, and what is with a provider.

        Raises:
            UnknownWave: the store has no such wave.
        """
        return standing.status(self._of(wave), wave)

    def result(self, wave: str) -> Result:
        """What a wave has come to, as `run` returns it. Nothing is run.

        Raises:
            UnknownWave: the store has no such wave.
        """
        return results.result_of(self._of(wave), wave)

    def _of(self, wave: str) -> Files:
        """The store's files, if it has the wave; "" is none."""
        if wave:
            require_wave(self._files, wave)
        return self._files

    @cached_property
    def _files(self) -> Files:
        return store_to_read(self._url)

    def __repr__(self) -> str:
        return f"Store({self.url!r})"


def query(
    sql: str,
    params: Sequence[object] | Mapping[str, object] | None = None,
    *,
    store: Store | str | os.PathLike[str] | None = None,
) -> Answer:
    """What SQL answers over the facts of a store, as `Store.query` does.

    Raises:
        QueryError: it is no SQL, names what is not there, or does more than read.
        NoStore, StoreError: as for every call on a store.
    """
    return (store if isinstance(store, Store) else Store(store)).query(sql, params)
