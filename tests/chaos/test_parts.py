"""The parts of the faulty network that need no root: the plan, and what a firewall writes."""

from __future__ import annotations

import struct
from itertools import pairwise

from tests.chaos.packets import ACK, RST, SYN, read_segment, reset_for
from tests.chaos.plan import LEAD_S, LINKS, PROCESSES, make_plan

# A SYN from 198.18.1.2:40000 to 198.18.1.1:80, sequence 1000.
TCP = struct.pack("!HHIIBBHHH", 40000, 80, 1000, 0, 5 << 4, SYN, 64240, 0, 0)
HEADER = struct.pack("!BBHHHBBH", 0x45, 0, 40, 1, 0, 64, 6, 0)
SYN_PACKET = HEADER + bytes([198, 18, 1, 2]) + bytes([198, 18, 1, 1]) + TCP


def test_a_seed_repeats_its_plan() -> None:
    assert make_plan(7, 60) == make_plan(7, 60)
    assert make_plan(7, 60) != make_plan(8, 60)


def test_a_plan_harms_every_target_one_fault_at_a_time_and_leaves_the_ends_in_peace() -> None:
    plan = make_plan(7, 120)
    assert {step.target for step in plan} == {*LINKS, *PROCESSES}
    assert min(step.begins_s for step in plan) >= LEAD_S
    assert max(step.ends_s for step in plan) <= 120 - LEAD_S
    for target in (*LINKS, *PROCESSES):
        own = [step for step in plan if step.target == target]
        assert all(one.ends_s < next_one.begins_s for one, next_one in pairwise(own))


def test_in_half_an_hour_everything_that_can_happen_does() -> None:
    plan = make_plan(7, 1800)
    words = {" ".join(step.what.split()[:2]).rstrip(",") for step in plan}
    assert words >= {"is silent", "is reset", "has a", "stopped", "killed"}
    assert any(step.kills_clients for step in plan)
    assert any(step.conditions and step.conditions.jitter_ms and step.conditions.loss for step in plan)


def test_a_firewalls_reset_is_the_one_that_its_receiver_believes() -> None:
    """RFC 9293: to a SYN, sequence 0 and an acknowledgment of it; else the sequence that was acknowledged."""
    syn = read_segment(SYN_PACKET)
    assert syn is not None
    assert syn.opens
    reset = read_segment(reset_for(syn))
    assert reset is not None
    assert reset.flow == syn.flow
    assert (reset.source_port, reset.target_port) == (80, 40000)
    assert (reset.sequence, reset.acknowledged, reset.flags) == (0, 1001, RST | ACK)


def test_other_packets_are_no_segments() -> None:
    udp = SYN_PACKET[:9] + bytes([17]) + SYN_PACKET[10:]
    assert read_segment(udp) is None
    assert read_segment(b"\x60" + bytes(60)) is None
    assert read_segment(b"") is None
