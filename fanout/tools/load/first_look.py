"""The first look at the target: does a server listen there, and is it the API of fanout?

Rule 1: the load is for a fanout. Any other server gets a few requests and is named.
Rule 2: a fanout is recognized by its problem document for `timeout=0`, which starts no upstream call.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import httptools
import trio

from .answer import AnswerReader
from .endpoint import ENDPOINTS, decoded
from .plan import Target
from .wire import TlsWire, Wire

LOOK_S: Final = 5.0  # for the connection, and again for each answer
_ENOUGH_BYTES: Final = 2**16  # of an answer; those that matter are below 10 KB
_PROBE: Final = f"{ENDPOINTS['first'].path}?timeout=0"
_PROBLEM: Final = "urn:fanout:problem:"
_ANSWERS: Final = ("invalid_timeout", "overloaded", "draining")  # those of the API to the probe
_FIX: Final = "start `fanout demo`, or give the --url of a fanout"
# A path, a member of its JSON, what has both, and the fix.
_OTHER_LISTENERS: Final = (
    ("/statistics", "admission", "fanout's admin listener", "give the --url of its API"),
    (
        "/settings",
        "min_delay_ms",
        "fanout's simulated upstream",
        "give the --url of the fanout that calls it",
    ),
)


class CouldNotRun(Exception):
    """The run could not begin. The message is one line for the user, with the fix."""


class WrongServer(CouldNotRun):
    """A server listens there, and it is not the API of fanout."""


async def wires_to(target: Target) -> Callable[[], Wire]:
    """A maker of unopened wires to the first address of the target that accepts a connection.

    Raises CouldNotRun if there is none.
    """
    try:
        found = await trio.socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise CouldNotRun(f"the name {target.host!r} cannot be resolved: check --url") from None
    problem = ""
    for family, _, _, _, address in found:

        def new_wire(family: int = family, address: tuple[object, ...] = address) -> Wire:
            if target.tls is None:
                return Wire(family, address)
            return TlsWire(family, address, target.tls, target.host)

        try:
            with trio.fail_after(LOOK_S):
                wire = new_wire()
                try:
                    await wire.open()
                finally:
                    wire.close()
        except trio.TooSlowError:
            problem = f"no connection within {LOOK_S:g} s"
        except ssl.SSLError as error:
            word = error.reason or "TLS failed"
            raise CouldNotRun(
                f"no TLS with {target.url} ({word}): give --ca, --insecure or an http URL"
            ) from None
        except OSError as error:
            problem = error.strerror or str(error)
        else:
            return new_wire
    raise CouldNotRun(f"nothing answers at {target.url} ({problem}): {_FIX}")


async def check_server(target: Target) -> None:
    """Return if the target is the API of fanout. Raises WrongServer, or CouldNotRun as `wires_to`."""
    new_wire = await wires_to(target)
    seen = await _look(new_wire(), target, _PROBE)
    reason = seen.fanouts_reason()
    if reason in _ANSWERS:
        return
    if reason == "not_found":
        base_url = target.url.removesuffix(target.prefix)
        raise WrongServer(f"{target.url} is a path that this fanout does not have: give --url {base_url}")
    for path, member, what, fix in _OTHER_LISTENERS if seen.status else ():
        value = decoded((await _look(new_wire(), target, path)).body)
        if isinstance(value, dict) and member in value:
            raise WrongServer(f"{target.url} is {what}: {fix}")
    fix = f"{_FIX}; if it speaks TLS, give an https URL" if not seen.status and not target.tls else _FIX
    raise WrongServer(f"{target.url} is not fanout's API, it {seen.told()}: {fix}")


class _Seen(AnswerReader):
    """The answer to one request, as far as it came. `status` is 0 if not even its head did."""

    __slots__ = ("_fields", "failure")

    def __init__(self) -> None:
        super().__init__()
        self._fields: dict[bytes, bytes] = {}
        self.failure = "closes the connection"

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header field (called by the parser)."""
        self._fields[name.lower()] = value

    def on_headers_complete(self) -> None:
        """The end of a head (called by the parser)."""
        self.status = self._parser.get_status_code()

    def fanouts_reason(self) -> str:
        """The reason of a problem document of fanout; "" for anything else."""
        problem = decoded(self.body)
        kind = problem.get("type") if isinstance(problem, dict) else None
        return kind.removeprefix(_PROBLEM) if isinstance(kind, str) and kind.startswith(_PROBLEM) else ""

    def told(self) -> str:
        """What the server did, after "it". Printable."""
        if not self.status:
            return self.failure
        names = [name for name in (b"content-type", b"server") if name in self._fields]
        details = ", ".join(_printable(self._fields[name]) for name in names)
        return f"answers GET {_PROBE} with {self.status}" + (f" ({details})" if details else "")


async def _look(wire: Wire, target: Target, path: str) -> _Seen:
    """Ask once, and read the answer up to a limit. A failure is part of what was seen, and is not raised."""
    seen, received = _Seen(), 0
    head = f"GET {target.prefix}{path} HTTP/1.1\r\nHost: {target.authority}\r\nUser-Agent: fanout-load\r\n"
    try:
        with trio.move_on_after(LOOK_S) as scope:
            await wire.open()
            wire.send(f"{head}Accept: application/json\r\nConnection: close\r\n\r\n".encode("ascii"))
            while not seen.complete and received < _ENOUGH_BYTES:
                await trio.lowlevel.wait_readable(wire.socket)
                with suppress(BlockingIOError):
                    data, _ = wire.receive()
                    if not data:
                        break
                    seen.feed(data)
                    received += len(data)
        if scope.cancelled_caught:
            seen.failure = f"does not answer within {LOOK_S:g} s"
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        seen.failure = "does not speak HTTP"
    except OSError as error:
        seen.failure = f"breaks the connection ({error.strerror or type(error).__name__})"
    finally:
        wire.close()
    return seen  # noqa: ASYNC910 - opening the wire was a checkpoint


def _printable(value: bytes) -> str:
    text = value.decode("latin-1")[:60]
    return "".join(character if character.isprintable() else "?" for character in text)
