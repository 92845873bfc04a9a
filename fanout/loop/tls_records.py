"""TLS records, one at a time: what a peer may make OpenSSL do for nothing.

OpenSSL works through a change of keys and goes on reading, and has no bound: 64 KiB of such records, 2,400 of
them, stop the event loop for 20 to 60 ms, and each may ask for an answer, which nobody needs to read.

Rule: OpenSSL gets one record at a time, and those that bring nothing are counted. Too many of them are an
      error, as they are in other implementations of TLS (16 or 32 in a row).
"""

from __future__ import annotations

import ssl
from typing import Final

MAX_USELESS: Final = 32  # records in a row that bring no data
MAX_ANSWERS: Final = 32  # in the life of a connection; keys are good for 2**24 records
_HEAD_BYTES: Final = 5
_LONGEST: Final = 2**14 + 2048


class TooManyRecords(ssl.SSLError):
    """The peer sends records that are good for nothing."""


class Records:
    """The encrypted bytes of one connection, between their arrival and OpenSSL."""

    __slots__ = ("_answers", "_at", "_data", "_useless")

    def __init__(self) -> None:
        self._data = b""
        self._at = 0
        self._useless = 0
        self._answers = 0

    def __bool__(self) -> bool:
        """Whether any bytes have not been taken."""
        return self._at < len(self._data)

    def add(self, data: bytes) -> None:
        self._data = self._data[self._at :] + data
        self._at = 0

    def take(self) -> bytes:
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

    def brought_data(self) -> None:
        self._useless = 0

    def brought_nothing(self, *, is_answered: bool) -> None:
        """Count the record that was taken last. Raises `TooManyRecords`."""
        self._useless += 1
        self._answers += is_answered
        if self._useless > MAX_USELESS or self._answers > MAX_ANSWERS:
            raise TooManyRecords("too many TLS records that bring no data")
