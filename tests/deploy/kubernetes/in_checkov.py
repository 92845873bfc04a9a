"""Runs in checkov's own environment: the checks that each file in a folder fails, as one JSON object.

checkov's command takes seconds to start, and for several folders it adds the findings of one to the next.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from checkov.kubernetes.runner import Runner
from checkov.runner_filter import RunnerFilter


def main(folder: str) -> None:
    failed = {}
    for file in Path(folder).iterdir():
        report = Runner().run(None, files=[str(file)], runner_filter=RunnerFilter(framework=["kubernetes"]))
        assert report.passed_checks, f"{file}: nothing was checked"
        failed[file.name] = sorted({check.check_id for check in report.failed_checks})
    json.dump(failed, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
