"""What a request's microseconds are spent on: a sampling profile of one fanout process, by layer."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from time import sleep
from typing import Any

from benchmarks import usage
from benchmarks.contenders import fanout
from benchmarks.loads import START_S, beside, useful_share
from benchmarks.programs import running, upstream
from benchmarks.section import OTHER_CORE, SERVER_CORE, Found, Settings, rows

NAME = "profile"
TITLE = "What a request's microseconds are spent on"
RATE = 500
SAMPLES_PER_S = 500
SETTLE_S = 3  # connections, and what grows with the first requests

# py-spy takes a thread that waits for a lock, or for its turn in the interpreter, for one that works.
_WAITS = re.compile(r"PyThread_acquire_lock|pthread_cond_timedwait|epoll_wait|take_gil")
_INNERMOST = 4
REST = "the rest"
COLLECTION = "garbage collection"
SOCKETS = "sockets and the kernel"
# The innermost frame that matches one of these has the sample. Patterns of py-spy's `function (file:line)`.
LAYERS: tuple[tuple[str, str], ...] = (
    (COLLECTION, r"^gc_collect|^_PyGC|^gc_"),
    (
        SOCKETS,
        r"^(__)?(libc_)?(send|recv|sendto|recvfrom|sendmsg|recvmsg|epoll_\w+|connect|close|accept4?|shutdown"
        r"|socket|setsockopt|bind|write|writev|read)(64)? \(|^sock_|^(py)?epoll_|^(socket|select)_"
        r"|\(socket\.py|\(selectors\.py",
    ),
    ("observe: log, metrics, receipts, leak check", r"\(fanout/observe/|\(loguru/|\(prometheus_client/"),
    ("the race", r"\(fanout/race/"),
    ("upstream call, pool, httpx", r"\(fanout/upstream/|\(httpx/|\(httpcore/"),
    ("hypercorn and the driver", r"\(fanout/server/|\(hypercorn/|\(h11/|\(h2/|\(wsproto/"),
    ("Quart and the handlers", r"\(fanout/api/|\(quart\w*/|\(werkzeug/|\(fanout/"),
    ("Trio", r"\(trio/|\(outcome/|\(sniffio/|\(attr/"),
)


def run(settings: Settings) -> Found:
    seconds = settings.seconds(10, 4)
    stacks = settings.folder / "stacks"
    with (
        upstream(settings.folder, OTHER_CORE) as (url, what),
        running(fanout(settings.folder), url, SERVER_CORE) as program,
    ):
        whole_s = SETTLE_S + seconds * 2 + 3
        with beside("stepped_load", program.url, "first", "1000", f"{RATE}x{whole_s}") as load:
            sleep(START_S + SETTLE_S)
            then = usage.user_and_system_s(program.pid)
            before = usage.cpu_s(program.pid)
            sleep(seconds)  # before py-spy: it stops the process for each sample
            cpu_s = usage.cpu_s(program.pid) - before
            now = usage.user_and_system_s(program.pid)
            _sample(program.pid, seconds, stacks)
            report = json.loads(load.communicate()[0])
    counted = layers(stacks.read_text())
    samples = sum(counted.values())
    names = sorted((*(name for name, _ in LAYERS), REST), key=lambda name: -counted.get(name, 0))
    shares = {name: counted.get(name, 0) / max(1, samples) for name in names}
    user, system = now[0] - then[0], now[1] - then[1]
    settings.say(", ".join(f"{name} {share:.0%}" for name, share in shares.items()))
    return {
        "upstream": what,
        "seconds": seconds,
        "cpu_us": cpu_s * 1e6 / (RATE * seconds * useful_share(report)),
        "system_share": system / (user + system),
        "shares": shares,
        "samples": samples,
    }


def _sample(pid: int, seconds: int, into: Path) -> None:
    words = ["record", "--native", "-r", str(SAMPLES_PER_S), "-d", str(seconds), "-f", "raw", "-p", str(pid)]
    subprocess.run(
        [
            "taskset",
            "-c",
            str(OTHER_CORE),
            str(Path(sys.executable).parent / "py-spy"),
            *words,
            "-o",
            str(into),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def layers(stacks: str) -> dict[str, int]:
    """The samples of each layer, most first. stacks: py-spy's raw format, outermost frame first."""
    patterns = [(name, re.compile(pattern)) for name, pattern in LAYERS]
    counted: Counter[str] = Counter()
    for line in stacks.splitlines():
        stack, _, count = line.rpartition(" ")
        if any(map(_WAITS.search, stack.split(";")[-_INNERMOST:])):
            continue
        counted[_layer(stack.split(";"), patterns)] += int(count)
    return dict(counted.most_common())


def _layer(frames: list[str], patterns: list[tuple[str, re.Pattern[str]]]) -> str:
    for frame in reversed(frames):
        for name, pattern in patterns:
            if pattern.search(frame):
                return name
    return REST


def render(found: Found) -> str:
    shares: dict[str, float] = found["shares"]
    cells = [[name, f"{share:.0%}", f"{share * found['cpu_us']:,.0f}"] for name, share in shares.items()]
    split = found["system_share"]
    return (
        f"One process of `fanout serve` at {RATE} per second of `/api/first`, sampled {SAMPLES_PER_S} times "
        f"per second for {found['seconds']} s by py-spy, native frames included: {found['samples']:,} "
        "samples while it was not idle. Each sample belongs to the innermost frame whose layer is known. So "
        "the time of a layer includes the library functions that it uses. Without py-spy, the server uses "
        f"{found['cpu_us']:,.0f} µs of processor time per useful answer at this rate.\n\n"
        + rows(["layer", "share", "µs per useful answer"], cells)
        + f"\n\nAccording to the kernel (`/proc/PID/stat`), {split:.0%} of the processor time was spent "
        f"in the kernel and {1 - split:.0%} in the process."
    )


def plot(found: Found, figure_of: Any) -> None:
    figure_of.set_size_inches(8, 2.6)
    axes = figure_of.subplots(1, 1)
    left = 0.0
    for name, share in found["shares"].items():
        if not share:
            continue
        axes.barh(0, share, left=left, label=f"{name} {share:.0%}")
        left += share
    axes.set_yticks([])
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
    axes.grid(visible=False)
    axes.set_xlabel(f"of {found['cpu_us']:,.0f} µs a useful answer")
    axes.legend(fontsize="small", ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))
