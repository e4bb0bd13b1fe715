"""The lane `gpu`: models on your GPUs. A job is one run of `render`, on a work pool or right here.

With a Prefect server a job is a flow run of the deployment `render`, on the work pool `gpu`;
without one it is a process on this machine, that goes on when the lane's own ends. Either way what
is asked for and every picture that was made lie in the store (`imagewave.storage.jobs.renders`),
so a job can be followed, collected and taken up by anybody.
"""

import socket
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Protocol

from imagewave.prefect_server import named_server
from imagewave.providers.protocol import JobState, JobStatus, NoResults, Outcome, Rejected
from imagewave.storage.catalog import Model, find_model
from imagewave.storage.catalog.prices import Usage, gpu_usd_per_hour
from imagewave.storage.images import put_image
from imagewave.storage.jobs.renders import (
    Rendered,
    RenderFolder,
    RenderJob,
    RenderLine,
    read_input,
    write_input,
)
from imagewave.storage.requests import FailureClass, Kind, Request, Status
from imagewave.storage.store import Store

STRENGTH = 0.35
"""How much of a reference is drawn anew where a request does not say."""

_AHEAD = 8  # pictures that are fetched from the store at once


class Engine(Protocol):
    """Who renders the jobs of this lane."""

    name: str

    def check(self) -> None:
        """Makes sure that it can render at all.

        Raises:
            Rejected: it cannot; the fix says what is missing.
            Unavailable: it does not answer.
        """
        ...

    def start(self, folder: RenderFolder) -> None:
        """Has the job rendered, whose folder says how; once, however often it is asked.

        Raises:
            Rejected: a clean no.
            Unsure: any doubt whether it was heard.
        """
        ...

    def has(self, folder: RenderFolder) -> bool:
        """Whether the job was ever started."""
        ...

    def look(self, folder: RenderFolder) -> tuple[JobState, str]:
        """Where the rendering stands, whatever it has made; and why it ended early, if it did."""
        ...

    def stop(self, folder: RenderFolder) -> None:
        """Has the rendering end soon, where it has not ended."""
        ...


class GpuLane:
    """Jobs for your own GPUs; `store` is where pictures and their records go."""

    name = "gpu"
    realm = "live"
    max_requests = 2000
    # Pictures that are drawn over are in the store already; this is for those who count them.
    max_bytes = 10_000_000_000

    def __init__(self, store: Store, engines: Iterable[Engine]) -> None:
        """The first of the engines renders new jobs, the others only finish theirs."""
        self._store = store
        self._engines = {engine.name: engine for engine in engines}

    @classmethod
    def from_environment(cls, store: Store) -> "GpuLane":
        """The lane as the environment has it: on the Prefect server that it names, or here."""
        from imagewave.providers.gpu.local_process import LocalEngine
        from imagewave.providers.gpu.prefect_pool import PrefectEngine

        engines: list[Engine] = [LocalEngine(), PrefectEngine()]
        return cls(store, reversed(engines) if named_server() else engines)

    def check_access(self) -> None:
        """Makes sure that jobs can be rendered.

        Raises:
            Rejected: libraries, or the deployment `render`, are missing.
            Unavailable: the Prefect server does not answer.
        """
        self._engine().check()

    def prepare(
        self,
        requests: Iterable[Request],
        read_image: Callable[[str], bytes],
        display_name: str,
    ) -> str:
        """Keeps the job's lines in the store and returns their handle.

        Raises:
            Rejected: a request that cannot be rendered, or too many of them.
        """
        lines = []
        size = 0
        for request in requests:
            line = self._line(request, read_image)
            lines.append(line)
            size += len(line.prompt) + 500
            if size > self.max_bytes:
                raise Rejected(
                    f"The input of {display_name!r} passes {self.max_bytes:,} bytes.",
                    "Put fewer requests into a job.",
                    FailureClass.INVALID,
                )
        return write_input(self._store, lines)

    def create(self, handle: str, model: str, token: str) -> str:
        """Starts the job; the same token starts it once."""
        row = find_model(model)
        if not row.weights:
            raise _rejected(
                f"Nobody knows where the weights of {row.id!r} are.",
                "Set weights for it in your models file: a repository or a folder.",
            )
        try:
            count = len(read_input(self._store, handle))
        except FileNotFoundError:
            raise _rejected(f"There is no input {handle!r}.", "Prepare it again.") from None
        engine = self._engine()
        folder = RenderFolder(self._store, token)
        folder.start(
            RenderJob(
                handle=handle,
                model=row.id,
                weights=row.weights,
                revision=row.revision,
                batch_pixels=row.batch * _pixels(row),
                count=count,
                usd_per_hour=str(gpu_usd_per_hour(row)),
                engine=engine.name,
                host=socket.gethostname(),
            )
        )
        engine.start(folder)
        return token

    def find(self, token: str) -> list[str]:
        """The job of this token, if it was started."""
        folder = RenderFolder(self._store, token)
        if not folder.exists() or not self._engine_of(folder).has(folder):
            return []
        return [token]

    def listed(self) -> Iterator[tuple[str, str]]:
        """None: a token names one job."""
        return iter(())

    def poll(self, name: str) -> JobStatus:
        """Looks at the job: who renders it, and then what there is.

        Raises:
            Rejected: there is no such job.
            Unavailable: the Prefect server does not answer.
        """
        folder = self._folder(name)
        # In this order: what has ended when it is looked at can make no more records.
        state, message = self._engine_of(folder).look(folder)
        count, made = folder.job.count, len(folder.done())
        if made == count:
            state, message = JobState.SUCCEEDED, ""
        elif state is JobState.SUCCEEDED:
            state, message = JobState.FAILED, f"It ended after {made} of {count} pictures."
        if folder.is_cancelled() and state is JobState.FAILED:
            state = JobState.CANCELLED
        return JobStatus(name=name, state=state, message=message, total=count, succeeded=made)

    def results(self, name: str, wants_image: Callable[[str], bool]) -> Iterator[Outcome]:
        """What was rendered, in the order of the requests, each with its share of the GPU's time.

        Raises:
            NoResults: nothing was.
        """
        folder = self._folder(name)
        records = folder.records()
        if not records:
            raise NoResults(f"The job {name} has no picture.")
        loading = _loading(records)
        hourly = Decimal(folder.job.usd_per_hour)
        lines = read_input(self._store, folder.job.handle)
        made = [records[line.key] for line in lines if line.key in records]
        for first in range(0, len(made), _AHEAD):
            some = made[first : first + _AHEAD]
            images = self._store.read_many([record.path for record in some if record.path])
            for record in some:
                seconds = Decimal(str(record.seconds)) + loading
                usage = Usage(0, 0, 0, 0, gpu_seconds=seconds, gpu_usd_per_hour=hourly)
                yield _outcome(record, images.get(record.path), usage)

    def cancel(self, name: str) -> None:
        """Has no more batches begun; what was rendered until then is kept, and has its cost."""
        folder = self._folder(name)
        folder.cancel()
        self._engine_of(folder).stop(folder)

    def _line(self, request: Request, read_image: Callable[[str], bytes]) -> RenderLine:
        model = find_model(request.model)
        ratio, size = request.aspect_ratio or "1:1", request.size or model.default_size or ""
        pixels = model.pixels.get((ratio, size))
        steps = request.steps or model.steps
        guidance = model.guidance if request.guidance is None else request.guidance
        if pixels is None or steps is None or guidance is None:
            raise _rejected(
                f"{model.id!r} lacks what is needed to render {ratio} at {size or 'no size'}.",
                "Set pixels, steps and guidance for it in your models file.",
            )
        image = ""
        if len(request.references) > 1:
            raise _rejected(f"{model.id!r} draws over one picture, not several.", "Send one.")
        for reference in request.references:
            image = put_image(self._store, read_image(reference)).path
        return RenderLine(
            key=request.id,
            prompt=request.prompt,
            width=pixels[0],
            height=pixels[1],
            steps=steps,
            guidance=guidance,
            seed=request.seed or 0,
            image=image,
            strength=1.0 if not image else request.strength or STRENGTH,
            loras=request.loras or (),
            # Drafts are many, and looked at; finals are delivered.
            encode="png" if request.kind is Kind.FINAL else "jpeg",
        )

    def _folder(self, name: str) -> RenderFolder:
        folder = RenderFolder(self._store, name)
        if not folder.exists():
            raise _rejected(f"There is no job {name!r}.", "")
        return folder

    def _engine(self) -> Engine:
        return next(iter(self._engines.values()))

    def _engine_of(self, folder: RenderFolder) -> Engine:
        return self._engines[folder.job.engine]


def _outcome(record: Rendered, image: bytes | None, usage: Usage) -> Outcome:
    if image is None:
        return Outcome(
            key=record.key,
            status=Status.FAILED,
            failure=FailureClass.INVALID,
            reason=record.reason,
            message=record.message,
            usage=usage,
        )
    return Outcome(
        key=record.key,
        status=Status.IMAGE,
        image=image,
        mime=f"image/{record.format}",
        usage=usage,
        numerics_id=record.numerics_id,
    )


def _rejected(message: str, fix: str) -> Rejected:
    return Rejected(message, fix, FailureClass.INVALID)


def _pixels(model: Model) -> int:
    """Those of a square picture of the model's default size, or of the first there is."""
    width, height = model.pixels.get(
        ("1:1", model.default_size or ""), next(iter(model.pixels.values()), (1024, 1024))
    )
    return width * height


def _loading(records: Mapping[str, Rendered]) -> Decimal:
    """Seconds per picture that sessions spent besides their batches, on loading above all."""
    elapsed: dict[str, float] = defaultdict(float)
    busy: dict[str, float] = defaultdict(float)
    for record in records.values():
        elapsed[record.session] = max(elapsed[record.session], record.elapsed)
        busy[record.session] += record.seconds
    besides = sum(max(0.0, elapsed[session] - busy[session]) for session in elapsed)
    return Decimal(str(round(besides / len(records), 9)))
