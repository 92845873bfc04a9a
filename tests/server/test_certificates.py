"""A certificate that cannot be used is one line with the reason and the fix, and never a prompt."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from fanout.server.certificates import Certificate, load_certificate


def refusal(chain: Path | str, key: Path | str) -> str:
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - each test compares the text
        load_certificate(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), chain, key)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_chain_and_its_key_are_loaded(certificate: Certificate) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_certificate(context, certificate.chain, certificate.key)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        client.wrap_bio(to_client, to_server).do_handshake()
    with pytest.raises(ssl.SSLWantReadError):  # without a certificate there is no shared cipher
        context.wrap_bio(to_server, to_client, server_side=True).do_handshake()
    assert to_client.pending


def test_an_encrypted_key_is_not_asked_about(certificate: Certificate, tmp_path: Path) -> None:
    encrypted = tmp_path / "encrypted.pem"
    key = load_pem_private_key(certificate.key.read_bytes(), None)
    encrypted.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    )
    assert refusal(certificate.chain, encrypted) == (
        f"the key is encrypted: decrypt it with `openssl pkey -in {encrypted} -out NEW`"
    )


def test_a_file_that_is_not_there_or_no_pem_is_said(certificate: Certificate, tmp_path: Path) -> None:
    said = refusal(certificate.chain, tmp_path / "missing.pem")
    assert said == "[Errno 2] No such file or directory. Use PEM files of a chain and of its private key"
    (tmp_path / "text.pem").write_text("no PEM", "ascii")
    said = refusal(tmp_path / "text.pem", certificate.key)
    assert said.endswith(". Use PEM files of a chain and of its private key")


def test_a_key_of_another_certificate_is_said(certificate: Certificate, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().issue_cert("127.0.0.1").private_key_pem.write_to_path(str(other))
    said = refusal(certificate.chain, other)
    assert "key values mismatch" in said.lower()
    assert said.endswith(". Use PEM files of a chain and of its private key")
