"""A cancel reaches whatever the stages are waiting in, and nothing that must not be interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from repro_tui.errors import CancelledError
from repro_tui.pipeline.interrupt import GRACE_S, Interrupt


class Request:
    """What a test asks for, and how often it was told on."""

    def __init__(self) -> None:
        self.wish: str | None = None
        self.told = 0

    def poll(self) -> str | None:
        return self.wish

    def tell(self) -> None:
        self.told += 1

    def later(self, wish: str, delay_s: float = 0.3) -> None:
        threading.Timer(delay_s, setattr, (self, "wish", wish)).start()


@pytest.fixture
def request_() -> Request:
    return Request()


@pytest.fixture
def interrupt(request_: Request) -> Interrupt:
    return Interrupt(request_.poll, request_.tell)


@pytest.mark.parametrize(
    "wait",
    [
        lambda: time.sleep(30),
        lambda: threading.Event().wait(30),
        lambda: subprocess.run([sys.executable, "-c", "import time; time.sleep(30)"], check=True),
        lambda: os.read(os.pipe()[0], 1),
    ],
    ids=["sleep", "event", "process", "pipe"],
)
def test_a_request_ends_a_wait_of_any_kind(interrupt: Interrupt, request_: Request, wait: object) -> None:
    assert callable(wait)
    request_.later("graceful")
    started = time.monotonic()
    with interrupt.watching(), pytest.raises(CancelledError):
        wait()
    assert time.monotonic() - started < 5
    assert (interrupt.requested, interrupt.grace_s, request_.told) == (True, GRACE_S, 1)


def test_a_shield_holds_until_its_end(interrupt: Interrupt, request_: Request) -> None:
    request_.later("graceful", 0)
    done: list[str] = []

    def work() -> None:
        with interrupt.shielded():
            while not interrupt.requested:
                time.sleep(0.01)
            time.sleep(0.3)
            done.append("shielded")
        done.append("after")

    with interrupt.watching(), pytest.raises(CancelledError):
        work()
    assert done == ["shielded"], "it was let finish, and interrupted when the shield was gone"


def test_now_takes_the_grace_away_even_after_an_earlier_request(interrupt: Interrupt, request_: Request) -> None:
    request_.wish = "graceful"
    seen: list[float] = []

    def work() -> None:
        with interrupt.shielded():
            while not interrupt.requested:
                time.sleep(0.01)
            seen.append(interrupt.grace_s)
            request_.wish = "now"
            while interrupt.grace_s:
                time.sleep(0.01)

    with interrupt.watching(), pytest.raises(CancelledError):
        work()
    assert seen == [GRACE_S]
    assert request_.told == 1


def test_a_second_signal_does_not_break_the_tidying_up(interrupt: Interrupt) -> None:
    with interrupt.watching():
        with pytest.raises(CancelledError):
            os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.05)


def test_a_report_is_written_whatever_is_asked(interrupt: Interrupt) -> None:
    with interrupt.watching():
        interrupt.shield()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.05)
        assert interrupt.requested
        interrupt.check()


def test_the_handler_is_taken_back(interrupt: Interrupt) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with interrupt.watching():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
