"""A real headless browser for tests: Debian's Chromium, driven over its DevTools pipe. Needs no library.

The protocol is one JSON object per message, ended by a NUL byte, on the browser's file descriptors 3 and 4.
The browser is started once per test process. Each test has a browser context of its own, like a private
window: cookies, cache and storage are gone with it. A test that fails ends the browser.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator
from functools import cache
from itertools import count
from typing import Any

import trio

from tests.lacking import path_of

CHROMIUM = path_of("chromium")
ANSWER_WITHIN_S = 30
END_WITHIN_S = 5
# Root needs no sandbox; containers have a small /dev/shm; everything else keeps the browser off the network.
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--disable-component-update",
    "--no-first-run",
    "--remote-debugging-pipe",
)

# The middle of an element that was in the same place for two looks, and that nothing covers. A page may
# still scroll or grow, and a click would land where the element was.
_STILL = """new Promise((done) => {
  const element = document.querySelector(%s);
  let before = '';
  const look = () => {
    const box = element.getBoundingClientRect();
    const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
    const now = `${x} ${y}`;
    if (now === before && element.contains(document.elementFromPoint(x, y))) {
      done([x, y]);
    } else {
      before = now;
      element.scrollIntoView({behavior: 'instant', block: 'center'}); // again: a caret scrolls, too
      setTimeout(look, 30);
    }
  };
  look();
})"""


class Browser:
    """A running browser. It outlives an event loop, so it is started and ended without one."""

    def __init__(self) -> None:
        assert CHROMIUM is not None
        self.ids = count(1)
        self.unread = b""  # the beginning of a message
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        # The shell puts our ends of the pipes where the browser looks for them.
        shell = ["sh", "-c", 'exec "$@" 3<&0 4>&1 0</dev/null 1>/dev/null', "sh"]
        self._process = subprocess.Popen(
            [*shell, CHROMIUM, *FLAGS, f"--user-data-dir={self._profile.name}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def commands(self) -> trio.abc.SendStream:
        assert self._process.stdin is not None
        return trio.lowlevel.FdStream(os.dup(self._process.stdin.fileno()))

    def reports(self) -> trio.abc.ReceiveStream:
        assert self._process.stdout is not None
        return trio.lowlevel.FdStream(os.dup(self._process.stdout.fileno()))

    def end(self) -> None:
        """The next test gets a new browser."""
        _browser.cache_clear()
        atexit.unregister(self.end)
        with self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()  # so it ends by itself
            try:
                self._process.wait(END_WITHIN_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._profile.cleanup()


@cache
def _browser() -> Browser:
    browser = Browser()
    atexit.register(browser.end)
    return browser


class Page:
    """One tab. `events` are all that the browser has reported about it, in order."""

    def __init__(self, browser: Browser, commands: trio.abc.SendStream) -> None:
        self.events: list[dict[str, Any]] = []
        self._browser = browser
        self._commands = commands
        self._answers: dict[int, trio.MemorySendChannel[dict[str, Any]]] = {}
        self._session: str | None = None
        self._news = trio.Event()

    async def command(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a DevTools command and return its result. Raises `RuntimeError` if it failed."""
        number = next(self._browser.ids)
        message = {"id": number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        self._answers[number], answer = trio.open_memory_channel[dict[str, Any]](1)
        await self._commands.send_all(json.dumps(message).encode() + b"\0")
        with trio.fail_after(ANSWER_WITHIN_S):
            said = await answer.receive()
        if "error" in said:
            raise RuntimeError(f"{method}: {said['error']['message']}")
        result: dict[str, Any] = said["result"]
        return result

    async def open_tab(self) -> str:
        """In a new browser context. Returns its id."""
        context: str = (await self.command("Target.createBrowserContext"))["browserContextId"]
        # A browser with windows lets a click copy; the shell would wait for somebody to allow it.
        await self.command(
            "Browser.grantPermissions", permissions=["clipboardSanitizedWrite"], browserContextId=context
        )
        target = await self.command("Target.createTarget", url="about:blank", browserContextId=context)
        attached = await self.command("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self.command(f"{domain}.enable")
        return context

    async def close(self, context: str) -> None:
        self._session = None
        await self.command("Target.disposeBrowserContext", browserContextId=context)

    async def open(self, url: str) -> None:
        """Go to `url` and wait until everything on it has loaded."""
        seen = len(self.events)
        await self.command("Page.navigate", url=url)
        await self.wait_for_event("Page.loadEventFired", seen)

    async def wait_for_event(self, method: str, since: int) -> None:
        with trio.fail_after(ANSWER_WITHIN_S):
            while not any(event["method"] == method for event in self.events[since:]):
                await self._news.wait()

    async def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression; a guarantee is waited for. Raises what it throws."""
        said = await self.command(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in said:
            raise RuntimeError(said["exceptionDetails"]["exception"]["description"])
        return said["result"].get("value")

    async def wait_until(self, condition: str) -> None:
        """Until a JavaScript expression is true. Raises what it throws.

        A timer looks at it: a tab that has nothing new to draw may get no frame for a long time.
        """
        look = (
            "const look = () => { try { if (" + condition + ") done(); else setTimeout(look, 15); }"
            " catch (error) { fail(error); } }"
        )
        await self.evaluate(f"new Promise((done, fail) => {{ {look}; look() }})")

    async def click(self, selector: str) -> None:
        """A real click in the middle of an element, as by a mouse, once it has stopped moving."""
        box = await self.evaluate(_STILL % json.dumps(selector))
        for kind in ("mousePressed", "mouseReleased"):
            where = {"x": box[0], "y": box[1], "button": "left", "clickCount": 1}
            await self.command("Input.dispatchMouseEvent", type=kind, **where)

    @property
    def complaints(self) -> list[str]:
        """What a developer would see in red: errors in scripts, in the log, and broken policies.

        Not a 404 for the tasks of a request: it may end just before they are asked for.
        """
        found = []
        for event in self.events:
            match event["method"], event["params"]:
                case "Runtime.exceptionThrown", {"exceptionDetails": details}:
                    found.append(str(details))
                case "Log.entryAdded", {"entry": {"level": "error", "text": text, **entry}}:
                    if "/tasks?request=" not in str(entry.get("url")) or "404" not in text:
                        found.append(text)
        return found

    @property
    def requested(self) -> list[str]:
        """The URLs that the tab asked for."""
        sent = [e["params"] for e in self.events if e["method"] == "Network.requestWillBeSent"]
        return [params["request"]["url"] for params in sent]

    async def listen(self, reports: trio.abc.ReceiveStream) -> None:
        async for chunk in reports:
            *messages, self._browser.unread = (self._browser.unread + chunk).split(b"\0")
            for message in map(json.loads, messages):
                if "id" in message:
                    self._answers.pop(message["id"]).send_nowait(message)
                elif message.get("sessionId") == self._session:
                    self.events.append(message)
            self._news.set()
            self._news = trio.Event()


@contextlib.asynccontextmanager
async def open_page() -> AsyncIterator[Page]:
    """A new tab that shares nothing with an earlier one, gone when the block ends. One at a time."""
    browser = _browser()
    try:
        async with (
            browser.commands() as commands,
            browser.reports() as reports,
            trio.open_nursery() as nursery,
        ):
            page = Page(browser, commands)
            nursery.start_soon(page.listen, reports)
            context = await page.open_tab()
            yield page
            await page.close(context)
            nursery.cancel_scope.cancel(reason="the test is done with the browser")
    except BaseException:
        browser.end()
        raise
