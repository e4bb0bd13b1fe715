"""Jobs of the GPU lane: what is to be rendered, and what has been, picture by picture.

    renders/inputs/<handle>.jsonl     a job's lines, one per picture
    renders/<token>/job.json          what was asked for, once
    renders/<token>/renderer.json     the process on this or that machine that renders it
    renders/<token>/done/<key>.json   what became of a picture, once it is durable
    renders/<token>/failed.json       why the rendering ended early
    renders/<token>/cancelled         no more pictures, please
    renders/numerics/<id>.json        what a numerics id stands for

Each file is written once, with put-if-absent. A rendering that was killed is taken up by whoever
renders the job next: what it lacks are the lines without a record.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property

import orjson

from imagewave.storage.jobs.folder import Claimer, Signature, now
from imagewave.storage.records import parse_record, read_record
from imagewave.storage.requests import digest
from imagewave.storage.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderLine:
    """One picture to render; `key` is its request's id, sizes are in pixels.

    `image` is the path of a stored picture that is drawn over, "" where there is none; `strength`
    (0 to 1) is how much of it is drawn anew. `encode` is "jpeg" or "png".
    """

    key: str
    prompt: str
    width: int
    height: int
    steps: int
    guidance: float
    seed: int
    image: str = ""
    strength: float = 1.0
    loras: tuple[str, ...] = ()
    encode: str = "png"


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderJob:
    """What was asked for: `count` lines of an input, all of one model.

    `weights` (of `revision`, "" for the newest) is what the pipeline is loaded from; so many pixels
    as `batch_pixels` are rendered together. `usd_per_hour` is the price of the GPU as it was when
    the money was held. `engine` says who renders: "local", then on `host`, or "prefect".
    """

    handle: str
    model: str
    weights: str
    revision: str
    batch_pixels: int
    count: int
    usd_per_hour: str
    engine: str
    host: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """What became of one line: a stored picture, or a reason why there is none.

    `seconds` are the line's share of its batch. `elapsed` seconds after the `session` that rendered
    it had begun to load, the batch was done; so what a session spent besides can be shared out.
    Equal `numerics_id` promise equal bits for equal lines.
    """

    key: str
    session: str
    seconds: float
    elapsed: float
    numerics_id: str = ""
    path: str = ""
    format: str = ""
    reason: str = ""
    message: str = ""


def write_input(store: Store, lines: Iterable[RenderLine]) -> str:
    """Keeps the lines of a job; returns their handle, the same for the same lines."""
    data = b"".join(orjson.dumps(asdict(line)) + b"\n" for line in lines)
    handle = hashlib.sha256(data).hexdigest()[:32]
    store.put_if_absent(_input_path(handle), data)
    return handle


def read_input(store: Store, handle: str) -> list[RenderLine]:
    """The lines in their order.

    Raises:
        FileNotFoundError: there is no such input.
    """
    path = _input_path(handle)
    where = store.url_of(path)
    return [
        parse_record(line, RenderLine, where, exact=True) for line in store.read(path).splitlines()
    ]


def _input_path(handle: str) -> str:
    return f"renders/inputs/{handle}.jsonl"


def numerics_id(store: Store, numerics: Mapping[str, object]) -> str:
    """The id of what determines bits besides the line itself, and of which a record is kept."""
    id = digest(numerics)[:12]
    text = orjson.dumps(numerics, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)
    store.put_if_absent(f"renders/numerics/{id}.json", text)
    return id


class RenderFolder:
    """The folder of one job."""

    def __init__(self, store: Store, token: str) -> None:
        self.store = store
        self.token = token
        self._root = f"renders/{token}"

    def start(self, job: RenderJob) -> None:
        """Asks for the job, unless it was asked for already."""
        self._put("job.json", asdict(job))

    @cached_property
    def job(self) -> RenderJob:
        """What was asked for.

        Raises:
            FileNotFoundError: nobody has asked for such a job.
        """
        return read_record(self.store, f"{self._root}/job.json", RenderJob, exact=True)

    def exists(self) -> bool:
        """Whether somebody has asked for it."""
        return self.store.exists(f"{self._root}/job.json")

    def lines(self) -> list[RenderLine]:
        """All that is to be rendered, in order."""
        return read_input(self.store, self.job.handle)

    def claim(self) -> bool:
        """Makes this process the job's renderer; False if there was one already."""
        return self._put("renderer.json", asdict(Signature.of_this_process()))

    def renderer(self) -> Claimer | None:
        """The process that renders or rendered it, where one has claimed it."""
        try:
            return read_record(self.store, f"{self._root}/renderer.json", Signature).claimer
        except FileNotFoundError:
            return None

    def record(self, rendered: Rendered) -> None:
        """Keeps what became of a line, whose picture is durable."""
        self._put(f"done/{rendered.key}.json", asdict(rendered))

    def done(self) -> set[str]:
        """The keys of all lines that something became of."""
        paths = self.store.list(f"{self._root}/done")
        return {path.rpartition("/")[2].removesuffix(".json") for path in paths}

    def records(self) -> dict[str, Rendered]:
        """What became of the lines, by key."""
        paths = self.store.list(f"{self._root}/done")
        found = self.store.read_many(paths)
        records = (parse_record(found[path], Rendered, self.store.url_of(path)) for path in paths)
        return {record.key: record for record in records}

    def fail(self, message: str) -> None:
        """Says why the rendering ended early."""
        self._put("failed.json", {"message": message, "at": now()})

    def failure(self) -> str:
        """Why the rendering ended early; "" where nobody has said."""
        try:
            return str(orjson.loads(self.store.read(f"{self._root}/failed.json"))["message"])
        except FileNotFoundError:
            return ""

    def cancel(self) -> None:
        """Asks for no more pictures."""
        self._put("cancelled", {"at": now()})

    def is_cancelled(self) -> bool:
        """Whether no more pictures are to be made."""
        return self.store.exists(f"{self._root}/cancelled")

    def _put(self, name: str, content: Mapping[str, object]) -> bool:
        return self.store.put_if_absent(f"{self._root}/{name}", orjson.dumps(content))
