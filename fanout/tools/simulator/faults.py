"""Every fault of a call by name, and what one line of help says of it.

To add a fault, write a function in one of the three modules; nothing else knows their number.
"""

from __future__ import annotations

from typing import Final

from fanout.tools.simulator import broken_answers, right_answers, wrong_answers
from fanout.tools.simulator.connection_faults import CONNECTION_FAULTS
from fanout.tools.simulator.fault import Fault

FAULTS: Final[dict[str, Fault]] = {
    fault.name: fault
    for module in (right_answers, wrong_answers, broken_answers)
    for fault in vars(module).values()
    if isinstance(fault, Fault)
}


def describe_faults() -> str:
    """The tables as aligned text, one fault a line: for `--help` and the documentation."""
    rows = [(fault.name, fault.verdict, fault.summary) for fault in FAULTS.values()]
    rows += [(fault.name, fault.verdict, fault.summary) for fault in CONNECTION_FAULTS.values()]
    return "\n".join(f"{name:22} {verdict:20} {summary}" for name, verdict, summary in rows)
