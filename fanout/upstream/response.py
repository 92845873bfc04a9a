"""httpx's response for an answer that is there as a whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx


class CompleteResponse(httpx.Response):
    """A response that was read, and closed. What nobody asks for is made when it is asked for.

    A race asks for status and content only; headers and the rest cost three times as much as these.
    """

    def __init__(
        self,
        status: int,
        headers: Callable[[], list[tuple[bytes, bytes]]],
        content: bytes,
        request: httpx.Request,
    ) -> None:
        self.status_code = status
        self.is_stream_consumed = self.is_closed = True
        self._content = content  # what `read` would find
        self._unread = headers, request

    def __getattr__(self, name: str) -> Any:
        unread = self.__dict__.pop("_unread", None)
        if unread is None or name == "_unread":
            raise AttributeError(name)
        headers, request = unread
        stream = httpx.ByteStream(self._content)
        whole = httpx.Response(self.status_code, headers=headers(), stream=stream, request=request)
        whole.read()
        self.__dict__ = {**vars(whole), **self.__dict__}
        return getattr(self, name)
