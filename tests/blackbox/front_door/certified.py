"""Certificates for a server that speaks TLS."""

from __future__ import annotations

import ssl
from pathlib import Path

import trustme


def certified(folder: Path) -> tuple[ssl.SSLContext, tuple[str, ...]]:
    """A client's context, and the options that make the server show what it trusts."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    for pem in certificate.cert_chain_pems:
        pem.write_to_path(folder / "chain.pem", append=True)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    return trust, ("--tls-cert", f"{folder / 'chain.pem'}", "--tls-key", f"{folder / 'key.pem'}")
