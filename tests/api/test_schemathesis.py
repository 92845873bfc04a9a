"""The real program, asked by a machine that knows nothing of it but its OpenAPI document."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.forked import running

ENDS_WITHIN_S = 100  # ten times what it takes on a quiet machine
SERVER = ["--bind=127.0.0.1:0", "--admin-bind=127.0.0.1:0", "--log-level=error"]
# Fast, so that many questions fit in a short test; and half of the calls fail, so that many answers are 500.
UPSTREAM = ["--seed=1", "--min-delay-ms=0", "--max-delay-ms=20", "--fault=status=0.3", "--fault=not_json=0.2"]
# A 500 is an answer that the API guarantees. Everything else that Schemathesis can check is checked.
CHECKS = ["--checks=all", "--exclude-checks=not_a_server_error"]
DATA = ["--mode=all", "--max-examples=40", "--seed=1", "--generation-database=none", "--workers=2"]


@pytest.mark.long
@pytest.mark.timeout(ENDS_WITHIN_S + 30)
def test_no_answer_of_the_real_program_differs_from_its_document(tmp_path: Path) -> None:
    """Examples, edge values and random ones, allowed and forbidden, by every method: status, headers and
    content are as documented; what the document allows is accepted, and what it forbids is refused.
    """
    schemathesis = Path(sys.executable).with_name("schemathesis")
    report_path = tmp_path / "report.json"
    with running("demo", *SERVER, *UPSTREAM) as program:
        document_url = f"{program.urls['api']}/openapi.json"
        report_options = ["--no-color", "--report=json", f"--report-json-path={report_path}"]
        done = subprocess.run(
            [schemathesis, "run", document_url, *CHECKS, *DATA, *report_options],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=ENDS_WITHIN_S,
            check=False,
        )
        statistics = httpx.get(f"{program.urls['admin']}/statistics", trust_env=False).json()

    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(report_path.read_text("utf-8"))
    assert report["operations"]["tested"] == report["operations"]["total"] == 6
    assert not any(report["warnings"].values()), report["warnings"]
    assert {"200", "400", "405", "500"} <= set(statistics["requests"]["answers"])
