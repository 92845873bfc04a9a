"""The peak useful rate when the upstream speaks TLS."""

from __future__ import annotations

import ssl
from importlib import import_module
from pathlib import Path

from benchmarks.comparison import Comparison
from benchmarks.contenders import (
    AIOHTTP_NAME,
    BASE_NAME,
    FANOUT_NAME,
    PATIENT_NAME,
    aiohttp,
    contenders,
    fanout,
)
from benchmarks.programs import Certificate, has_nginx, upstream
from benchmarks.section import OTHER_CORE, Found, Settings
from benchmarks.sections import peak

NAME = "tls"
TITLE = "Peak useful rate with TLS to the upstream"
CLIENTS = (200, 400)  # more than 400 are far more than any of them can serve
ROUNDS = 2


def run(settings: Settings) -> Found:
    if not has_nginx():
        return {"skipped": "needs nginx, which is not here"}
    certificate = issue(settings.folder)
    authority = str(certificate.authority)
    patient = ("--upstream-ca", authority, "--max-loop-lag-ms", "1000")
    servers = {
        FANOUT_NAME: fanout(settings.folder, "--upstream-ca", authority),
        PATIENT_NAME: fanout(settings.folder, *patient, name=PATIENT_NAME),
        AIOHTTP_NAME: aiohttp("--ca", authority),
    }
    here = {name: servers[name] for name in contenders(settings.folder, list(servers))}
    with upstream(settings.folder, OTHER_CORE, certificate) as (url, what):
        return {
            "upstream": what,
            "tls": ssl.OPENSSL_VERSION,
            **peak.measure(settings, here, url, CLIENTS, ROUNDS, at_once=False),
        }


def issue(folder: Path) -> Certificate:
    """A certificate for this machine, of an authority made for this run."""
    trustme = import_module("trustme")
    made = Certificate(folder / "chain.pem", folder / "key.pem", folder / "authority.pem")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(made.authority))
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(str(made.key))
    for blob in issued.cert_chain_pems:
        blob.write_to_path(str(made.chain), append=True)
    return made


def compared(found: Found) -> list[Comparison]:
    return [] if "skipped" in found else peak.compared(found, " with TLS to the upstream")


def render(found: Found) -> str:
    if "skipped" in found:
        return f"Not measured: {found['skipped']}.\n"
    return (
        "As above with fewer clients. nginx speaks TLS 1.3 with a certificate of an authority that both "
        f"servers trust (fanout: `FANOUT_UPSTREAM_CA`; {BASE_NAME}: an `ssl` context, {found['tls']}). A "
        "cancelled call costs its connection, so about half of the calls of `/api/first` begin with a "
        "handshake, which takes time on the upstream's core as well.\n\n" + peak.table(found)
    )
