"""Who carries out the steps of a wave."""

import threading
from contextvars import ContextVar

import pytest

from imagewave.flows.steps import in_this_process, step

_said: ContextVar[str] = ContextVar("said", default="nothing")


@step("double")
def double(number: int) -> int:
    """Twice the number."""
    if number < 0:
        raise ValueError(f"{number} is too small")
    return 2 * number


@step("overhear")
def overhear(go_on: threading.Event) -> tuple[str, bool]:
    """What was said, and whether this is the main thread; waits for the sign to go on."""
    go_on.wait(60)
    return _said.get(), threading.current_thread() is threading.main_thread()


def test_a_step_is_a_call() -> None:
    with in_this_process():
        assert double(4) == 8
        with pytest.raises(ValueError, match="too small"):
            double(-1)


def test_a_step_in_the_background_knows_what_its_caller_knew() -> None:
    token = _said.set("hello")
    go_on = threading.Event()
    with in_this_process():
        started = overhear.submit(go_on)
        with pytest.raises(TimeoutError):
            started.result(timeout=0)
        _said.reset(token)
        go_on.set()
        assert started.result() == ("hello", False)
        with pytest.raises(ValueError, match="too small"):
            double.submit(-1).result()


def test_the_block_ends_when_all_its_steps_have_ended() -> None:
    go_on = threading.Event()
    threading.Timer(0.2, go_on.set).start()
    with in_this_process():
        started = overhear.submit(go_on)
    assert started.result(timeout=0) == ("nothing", False)
