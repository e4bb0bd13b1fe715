"""How many calls are made at once: opened by answers, closed by refusals."""

import threading

from imagewave.providers.interactive.throttle import FIRST_WINDOW, Throttle


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_it_opens_by_one_call_per_window_of_answers() -> None:
    throttle = Throttle(16)
    assert throttle.window == FIRST_WINDOW
    for _ in range(5):
        throttle.answered()
    assert throttle.window == FIRST_WINDOW + 1


def test_it_never_opens_beyond_its_limit() -> None:
    throttle = Throttle(6)
    for _ in range(500):
        throttle.answered()
    assert throttle.window == 6


def test_a_refusal_halves_it_and_answers_open_it_again() -> None:
    throttle = Throttle(16, Clock())
    for _ in range(500):
        throttle.answered()
    throttle.refused(0)
    assert throttle.window == 8
    for _ in range(500):
        throttle.answered()
    assert throttle.window == 16


def test_calls_refused_together_are_one_lesson() -> None:
    clock = Clock()
    throttle = Throttle(16, clock)
    for _ in range(500):
        throttle.answered()
    for _ in range(16):
        throttle.refused(5)
    assert throttle.window == 8
    clock.now = 6
    throttle.refused(5)
    assert throttle.window == 4


def test_it_never_closes_altogether() -> None:
    throttle = Throttle(16, Clock())
    for _ in range(50):
        throttle.refused(0)
    assert throttle.window == 1


def test_no_more_calls_are_under_way_than_the_window_has_room_for() -> None:
    throttle = Throttle(2)
    under_way, most = 0, 0
    lock = threading.Lock()
    gate = threading.Event()

    def call() -> None:
        nonlocal under_way, most
        with throttle.slot():
            with lock:
                under_way += 1
                most = max(most, under_way)
                if under_way == 2:
                    gate.set()
            gate.wait(10)
            with lock:
                under_way -= 1

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 2
