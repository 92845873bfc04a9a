"""The kernel's word of what peers do: heard once, in the pass it is for, and of whoever is watched."""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from fanout.loop import sockets as sockets_module
from fanout.loop.sockets import END, NEWS, UNREAD, sockets
from tests.server.serving import until

RST = struct.pack("ii", 1, 0)


@contextmanager
def connected() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Their end and ours."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        theirs = socket.create_connection(listening.getsockname())
        ours, _ = listening.accept()
    with theirs, ours:
        yield theirs, ours


def noting(told: list[str], word: str) -> Callable[[int], bool]:
    def tell(events: int) -> bool:
        told.append(word)
        return True

    return tell


class Watch(trio.abc.Instrument):
    """Notes every pass that asks the kernel: where it ends and begins, and how long it may wait."""

    def __init__(self) -> None:
        self.told: list[tuple[str, float]] = []

    @property
    def asked(self) -> int:
        return len([word for word, _ in self.told if word == "before"])

    def before_io_wait(self, timeout: float) -> None:
        self.told.append(("before", timeout))

    def after_io_wait(self, timeout: float) -> None:
        self.told.append(("after", timeout))


@contextmanager
def reported_to(on_crash: Callable[[BaseException], None]) -> Iterator[None]:
    before, sockets().on_crash = sockets().on_crash, on_crash
    try:
        yield
    finally:
        sockets().on_crash = before


async def settled() -> None:
    """Long enough for the kernel and the loop."""
    await trio.sleep(0.05)


@pytest.mark.parametrize("how", ["FIN", "RST", "half-close"])
@pytest.mark.parametrize("unread", [0, 1, 100_000])
async def test_it_is_told_once_however_they_leave(how: str, unread: int) -> None:
    told: list[str] = []
    with connected() as (theirs, ours):
        sockets().watch(ours.fileno(), END, noting(told, "left"))
        theirs.sendall(b"x" * unread)
        await settled()
        assert told == []
        if how == "half-close":
            theirs.shutdown(socket.SHUT_WR)
        else:
            if how == "RST":
                theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
            theirs.close()
        await until(lambda: told)
        theirs.close()  # the other half
        await settled()
        sockets().forget(ours.fileno())
    assert told == ["left"]


async def test_who_is_forgotten_is_not_told_and_its_descriptor_may_be_used_again() -> None:
    told: list[str] = []
    with connected() as (theirs, ours):
        descriptor = ours.fileno()
        sockets().watch(descriptor, END, noting(told, "first"))
        sockets().forget(descriptor)
        sockets().forget(descriptor)
        theirs.close()
        await settled()
        assert told == []
    with connected() as (theirs, ours):
        assert ours.fileno() == descriptor or os.dup2(ours.fileno(), descriptor) == descriptor
        sockets().watch(descriptor, END, noting(told, "second"))
        theirs.close()
        await until(lambda: told)
    assert told == ["second"]


async def test_one_that_ends_another_of_the_same_pass_does_not_trip_over_it() -> None:
    told: list[str] = []
    with connected() as (their_1, our_1), connected() as (their_2, our_2):

        def left(name: str) -> bool:
            told.append(name)
            sockets().forget(our_1.fileno())
            sockets().forget(our_2.fileno())
            return True

        sockets().watch(our_1.fileno(), END, lambda _: left("1"))
        sockets().watch(our_2.fileno(), END, lambda _: left("2"))
        their_1.close()
        their_2.close()
        await until(lambda: told)
        await settled()
    assert len(told) == 1


def test_a_run_has_one_epoll_of_its_own_and_it_ends_with_it() -> None:
    async def run() -> int:
        before = len(os.listdir("/proc/self/fd"))
        assert sockets() is sockets()
        return len(os.listdir("/proc/self/fd")) - before

    before = len(os.listdir("/proc/self/fd"))
    assert [trio.run(run), trio.run(run)] == [1, 1]
    assert len(os.listdir("/proc/self/fd")) == before


async def test_who_sends_is_told_before_the_tasks_of_that_pass_and_its_task_runs_in_it() -> None:
    """A pass for each thing that happens, and not another for the task that it is for."""
    watch = Watch()
    told_in: list[int] = []
    with connected() as (theirs, ours):
        task = trio.lowlevel.current_task()

        def tell(events: int) -> bool:
            told_in.append(watch.asked)
            trio.lowlevel.reschedule(task)
            return True

        sockets().watch(ours.fileno(), NEWS, tell)
        sockets().watch_iterations(watch)
        await trio.lowlevel.checkpoint()
        theirs.sendall(b"x")
        await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)
        assert told_in == [watch.asked]
        sockets().watch_iterations(None)
        sockets().forget(ours.fileno())


async def test_a_pass_is_told_where_it_ends_and_begins() -> None:
    watch = Watch()
    sockets().watch_iterations(watch)
    for _ in range(3):  # one of them asks the kernel
        await trio.lowlevel.checkpoint()
    await trio.sleep(0.01)
    sockets().watch_iterations(None)
    told = watch.told
    words = [word for word, _ in told]
    assert words == ["before", "after"] * (len(words) // 2)
    assert told[0::2] == [("before", timeout) for _, timeout in told[1::2]]
    assert told[0][1] == 0
    assert 0 < told[-1][1] <= 0.01


async def test_who_has_yet_to_be_told_is_not_slept_upon() -> None:
    """Nothing else happens, and nobody has to."""
    everybody_told = trio.Event()
    told: list[str] = []
    with ExitStack() as stack:
        leavers = [stack.enter_context(connected()) for _ in range(100)]

        def left(events: int) -> bool:
            told.append("left")
            if len(told) == 100:
                everybody_told.set()
            return True

        for its, ours in leavers:
            sockets().watch(ours.fileno(), NEWS, left)
            its.close()
        with trio.fail_after(5):
            await everybody_told.wait()


async def test_disconnects_found_while_the_system_task_waits_keep_the_loop_awake() -> None:
    """Nothing wakes Trio for them: the kernel has reported them, and they wait in user space."""
    everybody_told = trio.Event()
    told: list[str] = []

    def left(events: int) -> bool:
        told.append("left")
        if len(told) == 100:
            everybody_told.set()
        return True

    ours = sockets()
    await trio.testing.wait_all_tasks_blocked()  # the system task waits
    with ExitStack() as stack:
        for theirs, end in [stack.enter_context(connected()) for _ in range(100)]:
            ours.watch(end.fileno(), NEWS, left)
            theirs.close()
        ours.after_io_wait(0)  # as Trio does behind a wait that came back just before
        assert len(told) == sockets_module._MAX_LEAVERS
        with trio.fail_after(5):
            await everybody_told.wait()


async def test_trio_waits_as_ever() -> None:
    """For what reads, for what writes, for threads and for time, and several at once."""
    sockets()
    await trio.testing.wait_all_tasks_blocked()
    waiting = trio.lowlevel.current_statistics().io_statistics.tasks_waiting_read
    mine, its = socket.socketpair()
    with mine, its:
        mine.setblocking(False)
        its.setblocking(False)
        got: list[bytes] = []

        async def read() -> None:
            await trio.lowlevel.wait_readable(its)
            got.append(its.recv(10))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            assert trio.lowlevel.current_statistics().io_statistics.tasks_waiting_read == waiting + 1
            await trio.lowlevel.wait_writable(mine)
            mine.send(b"hello")
        assert got == [b"hello"]
        with trio.move_on_after(0.01) as scope:
            await trio.lowlevel.wait_readable(its)
        assert scope.cancelled_caught
        assert await trio.to_thread.run_sync(lambda: 7) == 7


async def test_the_same_socket_may_be_watched_and_waited_for() -> None:
    told: list[str] = []
    with connected() as (theirs, ours):
        ours.setblocking(False)
        sockets().watch(ours.fileno(), END, noting(told, "left"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.lowlevel.wait_readable, ours)
            await trio.testing.wait_all_tasks_blocked()
            theirs.sendall(b"x")
        assert (told, ours.recv(10)) == ([], b"x")
        theirs.close()
        await until(lambda: told == ["left"])
        sockets().forget(ours.fileno())


async def test_what_is_unread_is_told_until_it_was_read() -> None:
    told: list[str] = []
    with connected() as (theirs, ours):
        theirs.sendall(b"x")
        sockets().watch(ours.fileno(), UNREAD, noting(told, "unread"))
        await until(lambda: len(told) > 2)
        ours.recv(10)
        await trio.lowlevel.checkpoint()
        told.clear()
        await settled()
        sockets().forget(ours.fileno())
    assert told == []


@pytest.mark.parametrize(("how", "at_most"), [("are served", 32), ("are refused", 100), ("leave", 16)])
async def test_a_pass_tells_a_few_who_wake_a_task_and_many_who_do_not(how: str, at_most: int) -> None:
    """Who leave all at once are seen to in many short passes; who are refused, in a few."""
    passes: list[int] = []

    class Passes(trio.abc.Instrument):
        def before_io_wait(self, timeout: float) -> None:
            passes.append(0)

    def tell(events: int) -> bool:
        passes[-1] += 1
        return how != "are refused"

    with ExitStack() as stack:
        pairs = [stack.enter_context(connected()) for _ in range(100)]
        for theirs, ours in pairs:
            sockets().watch(ours.fileno(), NEWS, tell)
            if how == "leave":
                theirs.close()
            else:
                theirs.sendall(b"x")
        instrument = Passes()
        passes.append(0)
        trio.lowlevel.add_instrument(instrument)
        await until(lambda: sum(passes) == 100)
        trio.lowlevel.remove_instrument(instrument)
    assert max(passes) == at_most


def crowd(stack: ExitStack, count: int, told: list[str]) -> list[socket.socket]:
    """Their ends of connections that are watched. Who closes one notes `left`."""
    pairs = [stack.enter_context(connected()) for _ in range(count)]
    for _, ours in pairs:
        sockets().watch(ours.fileno(), NEWS, noting(told, "left"))
    return [theirs for theirs, _ in pairs]


@pytest.mark.parametrize("is_answer", [False, True], ids=["a request", "an answer that comes with the end"])
async def test_who_sends_does_not_wait_behind_those_who_leave(is_answer: bool) -> None:
    """A thousand have left, and then one sends: it is told first."""
    told: list[str] = []
    with ExitStack() as stack:
        leavers = crowd(stack, 1000, told)
        theirs, ours = stack.enter_context(connected())
        sockets().watch(ours.fileno(), NEWS, noting(told, "sends"), at_once=is_answer)
        for its in leavers:
            its.close()
        theirs.sendall(b"x")
        if is_answer:
            theirs.close()
        await until(lambda: len(told) == 1001)
    assert told[0] == "sends"
    assert Counter(told) == {"left": 1000, "sends": 1}


async def test_who_cannot_be_watched_is_not(tmp_path: Path) -> None:
    """Such as a file, or a descriptor that is closed."""
    with (tmp_path / "file").open("wb") as file:
        with pytest.raises(OSError, match="not permitted"):
            sockets().watch(file.fileno(), NEWS, noting([], "never"))
        assert file.fileno() not in sockets()._watched
    with pytest.raises(OSError, match="Bad file descriptor"):
        sockets().watch(999_999, NEWS, noting([], "never"))
    assert 999_999 not in sockets()._watched
    await trio.lowlevel.checkpoint()


async def test_a_pass_looks_at_so_many_leavers_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """So it stays short however many there are. Who stands behind them is heard of a few passes later."""
    monkeypatch.setattr(sockets_module, "_MAX_SORTED", 64)
    told: list[str] = []
    with ExitStack() as stack:
        leavers = crowd(stack, 200, told)
        theirs, ours = stack.enter_context(connected())
        sockets().watch(ours.fileno(), NEWS, noting(told, "asks"))
        for its in leavers:
            its.close()
        theirs.sendall(b"x")
        await until(lambda: len(told) == 201)
    assert told.index("asks") == 3 * 16  # behind 3 × 64, in the fourth pass


def test_a_pass_ends_whatever_the_kernel_tells_of_those_who_are_forgotten() -> None:
    """A socket that is forgotten and still open may be told of for ever."""

    class Endless:
        asked = 0

        def poll(self, timeout: float, most: int) -> list[tuple[int, int]]:
            self.asked += 1
            assert self.asked < 100
            return [(descriptor, select.EPOLLIN) for descriptor in range(most)]

        def unregister(self, descriptor: int) -> None:
            """It is reported all the same."""

    async def run() -> None:
        ours = sockets()
        kernels: Any = ours._epoll
        ours._epoll = endless
        ours.after_io_wait(0)
        ours._epoll = kernels
        await trio.lowlevel.checkpoint()

    endless: Any = Endless()  # all that is used of an epoll
    trio.run(run)
    assert endless.asked == 16


async def test_who_ends_before_it_was_its_turn_is_not_told_nor_is_its_successor() -> None:
    """A descriptor is used again as soon as it is closed, so it does not say who was meant."""
    told: list[str] = []
    with ExitStack() as stack:
        leavers = [stack.enter_context(connected()) for _ in range(100)]

        def left(events: int) -> bool:
            told.append("left")
            for _, its in leavers:
                sockets().forget(its.fileno())
                # As `watch` would, but for the kernel, which would tell the successor on its own.
                sockets()._watched[its.fileno()] = True, noting(told, "successor")
            return True

        for _, its in leavers:
            sockets().watch(its.fileno(), NEWS, left)
        for its, _ in leavers:
            its.close()
        await until(lambda: told)
        await settled()
    assert told == ["left"]


# Rule 1: nothing that a callback, a watch or the kernel does is the end of all network input.


@pytest.mark.parametrize("crash", [ZeroDivisionError, MemoryError, KeyboardInterrupt, trio.TrioInternalError])
@pytest.mark.parametrize("event", [END, NEWS, UNREAD])
async def test_a_callback_that_raises_is_reported_once_and_costs_its_own_socket_alone(
    crash: type[BaseException], event: int
) -> None:
    """G10. Its event, and every other, goes on being reported to everybody else."""
    crashes: list[BaseException] = []
    told: list[str] = []

    def broken(events: int) -> bool:
        raise crash

    with connected() as (their_1, our_1), connected() as (their_2, our_2), reported_to(crashes.append):
        sockets().watch(our_1.fileno(), event, broken)
        sockets().watch(our_2.fileno(), UNREAD, noting(told, "news"))
        their_1.sendall(b"x")
        their_1.shutdown(socket.SHUT_WR)
        await until(lambda: crashes)
        their_2.sendall(b"x")
        await until(lambda: told)
        assert our_1.fileno() not in sockets()._watched
        sockets().forget(our_2.fileno())
        assert our_2.recv(10) == b"x"
    assert [type(each) for each in crashes] == [crash]


async def test_a_socket_whose_callback_raised_keeps_no_event_loop_awake() -> None:
    """G10. It is unread for ever, and the kernel would report it in every iteration."""
    crashes: list[BaseException] = []
    watch = Watch()

    def broken(events: int) -> bool:
        raise ZeroDivisionError

    with connected() as (theirs, ours), reported_to(crashes.append):
        sockets().watch(ours.fileno(), UNREAD, broken)
        theirs.sendall(b"x")
        await until(lambda: crashes)
        await trio.testing.wait_all_tasks_blocked()
        sockets().watch_iterations(watch)
        await settled()
        sockets().watch_iterations(None)
    assert watch.asked < 5


async def test_a_disconnect_whose_callback_raises_holds_up_no_other() -> None:
    """G10. Also of those that wait their turn."""
    crashes: list[BaseException] = []
    told: list[str] = []

    def broken(events: int) -> bool:
        told.append("broken")
        raise MemoryError

    with ExitStack() as stack, reported_to(crashes.append):
        pairs = [stack.enter_context(connected()) for _ in range(100)]
        for number, (_, ours) in enumerate(pairs):
            sockets().watch(ours.fileno(), NEWS, broken if number % 2 else noting(told, "left"))
        for theirs, _ in pairs:
            theirs.close()
        await until(lambda: len(told) == 100)
    assert Counter(told) == {"broken": 50, "left": 50}
    assert len(crashes) == 50


async def test_whoever_is_told_of_a_crash_may_crash_as_well() -> None:
    """G10, G11. As a log does when there is no memory."""
    told: list[str] = []

    def worse(crash: BaseException) -> None:
        told.append("worse")
        raise MemoryError

    def broken(events: int) -> bool:
        raise ZeroDivisionError

    with connected() as (their_1, our_1), connected() as (their_2, our_2), reported_to(worse):
        sockets().watch(our_1.fileno(), NEWS, broken)
        sockets().watch(our_2.fileno(), NEWS, noting(told, "news"))
        their_1.sendall(b"x")
        await until(lambda: told)
        their_2.sendall(b"x")
        await until(lambda: len(told) == 2)
        sockets().forget(our_2.fileno())
    assert told == ["worse", "news"]


async def test_a_crash_that_nobody_asked_for_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """G11."""

    def broken(events: int) -> bool:
        raise ZeroDivisionError("of a callback")

    with connected() as (theirs, ours):
        sockets().watch(ours.fileno(), NEWS, broken)
        theirs.sendall(b"x")
        await until(lambda: caplog.records)
    assert "a socket's callback crashed" in caplog.text
    assert "ZeroDivisionError: of a callback" in caplog.text


async def test_a_watch_that_raises_in_every_iteration_is_reported_once_and_stops_nothing() -> None:
    """G10. It costs what it measures, and no network input."""
    crashes: list[BaseException] = []
    told: list[str] = []

    class Broken(trio.abc.Instrument):
        def before_io_wait(self, timeout: float) -> None:
            raise ZeroDivisionError

        def after_io_wait(self, timeout: float) -> None:
            raise MemoryError

    with connected() as (theirs, ours), reported_to(crashes.append):
        sockets().watch(ours.fileno(), NEWS, noting(told, "news"))
        sockets().watch_iterations(Broken())
        await settled()
        theirs.sendall(b"x")
        await until(lambda: told)
        sockets().watch_iterations(None)
        sockets().forget(ours.fileno())
    assert len(crashes) == 1


async def test_an_instrument_that_trio_removed_is_added_again() -> None:
    """G10. Trio removes one that raises, whatever that was, also the call of it."""
    told: list[str] = []
    with connected() as (theirs, ours):
        sockets().watch(ours.fileno(), UNREAD, noting(told, "news"))
        await trio.testing.wait_all_tasks_blocked()
        trio.lowlevel.remove_instrument(sockets())
        theirs.sendall(b"x")
        await until(lambda: told)
        sockets().forget(ours.fileno())


async def test_the_loop_wakes_also_when_the_kernel_could_not_be_asked_to_wake_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """G10. `epoll_ctl` fails when the kernel is out of memory; a system task that raises ends the run."""
    crashes: list[BaseException] = []
    told: list[str] = []
    wait_readable, calls = trio.lowlevel.wait_readable, 0

    async def failing(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls <= 3:
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
        await wait_readable(descriptor)

    with connected() as (theirs, ours), reported_to(crashes.append):
        sockets().watch(ours.fileno(), NEWS, noting(told, "news"))
        await trio.testing.wait_all_tasks_blocked()
        monkeypatch.setattr(trio.lowlevel, "wait_readable", failing)
        theirs.sendall(b"x")
        await until(lambda: len(told) == 1)
        theirs.sendall(b"x")
        await until(lambda: len(told) == 2)
        await until(lambda: calls > 3)
        sockets().forget(ours.fileno())
    assert [type(crash) for crash in crashes] == [OSError]


async def test_the_kernel_that_raises_once_is_asked_again() -> None:
    """G10."""
    crashes: list[BaseException] = []
    told: list[str] = []

    class Poor:
        """An epoll, of a process without memory."""

        def poll(self, timeout: float, most: int) -> list[tuple[int, int]]:
            ours._epoll = kernels
            raise MemoryError

    with connected() as (theirs, our_end), reported_to(crashes.append):
        ours = sockets()
        ours.watch(our_end.fileno(), NEWS, noting(told, "news"))
        poor: Any = Poor()
        kernels, ours._epoll = ours._epoll, poor
        ours.after_io_wait(0)
        theirs.sendall(b"x")
        await until(lambda: told)
        ours.forget(our_end.fileno())
    assert [type(crash) for crash in crashes] == [MemoryError]


# The run of Trio around it.


async def test_the_clock_jumps_although_the_system_task_waits(autojump_clock: trio.testing.MockClock) -> None:
    """Virtual time: a task that waits for the network is one that is blocked."""
    sockets()
    began_at = trio.current_time()
    with trio.fail_after(10_000):
        await trio.sleep(3600)
    assert trio.current_time() - began_at == 3600


async def test_the_clock_does_not_jump_while_disconnects_are_to_be_delivered(
    autojump_clock: trio.testing.MockClock,
) -> None:
    told_at: list[float] = []

    def left(events: int) -> bool:
        told_at.append(trio.current_time())
        return True

    with ExitStack() as stack:
        for theirs, ours in [stack.enter_context(connected()) for _ in range(100)]:
            sockets().watch(ours.fileno(), NEWS, left)
            theirs.close()
        await trio.sleep(1)
    assert told_at == [0.0] * 100


def test_what_is_cleaned_up_behind_the_end_of_the_run_does_not_raise() -> None:
    """G10. A system task, say, that closes its socket as the run ends."""
    done: list[str] = []

    async def last() -> None:
        ours = sockets()
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.testing.wait_all_tasks_blocked()
            assert ours._epoll.closed
            with connected() as (_, end):
                ours.watch(end.fileno(), NEWS, noting(done, "never"))
                ours.forget(end.fileno())
                sockets().forget(end.fileno())
            done.append("done")

    async def main() -> None:
        trio.lowlevel.spawn_system_task(last)
        await trio.testing.wait_all_tasks_blocked()

    trio.run(main)
    assert done == ["done"]


@pytest.mark.parametrize("is_registered", [True, False])
async def test_a_look_that_a_signal_interrupts_leaves_nothing_behind(
    is_registered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All sockets share one poll object: a descriptor that stays in it would answer for the next."""

    class Interrupted:
        def register(self, descriptor: int, events: int) -> None:
            if is_registered:
                real.register(descriptor, events)
            raise KeyboardInterrupt

        def unregister(self, descriptor: int) -> None:
            real.unregister(descriptor)

    ours = sockets()
    real = ours._poll
    one, other = socket.socketpair()
    third, fourth = socket.socketpair()
    with one, other, third, fourth:
        other.send(b"x")
        with monkeypatch.context() as patched:
            patched.setattr(ours, "_poll", Interrupted())
            with pytest.raises(KeyboardInterrupt):
                ours.is_readable(one.fileno())
        assert not ours.is_readable(third.fileno())
        assert ours.is_readable(one.fileno())


async def test_it_is_one_task_and_one_instrument_and_it_belongs_to_no_request() -> None:
    heard: list[str] = []

    class Heard(trio.abc.Instrument):
        def task_spawned(self, task: trio.lowlevel.Task) -> None:
            heard.append(task.name)

    async with trio.open_nursery() as nursery:
        instrument = Heard()
        trio.lowlevel.add_instrument(instrument)
        for _ in range(3):
            sockets()
        await trio.testing.wait_all_tasks_blocked()
        trio.lowlevel.remove_instrument(instrument)
        assert not nursery.child_tasks
    assert heard == ["fanout.loop.sockets"]
