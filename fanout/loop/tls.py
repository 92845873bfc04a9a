"""OpenSSL between two memory buffers, without I/O: for clients and for upstreams.

OpenSSL works through a change of keys and goes on reading, and has no bound: 64 KiB of such records, 2,400 of
them, stop the event loop for 20 to 60 ms, and each may ask for an answer, which nobody needs to read.

Rule 1: OpenSSL gets one record at a time, and those that bring nothing are counted. Too many of them are an
        error, as they are in other implementations of TLS (16 or 32 in a row).
Rule 2: reading takes processor time. `decrypt` takes a bounded number of records.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any, Final

MAX_USELESS: Final = 32  # records in a row that bring no data
MAX_ANSWERS: Final = 32  # in the life of a connection; keys are good for 2**24 records
_RECORDS_AT_ONCE: Final = 64  # of one byte each they take 0.2 ms
_HEAD_BYTES: Final = 5
_LONGEST: Final = 2**14 + 2048
_FREED: Final[Any] = None


class TooManyRecords(ssl.SSLError):
    """The peer sends records that are good for nothing."""


class Tls:
    """One connection. Everything may raise `ssl.SSLError`, after which `to_send` may have an alert.

    openssl: to ask what was agreed on. is_secure: the handshake is done; only then `encrypt` and `decrypt`.
    """

    __slots__ = ("_answers", "_at", "_data", "_incoming", "_outgoing", "_useless", "is_secure", "openssl")

    def __init__(self, wrap: Callable[[ssl.MemoryBIO, ssl.MemoryBIO], ssl.SSLObject]) -> None:
        """wrap: `ssl.SSLContext.wrap_bio`, with all but the buffers."""
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.openssl = wrap(self._incoming, self._outgoing)
        self.is_secure = False
        self._data = b""  # records that OpenSSL has yet to get, from `_at` on
        self._at = 0
        self._useless = 0
        self._answers = 0

    @property
    def has_records(self) -> bool:
        """Whether any bytes have come that `decrypt` has not taken."""
        return self._at < len(self._data)

    @property
    def has_to_send(self) -> bool:
        return self._outgoing.pending > 0

    def take_in(self, data: bytes) -> None:
        """What has come from the peer; `b""` is the end. Not before `decrypt` has returned `None`."""
        if not data:
            self._incoming.write_eof()
        elif self.is_secure:
            self._data = self._data[self._at :] + data
            self._at = 0
        else:
            self._incoming.write(data)

    def to_send(self) -> bytes:
        """What the peer has to get, in its order, whichever call produced it."""
        return self._outgoing.read()

    def shake_hands(self) -> bool:
        """Take a step of the handshake. Whether it is done."""
        try:
            self.openssl.do_handshake()
        except ssl.SSLWantReadError:
            return False
        self._data = self._incoming.read()  # what came behind the handshake
        self.is_secure = True
        return True

    def encrypt(self, data: bytes) -> None:
        self.openssl.write(data)

    def decrypt(self) -> bytes | None:
        """What has come; `b""` at the end, `None` when more has to come."""
        pieces: list[bytes] = []
        try:
            for _ in range(_RECORDS_AT_ONCE):
                if self._useless > MAX_USELESS or self._answers > MAX_ANSWERS:
                    raise TooManyRecords("too many TLS records that bring no data")
                record = self._next_record()
                if record:
                    self._incoming.write(record)
                try:
                    piece = self.openssl.read(_LONGEST)
                except ssl.SSLWantReadError:
                    if not record:
                        return b"".join(pieces) or None
                    self._count_useless()
                else:
                    if not piece:
                        break
                    pieces.append(piece)
                    self._useless = 0
        except ssl.SSLZeroReturnError:
            pass
        except ssl.SSLError:
            if not pieces:  # else it is raised again, after them
                raise
        return b"".join(pieces)

    def free(self) -> None:
        """Free OpenSSL's memory, about 80 KiB, whatever still refers to this. It cannot be used any more."""
        self.openssl = self._incoming = self._outgoing = _FREED

    def _next_record(self) -> bytes:
        """The next record, or nothing while it is not complete."""
        data, at = self._data, self._at
        length = int.from_bytes(data[at + 3 : at + _HEAD_BYTES], "big")
        end = at + _HEAD_BYTES + length
        if length > _LONGEST:
            end = len(data)  # OpenSSL says what is wrong with it
        if len(data) - at < _HEAD_BYTES or len(data) < end:
            return b""
        if at == 0 and end == len(data):  # mostly it is one
            self._data = b""
            return data
        self._at = end
        return data[at:end]

    def _count_useless(self) -> None:
        self._useless += 1
        self._answers += self.has_to_send
