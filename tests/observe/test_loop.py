"""How late the loop is, measured pass by pass, with a clock that the test sets."""

from __future__ import annotations

import time

import pytest
import trio

from fanout.observe.loop import LoopWatch


def test_a_long_pass_is_measured_while_it_runs_and_fades_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr(trio, "current_time", lambda: now_s)
    watch = LoopWatch()
    assert (watch.pass_s(), watch.lateness_s()) == (0, 0)

    def run_a_pass(length_s: float) -> None:
        nonlocal now_s
        watch.after_io_wait(0)
        now_s += length_s
        assert watch.pass_s() == pytest.approx(length_s)
        watch.before_io_wait(0)

    watch.before_io_wait(0)  # installed in the middle of a pass: that one was not seen from its beginning
    run_a_pass(0.040)
    assert watch.lateness_s() == pytest.approx(0.040)
    now_s += 1  # one half-life
    assert watch.lateness_s() == pytest.approx(0.020)
    run_a_pass(0.001)  # a shorter one does not hide the longer one
    assert watch.lateness_s() == pytest.approx(0.020, rel=0.01)
    run_a_pass(0.100)
    assert watch.lateness_s() == pytest.approx(0.100)


async def test_it_watches_the_loop_it_is_installed_in() -> None:
    watch = LoopWatch()
    trio.lowlevel.add_instrument(watch)
    try:
        await trio.sleep(0.001)
        time.sleep(0.030)  # noqa: ASYNC251 - what it is there to notice
        assert watch.pass_s() >= 0.030
        await trio.sleep(0.001)
        assert watch.statistics().worst_pass_ms >= 30
        assert watch.statistics().lateness_ms >= 20
        assert watch.statistics().passes >= 2
    finally:
        trio.lowlevel.remove_instrument(watch)
