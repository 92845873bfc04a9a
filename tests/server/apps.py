"""ASGI apps to serve: small, and each with one behaviour."""

from __future__ import annotations

import trio

from fanout.server.asgi import Message, Receive, Scope, Send


async def answer(send: Send, body: bytes, status: int = 200) -> None:
    fields = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})


async def lifespan(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


class Echo:
    """Answers with method, path and query; `/slow` after `slow_s` unless the client leaves.

    It works as quart-trio does: one task receives, one answers, and whichever ends first ends the other.
    told_at: when it learnt that a client had left, which is when what was to answer is cancelled.
    """

    def __init__(self, slow_s: float = 1.0) -> None:
        self.slow_s = slow_s
        self.scopes: list[Scope] = []
        self.told_at: list[float] = []
        self.received: list[Message] = []
        self.running = 0
        self.no_longer_slow = trio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
            return
        self.scopes.append(scope)
        self.running += 1
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._receive, receive, nursery.cancel_scope)
                nursery.start_soon(self._answer, scope, send, nursery.cancel_scope)
        finally:
            self.running -= 1

    async def _receive(self, receive: Receive, scope: trio.CancelScope) -> None:
        while True:
            message = await receive()
            self.received.append(message)
            if message["type"] == "http.disconnect":
                scope.cancel()
                return

    async def _answer(self, scope: Scope, send: Send, ours: trio.CancelScope) -> None:
        if scope["path"] == "/slow":
            try:
                with trio.move_on_after(self.slow_s):
                    await self.no_longer_slow.wait()
            except trio.Cancelled:
                self.told_at.append(trio.current_time())
                raise
        elif scope["path"] == "/big":
            await answer(send, b"x" * 8_000_000)
            ours.cancel()
            return
        elif scope["path"] == "/stream":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for part in (b"one", b"two", b""):
                await send({"type": "http.response.body", "body": part, "more_body": bool(part)})
            ours.cancel()
            return
        words = (scope["method"], scope["path"], scope["query_string"].decode("ascii"))
        await answer(send, " ".join(words).strip().encode("utf-8"))
        ours.cancel()


async def crash(scope: Scope, receive: Receive, send: Send) -> None:
    raise KeyError("a bug")
