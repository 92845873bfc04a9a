"""Run the image as a strict cluster would, in a network of its own, and try what it promises.

    unshare --net python -m tests.deploy.image.trial IMAGE SBOM

Server and upstream are containers: any user id, a read-only file system without a tmpfs, no capabilities,
256 MB of memory.
Exit code: 0 when everything held, 1 otherwise.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import trio

from tests.observe.collector import Collector, collecting

API, ADMIN, UPSTREAM = "http://127.0.0.1:8080", "http://127.0.0.1:8081", "127.0.0.1:9000"
USER: Final = 54321  # no user that the image knows
MEMORY_BYTES: Final = 256 * 1024 * 1024
RUN: Final = (
    *("run", "--detach", "--pull=never", "--network=host", f"--user={USER}:{USER}"),
    *("--read-only", "--read-only-tmpfs=false", "--cap-drop=all", "--security-opt=no-new-privileges"),
    *(f"--memory={MEMORY_BYTES}", f"--memory-swap={MEMORY_BYTES}"),
    # podman's health checks are timers of systemd; here the command is run by hand. Some machines do not
    # allow the limits that podman sets by default.
    *("--no-healthcheck", "--ulimit=nofile=4096:4096", "--ulimit=nproc=1024:1024"),
)
RATE_PER_S: Final = 200
BEFORE_THE_STOP_S: Final = 3.0
LAME_DUCK_MS: Final = 2000
TIMEOUT_MS: Final = 2000
STOP_WITHIN_S: Final = 20  # above lame duck + timeout, and never needed
START_WITHIN_S: Final = 30

# What the program inside says of itself.
INSIDE: Final = """
import importlib.metadata, json, os, pathlib, sys
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
def writable(path):
    try:
        open(path + "/new", "w").close()
    except OSError:
        return False
    return True
print(json.dumps({
    "user": os.getuid(),
    "capabilities": int(status["CapEff"], 16) | int(status["CapBnd"], 16),
    "no_new_privileges": status["NoNewPrivs"].strip(),
    "writable": [path for path in ("/", "/tmp", "/var/tmp", "/run", "/opt/fanout") if writable(path)],
    "python": sys.version.split()[0],
    "bin": sorted(path.name for path in pathlib.Path("/opt/fanout/bin").iterdir()),
    "packages": sorted(f"{d.name}=={d.version}" for d in importlib.metadata.distributions()),
}))
"""


class TrialError(Exception):
    """What did not hold."""


def podman(*words: str) -> str:
    command = ["podman", "--cgroup-manager=cgroupfs", "--runtime=runc", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise TrialError(f"podman {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout.strip()


async def in_thread(*words: str) -> str:
    """Clients go on while podman works."""
    return await trio.to_thread.run_sync(podman, *words)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def expect(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise TrialError(f"{what}: {found!r}, and should be {wanted!r}")


@contextmanager
def container(name: str, image: str, *command: str, **environment: str) -> Iterator[str]:
    """Started with `command` or the image's own, and removed at the end. After an error, its log is shown."""
    name = f"fanout-trial-{os.getpid()}-{name}"
    variables = [f"--env={key}={value}" for key, value in environment.items()]
    podman(*RUN, "--name", name, *variables, image, *command)
    try:
        yield name
    except TrialError:
        logs = subprocess.run(
            ["podman", "logs", "--tail=20", name], capture_output=True, text=True, check=False
        )
        say(f"the last lines of {name}:\n{logs.stdout}{logs.stderr}")
        raise
    finally:
        podman("rm", "--force", "--time=0", name)


def state(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(podman("inspect", "--format={{json .State}}", name))
    return found


async def until_healthy(name: str, check: Sequence[str]) -> float:
    """By the command that the image names as its health check. Returns the seconds it took."""
    began = trio.current_time()
    with trio.move_on_after(START_WITHIN_S):
        while state(name)["Running"]:
            try:
                podman("exec", name, *check)
            except TrialError:
                await trio.sleep(0.1)
            else:
                return trio.current_time() - began
    raise TrialError(f"{name} is not healthy by {' '.join(check)!r}")


class Clients:
    """Many clients at a fixed rate. They leave a server alone that is not ready, as a balancer does."""

    def __init__(self) -> None:
        self.sent = 0
        self.answers: Counter[int] = Counter()  # by status
        self.refused = 0  # connections that the server never accepted
        self.lost: Counter[str] = Counter()  # by error: the server had accepted them
        self.is_over = False
        self.rate_per_s = 0.0  # reached

    async def run(self, *, keep_alive: bool) -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None if keep_alive else 0)
        async with httpx.AsyncClient(limits=limits, timeout=10, trust_env=False) as client:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch)
                start = trio.current_time()
                while not self.is_over:
                    nursery.start_soon(self._ask, client)
                    self.sent += 1
                    await trio.sleep_until(start + self.sent / RATE_PER_S)
                self.rate_per_s = self.sent / (trio.current_time() - start)

    async def _ask(self, client: httpx.AsyncClient) -> None:
        try:
            answer = await client.get(f"{API}/api/first?timeout={TIMEOUT_MS}")
            self.answers[answer.status_code] += 1
        except httpx.ConnectError:
            self.refused += 1
        except httpx.HTTPError as error:
            self.lost[repr(error)] += 1

    async def _watch(self) -> None:
        async with httpx.AsyncClient(trust_env=False) as client:
            while not self.is_over:
                try:
                    self.is_over = (await client.get(f"{ADMIN}/readyz")).status_code != 200
                except httpx.HTTPError:
                    self.is_over = True
                await trio.sleep(0.05)


async def stop_under_load(name: str, *, keep_alive: bool) -> None:
    clients = Clients()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: clients.run(keep_alive=keep_alive))
        await trio.sleep(BEFORE_THE_STOP_S)
        in_use = await in_thread("stats", "--no-stream", "--format={{.MemUsage}}", name)
        began = trio.current_time()
        await in_thread("stop", f"--time={STOP_WITHIN_S}", name)
        took_s = trio.current_time() - began
    ended = state(name)
    expect("exit code after podman stop", (ended["ExitCode"], ended["OOMKilled"]), (0, False))
    expect("lost requests", dict(clients.lost), {})
    expect("refused connections", clients.refused, 0)
    expect("answers", clients.answers.total(), clients.sent)
    # A busy machine sheds, which is an answer, too.
    expect("answers that are neither 200 nor 503", clients.answers.keys() - {200, 503}, set())
    expect("a success", clients.answers[200] > 0, True)
    how = "with keep-alive" if keep_alive else "a connection each"
    say(
        f"podman stop under {clients.rate_per_s:.0f}/s, {how}: exit code 0 after {took_s:.1f} s, answers "
        f"{dict(clients.answers)} to {clients.sent} requests, 0 lost; memory in use before it {in_use}"
    )


def check_inside(name: str, image: str, bill: dict[str, Any]) -> None:
    """What was asked of podman holds inside, and the SBOM names the very packages that Python finds there."""
    inside = json.loads(podman("exec", name, "python", "-c", INSIDE))
    expect("user id", inside["user"], USER)
    expect("capabilities", inside["capabilities"], 0)
    expect("no new privileges", inside["no_new_privileges"], "1")
    expect("writable folders", inside["writable"], [])
    expect("commands", [each for each in inside["bin"] if not each.startswith("python")], ["fanout"])
    described = sorted(
        f"{each['name']}=={each['version']}"
        for each in bill["components"]
        if each["purl"].startswith("pkg:pypi/")
    )
    expect("Python packages in the SBOM", described, inside["packages"])
    expect(
        "interpreter in the SBOM",
        f"pkg:generic/python@{inside['python']}" in {c["purl"] for c in bill["components"]},
        True,
    )
    labels = json.loads(podman("inspect", "--format={{json .Labels}}", image))
    for label in ("version", "revision", "source", "created"):
        expect(f"label {label} is filled in", bool(labels.get(f"org.opencontainers.image.{label}")), True)
    packages = f"{len(described)} Python packages on Python {inside['python']}"
    say(f"user {USER}, no capability, nothing writable; the SBOM names its {packages}")


async def try_out(image: str, bill: dict[str, Any], collector: Collector) -> None:
    health = json.loads(podman("image", "inspect", "--format={{json .HealthCheck.Test}}", image))
    expect("kind of health check", health[0], "CMD")
    settings = {
        "FANOUT_UPSTREAMS": f"http://{UPSTREAM}/api/work",
        "FANOUT_LAME_DUCK_MS": str(LAME_DUCK_MS),
        "FANOUT_LOG_REQUESTS": "failed",
    }
    sends_traces = any(each["name"] == "opentelemetry-sdk" for each in bill["components"])
    if sends_traces:
        settings["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.url
    with container("upstream", image, "upstream", "--reliable", "--bind", UPSTREAM):
        with container("server", image, **settings) as name:
            took_s = await until_healthy(name, health[1:])
            say(f"healthy after {took_s:.1f} s, by {' '.join(health[1:])!r}")
            check_inside(name, image, bill)
            async with httpx.AsyncClient(trust_env=False) as client:
                for path in ("/api/first", "/api/all"):
                    answer = await client.get(f"{API}{path}?timeout={TIMEOUT_MS}")
                    expect(path, (answer.status_code, "time" in answer.text), (200, True))
            if sends_traces:
                try:
                    await trio.to_thread.run_sync(collector.wait_for_requests, 2)
                except AssertionError:
                    raise TrialError("no traces of the two requests arrived") from None
            say(
                f"answered, and {'sent' if sends_traces else 'has no extra otel for'} a trace of each request"
            )
            await stop_under_load(name, keep_alive=True)
        with container("server", image, **settings) as name:
            await until_healthy(name, health[1:])
            await stop_under_load(name, keep_alive=False)


def main() -> int:
    image, bill = sys.argv[1:]
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    try:
        with collecting() as collector:
            trio.run(try_out, image, json.loads(Path(bill).read_text("utf-8")), collector)
    except BaseExceptionGroup as group:
        broken, others = group.split(TrialError)
        if broken is None or others is not None:
            raise
        for error in broken.exceptions:
            say(f"BROKEN: {error}")
        return 1
    except TrialError as error:
        say(f"BROKEN: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
