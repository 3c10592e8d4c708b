"""Signals ask a run to save and stop."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from legged_ppo.training.interrupt import InterruptGuard


@pytest.fixture(autouse=True)
def _hangup_not_ignored() -> Iterator[None]:
    """As in a terminal; under `nohup` the tests' own process ignores it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_requests_a_stop_and_its_handler_is_put_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with InterruptGuard() as guard:
        assert not guard.requested
        os.kill(os.getpid(), number)
        assert guard.requested
    assert signal.getsignal(number) == before


def test_a_second_hangup_does_not_end_the_process() -> None:
    with InterruptGuard() as guard:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGHUP)
        assert guard.requested


def test_an_ignored_hangup_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with InterruptGuard() as guard:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not guard.requested
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_run_in_another_thread_needs_no_handlers() -> None:
    def enter() -> bool:
        with InterruptGuard() as guard:
            return guard.requested

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(enter).result() is False
