"""What one call, or every call through a slot, asks for instead of chance."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import parse_qsl

from fanout.tools.simulator.faults import FAULTS
from fanout.tools.simulator.settings import MAX_DELAY_MS, check_names, check_whole

NO_FAULT: Final = "none"  # a right answer, whatever the rates say
FIELDS: Final = ("delay_ms", "fault", "status", "drip_ms", "tag")
_NUMBERS: Final = ("delay_ms", "status", "drip_ms")
_SLOT_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,32}")


@dataclass(frozen=True, slots=True)
class Overrides:
    """`None` leaves a field to chance, or to its default.

    fault: a name from `FAULTS`, or `none`. status: the status of the `status` fault, which it implies.
    drip_ms: how long `drip` takes. tag: a word that the answer and the call's record repeat.
    """

    delay_ms: int | None = None
    fault: str | None = None
    status: int | None = None
    drip_ms: int | None = None
    tag: str | None = None

    def over(self, other: Overrides) -> Overrides:
        """These, and the other's where these say nothing. A fault and its status go together."""
        fault = self if self.fault is not None else other
        return Overrides(
            delay_ms=self.delay_ms if self.delay_ms is not None else other.delay_ms,
            fault=fault.fault,
            status=fault.status,
            drip_ms=self.drip_ms if self.drip_ms is not None else other.drip_ms,
            tag=self.tag if self.tag is not None else other.tag,
        )

    def as_json(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in FIELDS}
        return {name: value for name, value in values.items() if value is not None}


def overrides_from_json(value: object) -> Overrides:
    """Overrides as decoded from JSON. `ValueError` says what is allowed."""
    overrides = Overrides(**check_names("overrides", value, FIELDS))
    if overrides.delay_ms is not None:
        check_whole("delay_ms", overrides.delay_ms, 0, MAX_DELAY_MS)
    if overrides.drip_ms is not None:
        check_whole("drip_ms", overrides.drip_ms, 0, MAX_DELAY_MS)
    if overrides.tag is not None:
        _check_tag(overrides.tag)
    if overrides.status is not None:
        check_whole("status", overrides.status, 201, 599)
        if overrides.fault is None:
            overrides = replace(overrides, fault="status")
        if overrides.fault != "status":
            raise ValueError("status goes with fault=status, or without a fault")
    if overrides.fault is not None and overrides.fault not in (NO_FAULT, *FAULTS):
        raise ValueError(f"there is no fault {overrides.fault!r}; allowed: {NO_FAULT}, {', '.join(FAULTS)}")
    return overrides


def overrides_from_query(query: str) -> tuple[Overrides, str | None]:
    """The overrides of a request and the slot it names. `ValueError` says what is allowed."""
    values: dict[str, object] = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name in values:
            raise ValueError(f"{name} is there twice")
        values[name] = _whole(text) if name in _NUMBERS else text
    slot = values.pop("slot", None)
    if slot is not None:
        slot = check_slot_name(str(slot))
    check_names("the query", values, (*FIELDS, "slot"))
    return overrides_from_json(values), slot


def check_slot_name(name: str) -> str:
    if not _SLOT_NAME.fullmatch(name):
        raise ValueError(f"a slot's name is 1 to 32 of A-Z a-z 0-9 _ -, not {name!r}")
    return name


def _whole(text: str) -> object:
    """The number, or the text itself, which no check takes for a number."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else text


def _check_tag(tag: object) -> None:
    if not isinstance(tag, str) or not 1 <= len(tag) <= 64 or not tag.isprintable():
        raise ValueError(f"tag must be 1 to 64 printable characters, not {tag!r}")
