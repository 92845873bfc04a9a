"""The parts of experiments that run in virtual time: `python -m fanout.lab.virtual`, a process of their own.

So a breakage can be applied to it. Each line of its input is `MODULE:FUNCTION`. FUNCTION takes nothing and
returns a `Report`, which is printed as one line of JSON.
"""

from __future__ import annotations

import importlib
import json
import sys

from loguru import logger

from fanout.lab.report import Report


def main() -> None:
    logger.remove()  # what the leak check finds is in the report
    for line in sys.stdin:
        module, _, function = line.strip().partition(":")
        report = getattr(importlib.import_module(module), function)()
        assert isinstance(report, Report)
        sys.stdout.write(json.dumps(report.to_json()) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
