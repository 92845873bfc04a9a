"""Loads certificates from PEM files without a prompt: nobody is there to type a passphrase."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a TLS listener shows: PEM files of the chain and of its private key."""

    chain: Path
    key: Path


def load_certificate(context: ssl.SSLContext, chain: Path | str, key: Path | str) -> None:
    """Load a chain and its private key. Raises `ValueError` with the reason and the fix in one line.

    An encrypted key is refused. The decrypted key can be kept where its passphrase would be kept.
    """

    def refuse() -> str:
        raise ValueError(f"the key is encrypted: decrypt it with `openssl pkey -in {key} -out NEW`")

    try:
        context.load_cert_chain(chain, key, refuse)
    except OSError as error:  # `ssl.SSLError` is one
        raise ValueError(f"{error}. Use PEM files of a chain and of its private key") from None
