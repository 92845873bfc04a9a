"""Every command, as a real process, with what its user and its machine can get wrong: never a traceback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from tests import forked
from tests.blackbox.mistakes import MISTAKES, Mistake

WITHIN_S = 50


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    certificate = trustme.CA().issue_cert("localhost")
    certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    key = load_pem_private_key(certificate.private_key_pem.bytes(), None)
    encrypted = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    (folder / "encrypted.pem").write_bytes(encrypted)
    (folder / "garbage.pem").write_bytes(os.urandom(300))
    (folder / "empty.pem").touch()
    return folder


@pytest.fixture(scope="module")
def taken() -> Iterator[str]:
    """A port on which somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield str(listener.getsockname()[1])


def run(mistake: Mistake, files: Path, taken: str) -> subprocess.CompletedProcess[bytes]:
    """With surroundings of its own, it is a new interpreter that meets them."""
    arguments = [a.replace("FILES", str(files)).replace("TAKEN", taken) for a in mistake.arguments]
    if not mistake.shell and not mistake.environment:
        return forked.run(*arguments, within_s=WITHIN_S)
    return subprocess.run(
        ["sh", "-c", f'{mistake.shell} exec "$0" -m fanout "$@"', sys.executable, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env={**os.environ, **mistake.environment},
        timeout=WITHIN_S,
        check=False,
    )


@pytest.mark.parametrize("mistake", MISTAKES, ids=str)
def test_a_mistake_is_one_line_that_names_it_and_an_exit_code(
    mistake: Mistake, files: Path, taken: str
) -> None:
    """G11: a traceback is a bug of ours, and only that. Nothing is bound, and 1 is an answer."""
    done = run(mistake, files, taken)
    said = done.stderr.decode("utf-8", "replace")
    assert b"Traceback" not in done.stdout + done.stderr, said
    assert done.returncode == mistake.code, said
    if mistake.says is None:
        assert said == ""
    else:
        assert said.count("\n") == 1, said
        assert mistake.says in said
        assert done.stdout == b""


def test_a_pipe_whose_reader_has_gone_ends_quietly() -> None:
    """`fanout config | head -1`, whatever the timing: the reader has gone before the first line."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "fanout", "config"],
        stdout=writing,
        stderr=subprocess.PIPE,
        timeout=WITHIN_S,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (3, b"")
