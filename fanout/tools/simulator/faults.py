"""Every fault of a call by name, and what one line of help says of it.

To add a fault, write a function in one of the three modules; nothing else knows their number.
"""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import wrap
from typing import Final

from fanout.tools.simulator import broken_answers, right_answers, wrong_answers
from fanout.tools.simulator.connection_faults import ConnectionFault
from fanout.tools.simulator.fault import Fault

FAULTS: Final[dict[str, Fault]] = {
    fault.name: fault
    for module in (right_answers, wrong_answers, broken_answers)
    for fault in vars(module).values()
    if isinstance(fault, Fault)
}
_WIDTH: Final = 98  # a help text indents it by two and has at most 100 columns


def describe_faults(faults: Mapping[str, Fault] | Mapping[str, ConnectionFault]) -> str:
    """A table as aligned text: the name, how a strict client counts the call, and what it does."""
    lines: list[str] = []
    for fault in faults.values():
        first = f"{fault.name:21} {fault.verdict:20}  "
        lines += wrap(
            fault.summary,
            _WIDTH,
            initial_indent=first,
            subsequent_indent=" " * len(first),
            break_on_hyphens=False,
        )
    return "\n".join(lines)
