"""A part of an experiment in virtual time: `python -m fanout.lab.virtual MODULE:FUNCTION`.

FUNCTION takes nothing and returns a `Report`, printed as JSON. It has a process of its own, so that a
breakage can be applied to it.
"""

from __future__ import annotations

import importlib
import json
import sys

from fanout.lab.report import Report


def main() -> None:
    module, _, function = sys.argv[1].partition(":")
    report = getattr(importlib.import_module(module), function)()
    assert isinstance(report, Report)
    sys.stdout.write(json.dumps(report.to_json()))


if __name__ == "__main__":
    main()
