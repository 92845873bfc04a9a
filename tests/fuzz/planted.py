"""Known mistakes, put into the code one by one: the search must find each of them."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, Final, NamedTuple

ROOT: Final = Path(__file__).parents[2]


class Planted(NamedTuple):
    """A mistake: what is replaced in a module. target: of the search that must see it."""

    target: str
    module: str
    changes: tuple[tuple[str, str], ...]


_HEAD: Final = "fanout.server.head"
_READER: Final = "fanout.server.http1_reader"
_ANSWER: Final = "fanout.upstream.answer"
_CHUNKS: Final = "fanout.upstream.chunks"
_HTTP2: Final = "fanout.server.http2_head"

PLANTED: Final = {
    "two lengths": Planted(
        "head",
        _HEAD,
        (
            ("elif name in _LISTS:", 'elif name in _LISTS or name == b"content-length":'),
            ('ruled[name] += b"," + value', "ruled[name] = value"),
        ),
    ),
    "a bare LF behind a field": Planted(
        "head",
        _HEAD,
        (
            (r"\x80-\xff]*+\r\n)*+)\r\n", r"\x80-\xff]*+\r?\n)*+)\r\n"),
            (r"|(?<!\r)\n|", "|"),
            (r":[ \t]*+([^\r]*+)\r\n", r":[ \t]*+([^\r\n]*+)\r?\n"),
        ),
    ),
    "a folded line": Planted(
        "head",
        _HEAD,
        (
            (r":[\t\x20-\x7e\x80-\xff]*+\r\n)*+", r":(?:[\t\x20-\x7e\x80-\xff]|\r\n[ \t])*+\r\n)*+"),
            (r":[ \t]*+([^\r]*+)\r\n", r":[ \t]*+((?:[^\r]|\r\n[ \t])*+)\r\n"),
        ),
    ),
    "a space before the colon": Planted("head", _HEAD, ((r'TOKEN + rb":[\t', r'TOKEN + rb"[ ]*:[\t'),)),
    "a NUL in a value": Planted(
        "head", _HEAD, ((r":[\t\x20-\x7e", r":[\x00\t\x20-\x7e"), (r"[\x00-\x08", r"[\x01-\x08"))
    ),
    "a length next to a coding": Planted("head", _HEAD, (("if length is None and version", "if version"),)),
    "a second host": Planted(
        "head",
        _HEAD,
        (
            ("elif name in _LISTS:", 'elif name in _LISTS or name == b"host":'),
            ('ruled[name] += b"," + value', "ruled[name] = value"),
        ),
    ),
    "the end of a head that comes in two pieces": Planted(
        "head", _READER, (("max(0, checked - 3)", "checked"),)
    ),
    "bytes behind a body are lost": Planted(
        "stream", _READER, (("data[: self._left], data[self._left :]", 'data[: self._left], b""'),)
    ),
    "a chunked body is not the last": Planted(
        "stream", _HEAD, (("keep_alive and body_length != CHUNKED", "keep_alive"),)
    ),
    "a body is left for the next request": Planted(
        "stream", _READER, (("self._left -= len(mine)", "self._left -= len(mine) - 1"),)
    ),
    "a chunk size with a sign": Planted(
        "answer",
        _CHUNKS,
        ((r"([0-9A-Fa-f]{1,16}+)", r"(\+?[0-9A-Fa-f]{1,16}+)"), ('b"0123456789ABC', 'b"+0123456789ABC')),
    ),
    "a chunk size with an underscore": Planted(
        "answer", _CHUNKS, ((r"([0-9A-Fa-f]{1,16}+)", r"([0-9A-Fa-f](?:_?[0-9A-Fa-f]){0,15}+)"),)
    ),
    "a chunk size with 0x": Planted(
        "answer", _CHUNKS, ((r"([0-9A-Fa-f]{1,16}+)", r"((?:0x)?[0-9A-Fa-f]{1,16}+)"),)
    ),
    "a chunk size of 32 bits": Planted(
        "answer", _CHUNKS, (("int(match[1], 16)", "int(match[1], 16) & 0xFFFFFFFF"),)
    ),
    "trailers end with the last chunk": Planted(
        "answer", _CHUNKS, (("self.is_complete = match[1] is None", "self.is_complete = True"),)
    ),
    "a body behind the answer to HEAD": Planted(
        "answer", _ANSWER, (('self._is_to_head = method == "HEAD"', "self._is_to_head = False"),)
    ),
    "an interim answer is final": Planted("answer", _ANSWER, (("if status < 200:", "if status < 103:"),)),
    "an upper-case name": Planted("http2_head", _HTTP2, ((r"\x20A-Z\x7f", r"\x20\x7f"),)),
    "a field of a connection": Planted(
        "http2_head", _HTTP2, (('b"connection", b"keep-alive", ', 'b"keep-alive", '),)
    ),
    "a pseudo-header field behind a field": Planted(
        "http2_head", _HTTP2, (("and name not in pseudo and not number", "and name not in pseudo"),)
    ),
}


@contextmanager
def planted(mistake: Planted) -> Iterator[None]:
    """The mistake in the module that is imported. Raises `AssertionError` if the code has changed."""
    module = importlib.import_module(mistake.module)
    assert module.__file__ is not None
    source = Path(module.__file__).read_text("utf-8")
    for old, new in mistake.changes:
        assert source.count(old) == 1, f"{old!r} is {source.count(old)} times in {mistake.module}"
        source = source.replace(old, new)
    broken = ModuleType(module.__name__)
    broken.__file__ = module.__file__
    exec(compile(source, module.__file__, "exec", dont_inherit=True), vars(broken))
    undo = [*_replace(vars(module), vars(broken))]
    try:
        yield
    finally:
        for space, name, old in undo:
            if name == "__code__":
                space.__code__ = old
            else:
                space[name] = old


def _replace(old: dict[str, Any], new: dict[str, Any]) -> Iterator[tuple[Any, str, Any]]:
    """Give functions the new code and constants the new value. What was there before, to undo it."""
    for name, value in list(new.items()):
        before = old.get(name)
        if isinstance(value, FunctionType) and isinstance(before, FunctionType):
            if value.__module__ == before.__module__:
                yield before, "__code__", before.__code__
                before.__code__ = value.__code__
        elif isinstance(value, type) and isinstance(before, type):
            if value.__module__ == before.__module__ and value is not before:
                yield from _replace(dict(vars(before)), dict(vars(value)))
        elif not name.startswith("__") and not isinstance(value, ModuleType) and before is not value:
            yield old, name, before
            old[name] = value
