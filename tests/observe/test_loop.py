"""How late the loop is, measured pass by pass, with a clock that the test sets."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
import trio

from fanout.observe import loop as loop_module
from fanout.observe.loop import USUAL_OVER_S, LoopWatch


class Loop:
    """A loop whose passes and sleeps are as long as a test says, and its watch."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 100.0
        monkeypatch.setattr(trio, "current_time", lambda: self.now_s)
        self.watch = LoopWatch()
        self.watch.before_io_wait(
            0
        )  # installed in the middle of a pass: that one was not seen from its start
        self.watch.after_io_wait(0)

    def work(self, length_s: float) -> None:
        """Go on with the current pass."""
        self.now_s += length_s

    def sleep(self, length_s: float = 0) -> None:
        """End the pass and begin the next one."""
        self.watch.before_io_wait(length_s)
        self.now_s += length_s
        self.watch.after_io_wait(length_s)

    def work_for(self, seconds: float, pass_s: float) -> None:
        """Passes of one length without a rest."""
        for _ in range(round(seconds / pass_s)):
            self.work(pass_s)
            self.sleep()


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    return Loop(monkeypatch)


def test_a_watch_that_was_not_installed_yet_knows_of_no_lateness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trio, "current_time", lambda: 100.0)
    watch = LoopWatch()
    assert (watch.behind_s(), watch.lateness_s(), watch.usual_iteration_s()) == (0, 0, 0)
    assert not watch.is_behind(0.0)


def test_a_long_pass_fades_and_a_shorter_one_does_not_hide_it(loop: Loop) -> None:
    loop.work(0.040)
    loop.sleep()
    assert loop.watch.lateness_s() == pytest.approx(0.040)
    loop.sleep(1)  # one half-life
    assert loop.watch.lateness_s() == pytest.approx(0.020)
    loop.work(0.001)
    loop.sleep()
    assert loop.watch.lateness_s() == pytest.approx(0.020, rel=0.01)
    loop.work(0.100)
    loop.sleep()
    assert loop.watch.lateness_s() == pytest.approx(0.100)


def test_it_is_as_far_behind_as_the_current_pass_has_run(loop: Loop) -> None:
    assert loop.watch.behind_s() == 0
    loop.work(0.040)
    assert loop.watch.behind_s() == pytest.approx(0.040)


def test_once_it_is_behind_it_stays_so_for_the_pass_and_is_asked_again_in_the_next(loop: Loop) -> None:
    assert not loop.watch.is_behind(0.003)
    loop.work(0.004)
    assert loop.watch.is_behind(0.003)
    assert not loop.watch.is_behind(0.005)
    loop.work(0.002)
    assert loop.watch.is_behind(0.005)
    loop.sleep(1)
    assert not loop.watch.is_behind(0.003)


def test_after_a_pass_as_long_as_usual_it_is_still_behind(loop: Loop) -> None:
    """Those the pass has admitted have most of their work before them."""
    loop.work_for(1, pass_s=0.010)
    assert loop.watch.usual_iteration_s() == pytest.approx(0.010, rel=0.2)
    assert loop.watch.behind_s() == pytest.approx(0.010)


def test_a_single_long_pass_leaves_it_hardly_behind(loop: Loop) -> None:
    """A pause of the whole process is not overload: the next requests are not refused for it."""
    for _ in range(100):
        loop.work(0.0005)
        loop.sleep(0.0095)
    loop.work(0.030)
    assert loop.watch.behind_s() == pytest.approx(0.030)
    loop.sleep()
    assert loop.watch.behind_s() < 0.003


def test_sleeping_means_having_caught_up(loop: Loop) -> None:
    loop.work_for(1, pass_s=0.010)
    loop.work(0.010)
    loop.sleep(0.004)
    assert loop.watch.behind_s() == pytest.approx(0.006)
    loop.work(0.010)
    loop.sleep(0.010)
    assert loop.watch.behind_s() == pytest.approx(0)


def test_the_usual_iteration_counts_for_as_long_as_it_lasts(loop: Loop) -> None:
    """A moment of the last half second lies in a long pass more often than in a short one, or in none."""
    loop.work_for(2, pass_s=0.001)
    assert loop.watch.usual_iteration_s() == pytest.approx(0.001, rel=0.05)
    loop.work_for(2, pass_s=0.020)
    assert loop.watch.usual_iteration_s() == pytest.approx(0.020, rel=0.05)
    loop.sleep(USUAL_OVER_S / 2)
    assert loop.watch.usual_iteration_s() == pytest.approx(0.010, rel=0.05)
    loop.sleep(10)
    assert loop.watch.usual_iteration_s() == 0
    loop.work(USUAL_OVER_S * 4)  # the last half second and more lies in this one
    loop.sleep()
    assert loop.watch.usual_iteration_s() == USUAL_OVER_S * 4


async def test_it_watches_the_loop_it_is_installed_in() -> None:
    watch = LoopWatch()
    trio.lowlevel.add_instrument(watch)
    try:
        await trio.sleep(0.001)
        time.sleep(0.030)  # noqa: ASYNC251 - what it is there to notice
        assert watch.behind_s() >= 0.030
        await trio.sleep(0.001)
        statistics = watch.statistics()
        assert statistics.worst_iteration_ms >= 30
        assert statistics.lateness_ms >= 20
        assert statistics.usual_iteration_ms > 0
        assert statistics.passes >= 2
        now = trio.lowlevel.current_statistics()
        assert (statistics.tasks, statistics.runnable) == (now.tasks_living, now.tasks_runnable)
        assert now.tasks_living > now.tasks_runnable
    finally:
        trio.lowlevel.remove_instrument(watch)


def test_what_other_programs_took_is_no_reason_to_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    """A preempted pass is late, and the reserve must know; but it has left no work behind."""
    now_s, work_s = 100.0, 5.0
    monkeypatch.setattr(trio, "current_time", lambda: now_s)
    watch = LoopWatch(work_clock=lambda: work_s)
    watch.before_io_wait(0)
    watch.after_io_wait(0)
    now_s += 0.050
    work_s += 0.001
    assert watch.behind_s() == pytest.approx(0.001)
    watch.before_io_wait(0)
    assert watch.lateness_s() == pytest.approx(0.050)
    watch.after_io_wait(0)
    assert watch.behind_s() == pytest.approx(0.001)


def test_what_others_took_is_told_from_work_although_the_threads_clock_is_seldom_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Short passes are not looked at; a long one behind them is, and theirs is not held against it."""
    now_s, work_s, read = 100.0, 5.0, 0

    def work_clock() -> float:
        nonlocal read
        read += 1
        return work_s

    monkeypatch.setattr(trio, "current_time", lambda: now_s)
    watch = LoopWatch(work_clock=work_clock)
    watch.before_io_wait(0)
    for _ in range(1000):
        watch.after_io_wait(0)
        now_s += 0.0002
        work_s += 0.0002
        watch.before_io_wait(0)
    assert read <= 1000 / 30
    watch.after_io_wait(0)
    now_s += 0.050
    work_s += 0.010
    assert watch.behind_s() == pytest.approx(0.010, abs=0.0005)


@pytest.mark.parametrize(("others_s", "between_s"), [(0.040, 0.0), (0.0, 0.020)])
def test_what_others_took_is_subtracted_once_and_what_the_thread_did_between_iterations_never(
    others_s: float, between_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a busy loop would look idle, and admit what it cannot serve."""
    now_s, work_s = 100.0, 5.0
    monkeypatch.setattr(trio, "current_time", lambda: now_s)
    watch = LoopWatch(work_clock=lambda: work_s)
    watch.before_io_wait(0)
    watch.after_io_wait(0)
    now_s += others_s + 0.010
    work_s += 0.010
    watch.before_io_wait(0)
    now_s += between_s
    work_s += between_s
    watch.after_io_wait(0)
    now_s += 0.050
    work_s += 0.050
    assert watch.behind_s() == pytest.approx(0.050)


def test_what_a_clock_of_its_own_shows_is_measured() -> None:
    """In place of Trio's: of no use to a server in virtual time."""
    now_s = 50.0
    watch = LoopWatch(lambda: now_s)
    watch.before_io_wait(0)
    watch.after_io_wait(0)
    assert watch.iteration_began_at == 50.0
    now_s = 50.25
    watch.before_io_wait(0)
    assert watch.lateness_s() == 0.25
    now_s = 51.25
    assert watch.lateness_s() == 0.125


def test_the_first_iteration_is_not_measured(loop: Loop) -> None:
    """The watch was installed in the middle of it."""
    watch = LoopWatch()
    loop.now_s += 1
    watch.before_io_wait(0)
    assert (watch.lateness_s(), watch.usual_iteration_s()) == (0, 0)
    watch.after_io_wait(0)
    loop.now_s += 0.25
    watch.before_io_wait(0)
    assert watch.lateness_s() == 0.25


@pytest.mark.parametrize(
    ("slept_s", "behind_s", "usual_s"),
    [
        (0.0, 0.25, 0.125),
        (0.125, 0.125, 0.09375),
        (0.25, 0.0, 0.0625),
        (0.3, 0.0, 0.05),
        (0.5, 0.0, 0.0),
        (9.0, 0.0, 0.0),
    ],
)
def test_sleep_takes_away_as_much_as_it_is_long(
    loop: Loop, slept_s: float, behind_s: float, usual_s: float
) -> None:
    """Of what an iteration has left behind all at once, of the usual iteration over half a second."""
    loop.watch._usual_s = 0.0
    loop.work(0.25)
    loop.watch.before_io_wait(slept_s)
    assert loop.watch.usual_iteration_s() == pytest.approx(0.125)
    loop.now_s += slept_s
    loop.watch.after_io_wait(slept_s)
    assert loop.watch.usual_iteration_s() == pytest.approx(usual_s)
    loop.watch._usual_s = 1.0  # so that nothing of it is unusual
    assert loop.watch.behind_s() == pytest.approx(behind_s)


def test_an_iteration_that_is_unusual_says_little_of_the_next(loop: Loop) -> None:
    loop.watch._usual_s = 0.0
    loop.work(0.25)
    loop.sleep()
    assert loop.watch.behind_s() == pytest.approx(1.5 * 0.125)


def test_the_statistics_are_in_milliseconds(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    told = SimpleNamespace(tasks_living=7, tasks_runnable=3)
    monkeypatch.setattr(trio.lowlevel, "current_statistics", lambda: told)
    loop.work(0.012_345_678)
    loop.sleep()
    loop.sleep(1)
    loop.work(0.001_5)
    loop.sleep()
    statistics = loop.watch.statistics()
    assert (statistics.tasks, statistics.runnable, statistics.passes) == (7, 3, 4)
    assert statistics.worst_iteration_ms == 12.346
    assert statistics.lateness_ms == pytest.approx(12.346 / 2, abs=0.01)
    assert statistics.lateness_ms == round(statistics.lateness_ms, 3)
    assert statistics.usual_iteration_ms == pytest.approx(0.0015 * 0.0015 / 0.5 * 1000, abs=0.0006)
    assert statistics.usual_iteration_ms == round(statistics.usual_iteration_ms, 3)


def test_short_iterations_are_the_usual_ones_too(loop: Loop) -> None:
    """They are not looked at closely, and count as exactly."""
    for _ in range(40):
        loop.work(0.0005)
        loop.sleep()
    expected = 0.0
    for _ in range(40):
        expected += (0.0005 - expected) * 0.0005 / USUAL_OVER_S
    assert loop.watch.usual_iteration_s() == pytest.approx(expected)
    assert loop.watch.lateness_s() > 0
    assert loop.watch.behind_s() == pytest.approx(min(0.0005, 1.5 * expected))


def test_is_behind_asks_again_only_for_what_it_does_not_know(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within an iteration it only gets worse, so each request need not read the clock."""
    asked: list[float] = []
    real = loop.watch.behind_s

    def behind_s() -> float:
        asked.append(loop.now_s)
        return real()

    monkeypatch.setattr(loop.watch, "behind_s", behind_s)
    loop.work(0.005)
    assert loop.watch.is_behind(0.004)
    assert loop.watch.is_behind(0.004)
    assert len(asked) == 1
    assert not loop.watch.is_behind(0.005 + 1e-9)
    assert len(asked) == 2
    loop.sleep(1)
    assert not loop.watch.is_behind(0.0)
    loop.work(0.005)
    assert loop.watch.is_behind(0.0), "it was not, and may be by now"


def test_the_statistics_are_exactly_in_milliseconds(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    told = SimpleNamespace(tasks_living=1, tasks_runnable=1)
    monkeypatch.setattr(trio.lowlevel, "current_statistics", lambda: told)
    loop.watch._usual_s = 0.0
    loop.work(0.5)
    loop.sleep()
    statistics = loop.watch.statistics()
    assert (statistics.lateness_ms, statistics.worst_iteration_ms, statistics.usual_iteration_ms) == (
        500,
    ) * 3


def test_a_long_iteration_is_forgotten_by_half_in_each_half_life(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_module, "HALF_LIFE_S", 2.0)
    loop.work(0.040)
    loop.sleep()
    loop.sleep(2)
    assert loop.watch.lateness_s() == pytest.approx(0.020)
    loop.sleep(4)
    assert loop.watch.lateness_s() == pytest.approx(0.005)


def test_the_threads_clock_is_read_every_so_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the thread does between iterations would add up otherwise."""
    now_s, read = 100.0, 0

    def work_clock() -> float:
        nonlocal read
        read += 1
        return now_s

    monkeypatch.setattr(trio, "current_time", lambda: now_s)
    watch = LoopWatch(work_clock=work_clock)
    watch.before_io_wait(0)
    for _ in range(32 * 10):
        watch.after_io_wait(0)
        now_s += 0.0002
        watch.before_io_wait(0)
    assert read == 1 + 10


def test_short_iterations_that_grow_are_work_too(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s, work_s = 100.0, 5.0
    monkeypatch.setattr(trio, "current_time", lambda: now_s)
    watch = LoopWatch(work_clock=lambda: work_s)
    watch.before_io_wait(0)
    for took_s in (0.0003, 0.0005):
        watch.after_io_wait(0)
        now_s += took_s
        work_s += took_s
        watch.before_io_wait(0)
    watch.after_io_wait(0)
    now_s += 0.050
    work_s += 0.010
    assert watch.behind_s() == pytest.approx(0.010, abs=1e-9)
