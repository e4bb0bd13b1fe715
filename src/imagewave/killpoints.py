"""Named points at which a test may kill the process, to prove that nothing is lost there.

`IMAGEWAVE_KILL_AT=collect.midway` kills with SIGKILL the first time that point is reached,
`IMAGEWAVE_KILL_AT=collect.midway:3` the third. Unset, a point costs one comparison.
"""

import os
import signal
import threading

from imagewave.errors import ImagewaveError

# Every point there is, in the order in which an undisturbed wave passes them.
POINTS = (
    "submit.before_claim",
    "submit.after_claim",
    "submit.after_hold",
    "submit.after_upload",
    "submit.after_create",
    "submit.after_accept",
    "wait.polling",
    "collect.downloading",
    "collect.chunk",
    "collect.midway",
    "collect.before_facts",
    "collect.between_facts",
    "collect.before_capture",
    "collect.before_settle",
    "settle.before_outcome",
    "screen.before_facts",
    "judge.before_facts",
    "final.planned",
    "deliver.before",
    "deliver.midway",
)

# Those of single calls, which batches do not pass.
CALL_POINTS = ("call.after_claim", "call.before_answer")

# That of renderings on your GPUs.
RENDER_POINTS = ("render.before_record",)

_VARIABLE = "IMAGEWAVE_KILL_AT"


def _read(value: str) -> tuple[str, int]:
    """The point and how many times it is passed before it kills.

    Raises:
        ImagewaveError: there is no such point, at which a test would wait in vain; or no number.
    """
    name, _, count = value.partition(":")
    known = (*POINTS, *CALL_POINTS, *RENDER_POINTS)
    if name and name not in known:
        raise ImagewaveError(f"{_VARIABLE}={value}: no such point.", f"Known: {', '.join(known)}.")
    if count and not (count.isdecimal() and int(count) > 0):
        raise ImagewaveError(f"{_VARIABLE}={value}: {count!r} is no number from 1.")
    return name, int(count or 1)


_name, _left = _read(os.environ.get(_VARIABLE, ""))
_lock = threading.Lock()


def reached(point: str) -> None:
    """Says that the process stands at this point; dies there if it was told to."""
    if point != _name:
        return
    global _left
    with _lock:
        _left -= 1
        if _left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
