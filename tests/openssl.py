"""A TLS peer that does what Python's `ssl` has no name for: it changes its keys when it likes.

OpenSSL through its C interface, between two memory buffers.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from typing import Any, Final

import pytest

_BYTES: Final = 1 << 16
_PEM: Final = 1


def _load() -> tuple[Any, Any]:
    names = ctypes.util.find_library("ssl"), ctypes.util.find_library("crypto")
    if None in names:
        pytest.skip("this system has no shared libssl and libcrypto to be called by their C names")
    ssl, crypto = ctypes.CDLL(names[0]), ctypes.CDLL(names[1])
    made = (
        (ssl, ("TLS_client_method", "TLS_server_method", "SSL_CTX_new", "SSL_new")),
        (crypto, ("BIO_s_mem", "BIO_new")),
    )
    for library, functions in made:
        for name in functions:
            getattr(library, name).restype = ctypes.c_void_p
    return ssl, crypto


class Peer:
    """One end of a connection. It verifies nothing."""

    def __init__(self, server: tuple[str, str] | None = None) -> None:
        """server: be one, with these files of a certificate chain and of its key; else a client."""
        self._ssl, self._crypto = ssl, crypto = _load()
        method = ssl.TLS_client_method() if server is None else ssl.TLS_server_method()
        context = _pointer(ssl.SSL_CTX_new(_pointer(method)))
        if server is not None:
            chain, key = (name.encode() for name in server)
            assert ssl.SSL_CTX_use_certificate_chain_file(context, chain) == 1
            assert ssl.SSL_CTX_use_PrivateKey_file(context, key, _PEM) == 1
        self._tls = _pointer(ssl.SSL_new(context))
        ssl.SSL_CTX_free(context)  # the connection has its own reference
        self._in, self._out = (_pointer(crypto.BIO_new(_pointer(crypto.BIO_s_mem()))) for _ in range(2))
        ssl.SSL_set_bio(self._tls, self._in, self._out)
        begin = ssl.SSL_set_connect_state if server is None else ssl.SSL_set_accept_state
        begin(self._tls)

    def close(self) -> None:
        self._ssl.SSL_free(self._tls)

    def hears(self, data: bytes) -> None:
        assert self._crypto.BIO_write(self._in, data, len(data)) == len(data)

    def says(self) -> bytes:
        """What is to be sent, all of it."""
        pieces, buffer = [], ctypes.create_string_buffer(_BYTES)
        while (length := self._crypto.BIO_read(self._out, buffer, _BYTES)) > 0:
            pieces.append(buffer.raw[:length])
        return b"".join(pieces)

    def shake_hands(self) -> bool:
        """Whether it is done."""
        return bool(self._ssl.SSL_do_handshake(self._tls) == 1)

    def write(self, data: bytes) -> None:
        assert self._ssl.SSL_write(self._tls, data, len(data)) == len(data)

    def read(self) -> bytes:
        """What has been heard, at most one record of it."""
        buffer = ctypes.create_string_buffer(_BYTES)
        length = self._ssl.SSL_read(self._tls, buffer, _BYTES)
        return buffer.raw[: max(0, length)]

    def change_keys(self, *, both: bool) -> None:
        """both: ask for an answer, which is a change of the other end's keys."""
        assert self._ssl.SSL_key_update(self._tls, int(both)) == 1
        assert self.shake_hands()


def _pointer(address: int) -> ctypes.c_void_p:
    assert address
    return ctypes.c_void_p(address)
