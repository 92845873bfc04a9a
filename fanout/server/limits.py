"""Every bound of the driver in one frozen value."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of each wait for a client, and of the memory held for one.

    Memory a connection can make the driver hold, whatever it sends: one head, and one read of
    `transport.MAX_RECEIVE_BYTES`; over HTTP/2 one frame, one head, the answers of
    `max_streams` requests, and what their apps have not yet received of their bodies.
    """

    max_connections: int = 10_000  # one descriptor each; a second one while more than the below is pipelined
    max_rejected: int = 32  # connections beyond it that get a 503 at once; further ones are closed
    evict_busy: bool = False  # when all are busy a new one replaces the oldest and gets no 503
    max_head_bytes: int = 16 * 1024  # request line and fields; beyond it 431
    max_target_bytes: int = 8 * 1024  # beyond it 414
    max_fields: int = 100  # beyond it 431
    # A field block of HTTP/2, compressed and decoded. Up to here it is a 431; beyond, the connection ends.
    max_head_block_bytes: int = 32 * 1024

    # HTTP/2, a connection; beyond these it is closed with ENHANCE_YOUR_CALM
    max_streams: int = 100  # requests at once
    max_resets: int = 200  # requests taken back or malformed, at once: twice all that may be running
    resets_per_s: float = 20.0
    max_spare_frames: int = 1000  # frames that are no request, at once; to parse them takes about 20 ms
    spare_frames_per_s: float = 100.0
    spare_frames_a_request: int = (
        8  # an answer of 64 KiB is four frames, and a client may acknowledge each twice
    )

    idle_timeout_s: float = 75.0  # above the 60 s of the usual load balancers, so that they close first
    handshake_timeout_s: float = 10.0
    head_timeout_s: float = 10.0  # from a head's first byte to its last
    body_timeout_s: float = 10.0  # from the head's last byte to the body's last
    write_timeout_s: float = 10.0  # for each write, from its first byte to its last
    linger_timeout_s: float = 1.0  # how long what is sent in vain is still read, see `http1`
    linger_max_bytes: int = 256 * 1024
    drain_grace_s: float = 0.5  # while draining no wait for a client is longer than this
