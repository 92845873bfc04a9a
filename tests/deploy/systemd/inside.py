"""Runs as root in the container that `boot.py` starts: does what an operator does, and checks the results.

Needs only Debian's Python. Prints a line per fact; the exit code is 1 if one does not hold.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

WITHIN_S = 60  # generous: the machine is shared
CLIENTS = 16  # on each instance
PORTS = {"one": 8001, "two": 8011, "tls": 8021}  # of the admin listeners: those above


def run(*command: str, check: bool = True) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=WITHIN_S, check=False)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout


def shown(instance: str, name: str) -> str:
    return run("systemctl", "show", f"fanout@{instance}", "--property", name, "--value").strip()


def journal(instance: str) -> list[dict[str, Any]]:
    text = run("journalctl", "--unit", f"fanout@{instance}", "--output", "json", "--no-pager")
    return [json.loads(line) for line in text.splitlines()]


def said(instance: str) -> list[str]:
    """What fanout itself wrote; systemd's lines about it have another identifier."""
    return [str(e["MESSAGE"]) for e in journal(instance) if e.get("SYSLOG_IDENTIFIER") == "fanout"]


def get(
    port: int, target: str, timeout_s: float = 10, context: ssl.SSLContext | None = None
) -> tuple[int, bytes]:
    """One request on a connection of its own."""
    if context is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    else:
        connection = http.client.HTTPSConnection("localhost", port, timeout=timeout_s, context=context)
    try:
        connection.request("GET", target)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def is_ready(instance: str) -> bool:
    try:
        return get(PORTS[instance] + 1, "/readyz", timeout_s=1)[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def statistics(instance: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(get(PORTS[instance] + 1, "/statistics")[1])
    return found


def wait_until(true: Callable[[], object], what: str) -> None:
    gives_up_at = time.monotonic() + WITHIN_S
    while not true():
        assert time.monotonic() < gives_up_at, f"not within {WITHIN_S} s: {what}"
        time.sleep(0.05)


class Load:
    """Clients behind the simplest balancer there is: it asks /readyz of each instance every 0.1 s."""

    def __init__(self, *instances: str) -> None:
        self.answered = 0
        self.lost: list[str] = []
        self._ready = dict.fromkeys(instances, True)
        self._is_over = threading.Event()
        checks = [threading.Thread(target=self._check, args=[each]) for each in instances]
        clients = [
            threading.Thread(target=self._send, args=[each]) for each in instances for _ in range(CLIENTS)
        ]
        self._threads = [*checks, *clients]
        for thread in self._threads:
            thread.start()

    def wait_for(self, answers: int) -> None:
        enough = self.answered + answers
        wait_until(lambda: self.answered >= enough or self.lost, f"{answers} more answers")

    def end(self) -> int:
        self._is_over.set()
        for thread in self._threads:
            thread.join()
        assert not self.lost, f"{len(self.lost)} lost, {self.answered} answered: {self.lost[:3]}"
        return self.answered

    def _check(self, instance: str) -> None:
        while not self._is_over.wait(0.1):
            self._ready[instance] = is_ready(instance)

    def _send(self, instance: str) -> None:
        while not self._is_over.is_set():
            if not self._ready[instance]:
                time.sleep(0.05)
                continue
            try:
                status, _ = get(PORTS[instance], "/api/first?timeout=3000")
                if status == 200:
                    self.answered += 1
                else:
                    self.lost.append(f"{instance}: {status}")
            except (OSError, http.client.HTTPException) as error:
                self.lost.append(f"{instance}: {error!r}")


def it_starts_and_answers() -> str:
    run("systemctl", "start", "fanout@one")  # returns when fanout is ready, so nothing is waited for here
    assert get(PORTS["one"], "/api/first?timeout=3000")[0] == 200
    status = shown("one", "StatusText")
    assert status.startswith("serving at http://127.0.0.1:8001/"), status
    pid = shown("one", "MainPID")
    user = run("stat", "--format=%u", f"/proc/{pid}").strip()
    assert int(user) >= 61184, f"uid {user} is not a dynamic one"  # systemd's range for DynamicUser
    _, metrics = get(PORTS["one"] + 1, "/metrics")
    assert b"\nprocess_start_time_seconds " in metrics
    return f"user {user}, {status}"


def it_stops_under_load_and_nothing_is_lost() -> str:
    load = Load("one")
    load.wait_for(100)
    began = time.monotonic()
    run("systemctl", "stop", "fanout@one")
    took_s = time.monotonic() - began
    answered = load.end()
    assert (shown("one", "Result"), shown("one", "ExecMainStatus")) == ("success", "0")
    return f"{answered} answered, 0 lost, Result=success after {took_s:.1f} s"


def an_upgrade_and_a_rollback_lose_nothing() -> str:
    """Instance by instance, while clients send to both. One of the two has 2 workers."""
    run("systemctl", "start", "fanout@one", "fanout@two")
    installed = os.readlink("/opt/fanout/current")
    load = Load("one", "two")
    load.wait_for(100)
    for version in ("next", installed):
        run("ln", "-s", version, "/opt/fanout/new")
        run("mv", "--no-target-directory", "/opt/fanout/new", "/opt/fanout/current")
        for instance in ("one", "two"):
            run("systemctl", "restart", f"fanout@{instance}")
            with open(f"/proc/{shown(instance, 'MainPID')}/cmdline") as command:
                assert command.read().startswith(f"/opt/fanout/{version}/")
            load.wait_for(100)
    return f"{load.end()} answered through 4 restarts, 0 lost"


def a_stuck_event_loop_is_restarted_by_the_watchdog() -> str:
    before = shown("one", "MainPID")
    run("systemctl", "kill", "--signal=USR1", "--kill-whom=main", "fanout@one")
    began = time.monotonic()
    wait_until(lambda: shown("one", "NRestarts") == "1" and is_ready("one"), "restarted")
    took_s = time.monotonic() - began
    assert get(PORTS["one"], "/api/first?timeout=3000")[0] == 200
    assert shown("one", "MainPID") != before
    lines = [str(entry["MESSAGE"]) for entry in journal("one")]
    assert any("Watchdog timeout" in line for line in lines)
    assert any("blocks_at_sigusr1.py" in line for line in lines), "no traceback says where it was stuck"
    return f"ready again after {took_s:.1f} s; the journal says where it was stuck"


def a_stuck_worker_is_replaced_by_its_parent() -> str:
    workers = [json.loads(line) for line in said("two") if " is ready" in line and '"worker":0' in line]
    os.kill(workers[-1]["pid"], signal.SIGUSR1)
    wait_until(lambda: any("has been stuck" in line for line in said("two")), "the parent notices it")
    again = len(workers) + 1
    wait_until(lambda: sum('"message":"worker 0 is ready"' in s for s in said("two")) == again, "replaced")
    assert shown("two", "NRestarts") == "0"
    run("systemctl", "stop", "fanout@two")
    assert shown("two", "Result") == "success"
    return "NRestarts=0, and Result=success afterwards"


def it_asks_for_more_time_than_the_unit_gives() -> str:
    """A drop-in makes TimeoutStopSec 1 s; a request that takes 4 s is answered all the same."""
    statuses: list[int] = []
    client = threading.Thread(target=lambda: statuses.append(get(PORTS["tls"], SLOW, 10, trusting())[0]))
    client.start()
    wait_until(lambda: statistics("tls")["admission"]["in_flight"] == 1, "in flight")
    began = time.monotonic()
    run("systemctl", "stop", "fanout@tls")
    took_s = time.monotonic() - began
    client.join()
    assert statuses == [200], statuses
    assert shown("tls", "Result") == "success"
    assert took_s > 2
    return f"Result=success {took_s:.1f} s after SIGTERM, with TimeoutStopSec=1s"


SLOW = "/api/first?timeout=6000"


def trusting() -> ssl.SSLContext:
    return ssl.create_default_context(cafile="/etc/fanout/ca.pem")


def a_key_that_only_root_can_read_is_a_credential() -> str:
    run("systemctl", "start", "fanout@tls")
    assert get(PORTS["tls"], "/docs", 10, trusting())[0] == 200
    return run("stat", "--format=%A %U %n", "/etc/fanout/tls.key").strip()


def a_wrong_setting_is_one_line_and_no_restart_loop() -> str:
    assert subprocess.run(["systemctl", "start", "fanout@wrong"], stderr=subprocess.DEVNULL).returncode == 1
    # A unit that is to be restarted would be `activating (auto-restart)`.
    found = [shown("wrong", name) for name in ("ActiveState", "Result", "ExecMainStatus", "NRestarts")]
    assert found == ["failed", "exit-code", "2", "0"], found
    (line,) = said("wrong")
    return line


def a_missing_file_of_settings_starts_nothing() -> str:
    done = subprocess.run(["systemctl", "start", "fanout@none"], capture_output=True, text=True)
    assert done.returncode != 0
    assert shown("none", "AssertResult") == "no"
    assert shown("none", "ExecMainPID") == "0"
    return done.stderr.strip()


FACTS = (
    it_starts_and_answers,
    it_stops_under_load_and_nothing_is_lost,
    an_upgrade_and_a_rollback_lose_nothing,
    a_stuck_event_loop_is_restarted_by_the_watchdog,
    a_stuck_worker_is_replaced_by_its_parent,
    a_key_that_only_root_can_read_is_a_credential,
    it_asks_for_more_time_than_the_unit_gives,
    a_wrong_setting_is_one_line_and_no_restart_loop,
    a_missing_file_of_settings_starts_nothing,
)
SHORT = (
    it_starts_and_answers,
    it_stops_under_load_and_nothing_is_lost,
    a_wrong_setting_is_one_line_and_no_restart_loop,
)


def main() -> int:
    failed = 0
    for fact in SHORT if "--short" in sys.argv else FACTS:
        try:
            line = f"ok      {fact.__name__.replace('_', ' ')}: {fact()}"
        except Exception:  # noqa: BLE001 - whatever it was, the next fact is tried, too
            failed += 1
            line = f"FAILED  {fact.__name__.replace('_', ' ')}\n{traceback.format_exc()}"
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
