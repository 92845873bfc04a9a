"""No request and no connection leaves anything for the cyclic garbage collector, however it ends (G10).

Python's collector stops the loop, and it finds what is in cycles only when enough objects have piled up: a
stream of requests that each leave some would stop it for everybody. Memory that C code holds, as OpenSSL's 50
KiB per connection, does not even count. So the whole service gets `TIMES` requests of each kind, with the
collector off. Then there must be nothing for it to find, and memory must be as it was.

    make garbage ARGS="404 https"     the long form: 20,000 of these kinds, each in a process of its own
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from operator import attrgetter

import pytest
from loguru import logger

from tests.garbage.kinds import KINDS, Kind
from tests.garbage.measure import WARM_UP, Measured, Peers, measure, start_peers

TIMES = 50
HELD_BYTES = 4096  # for each: a receipt is kept of the last 4,000 requests, about 2.5 KB with two calls
MANY = {
    "first": 1000,
    "404": 1000,
    "400 invalid_timeout": 1000,
    "500 no_success, malformed and closed": 1000,
    "left at once": 1000,
    "left, reset while the upstreams are in a head": 1000,
    # OpenSSL holds so much that fewer tell, and handshakes take long.
    "https, no handshake": 200,
    "HTTP/2": 200,
    "TLS upstream, reset while the upstreams are in a head": 200,
}


@pytest.fixture(scope="module")
def peers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peers]:
    logger.remove()  # what is a bug here is one on purpose
    started = start_peers(tmp_path_factory.mktemp("peers"))
    yield started
    started.close()
    gc.unfreeze()


@pytest.mark.parametrize("kind", KINDS, ids=attrgetter("name"))
async def test_nothing_is_left_for_the_collector(kind: Kind, peers: Peers) -> None:
    """0 objects a request, or as many as the kind says, with its reason."""
    found = await measure(kind, peers, TIMES)
    _check_it_was_that(kind, found)
    leaves, why = kind.leaves
    assert found.objects.total() <= leaves * TIMES, (dict(found.objects.most_common(10)), why)


@pytest.mark.long
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.name in MANY], ids=attrgetter("name"))
async def test_memory_stays_as_it_is(kind: Kind, peers: Peers) -> None:
    """Also what C code holds, of which no object tells. With the collector off."""
    found = await measure(kind, peers, MANY[kind.name])
    _check_it_was_that(kind, found)
    assert found.held_bytes / found.times < HELD_BYTES


def _check_it_was_that(kind: Kind, found: Measured) -> None:
    assert found.seen == {kind.sees: found.times}
    if not kind.drains:
        assert found.bugs == kind.bugs * (found.times + WARM_UP)


def test_every_kind_has_a_name_of_its_own() -> None:
    names = [kind.name for kind in KINDS]
    assert len(set(names)) == len(names)
    assert set(MANY) < set(names)
