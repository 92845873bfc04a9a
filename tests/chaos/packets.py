"""What a firewall has to know of a packet: its TCP flow, and how to refuse it with a reset. IPv4 only."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

FIN: Final = 0x01
SYN: Final = 0x02
RST: Final = 0x04
ACK: Final = 0x10
_TCP: Final = 6

# Both ends of a flow, in an order that is the same for both directions.
Flow = tuple[tuple[bytes, int], tuple[bytes, int]]


@dataclass(frozen=True, slots=True)
class Segment:
    """A TCP segment in an IPv4 packet. length: of its data."""

    source: bytes
    target: bytes
    source_port: int
    target_port: int
    sequence: int
    acknowledged: int
    flags: int
    length: int

    @property
    def flow(self) -> Flow:
        ends = sorted([(self.source, self.source_port), (self.target, self.target_port)])
        return ends[0], ends[1]

    @property
    def opens(self) -> bool:
        return self.flags & (SYN | ACK) == SYN


def read_segment(packet: bytes) -> Segment | None:
    """`None` for what is not TCP over IPv4, unfragmented."""
    if len(packet) < 40 or packet[0] >> 4 != 4 or packet[9] != _TCP or packet[6] & 0x3F or packet[7]:
        return None
    at = (packet[0] & 0x0F) * 4
    source_port, target_port, sequence, acknowledged = struct.unpack_from("!HHII", packet, at)
    data_at = at + (packet[at + 12] >> 4) * 4
    (total,) = struct.unpack_from("!H", packet, 2)
    return Segment(
        source=packet[12:16],
        target=packet[16:20],
        source_port=source_port,
        target_port=target_port,
        sequence=sequence,
        acknowledged=acknowledged,
        flags=packet[at + 13],
        length=total - data_at,
    )


def reset_for(segment: Segment) -> bytes:
    """What `REJECT --reject-with tcp-reset` sends back to the segment's source (RFC 9293, 3.10.7.1)."""
    if segment.flags & ACK:
        sequence, acknowledged, flags = segment.acknowledged, 0, RST
    else:
        taken = segment.length + bool(segment.flags & SYN) + bool(segment.flags & FIN)
        sequence, acknowledged, flags = 0, (segment.sequence + taken) % 2**32, RST | ACK
    ports = segment.target_port, segment.source_port
    tcp = struct.pack("!HHIIBBHHH", *ports, sequence, acknowledged, 5 << 4, flags, 0, 0, 0)
    pseudo = segment.target + segment.source + struct.pack("!BBH", 0, _TCP, len(tcp))
    tcp = tcp[:16] + struct.pack("!H", _checksum(pseudo + tcp)) + tcp[18:]
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0, 64, _TCP, 0) + segment.target + segment.source
    return ip[:10] + struct.pack("!H", _checksum(ip)) + ip[12:] + tcp


def _checksum(data: bytes) -> int:
    """The internet's (RFC 1071)."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
