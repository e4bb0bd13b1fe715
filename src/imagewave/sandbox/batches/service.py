"""One running sandbox: its state folder, and everything that is shared by the APIs it speaks."""

from collections.abc import Mapping
from pathlib import Path

from imagewave.sandbox.batches.jobs import Jobs
from imagewave.sandbox.batches.results import Format
from imagewave.sandbox.core.config import Config
from imagewave.sandbox.core.disk import lock_folder
from imagewave.sandbox.core.errors import ApiError
from imagewave.sandbox.core.faults import Faults
from imagewave.sandbox.core.files import FileStore
from imagewave.sandbox.core.ledger import Ledger
from imagewave.sandbox.core.models import known, today
from imagewave.sandbox.core.prices import is_priced
from imagewave.storage.catalog import Model


class Service:
    """The state behind the wire. `formats` are those of batches, by their endpoints."""

    def __init__(self, root: Path, config: Config, formats: Mapping[str, Format]) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self._lock = lock_folder(root)
        self.config = config
        self.faults = Faults(root / "faults.json")
        self.files = FileStore(root)
        self.ledger = Ledger(root / "ledger.jsonl")
        self.jobs = Jobs(
            root,
            files=self.files,
            ledger=self.ledger,
            faults=self.faults,
            config=lambda: self.config,
            read_file=self.read_file,
            formats=formats,
        )

    def model(self, name: str, verb: str) -> Model:
        """The living model of a `models/<name>` path.

        Raises:
            ApiError: NOT_FOUND, in Google's words for a retired model and for an unknown one.
        """
        model = known().get(name)
        if model is None or (model.alive(today()) and not is_priced(name)):
            raise ApiError(
                "NOT_FOUND",
                f"models/{name} is not found for API version v1beta, or is not supported for "
                f"{verb}. Call ListModels to see the list of available models and their "
                "supported methods.",
            )
        if not model.alive(today()):
            raise ApiError(
                "NOT_FOUND",
                f"This model models/{name} is no longer available. Please update your code to "
                "use a newer model for the latest features and improvements.",
            )
        return model

    def read_file(self, uri: str) -> bytes:
        """The bytes behind a file's URI.

        Raises:
            ApiError: the file has expired or never was.
        """
        file_id = uri.rpartition("files/")[2]
        return self.files.path(self.files.get(file_id).id).read_bytes()

    def configure(self, config: Config) -> None:
        """Takes effect for what is asked from now on."""
        self.config = config
