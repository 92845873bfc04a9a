"""What counts as a difference between two parsers, and how a find is made small."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
import trio

from tests.fuzz.reading import CLOSES, REJECTS, WAITS, WAITS_FOR_BODY, Message, Reading, difference
from tests.fuzz.search import Search, smallest
from tests.fuzz.targets import Difference, Look

GET = Message((b"GET", b"/", b"", b"1.1"), ((b"host", b"a"),), b"", True)
POST = GET._replace(start=(b"POST", b"/", b"", b"1.1"), body=b"x")
LAST = GET._replace(keeps=False)


@pytest.mark.parametrize(
    ("ours", "theirs", "what"),
    [
        (Reading((), None, WAITS), Reading((), None, WAITS), None),
        (Reading((GET,), None, WAITS), Reading((GET,), None, WAITS), None),
        (Reading((), None, REJECTS, 400), Reading((), None, REJECTS), None),
        (Reading((LAST,), None, CLOSES), Reading((LAST, GET), None, WAITS), None),
        (Reading((LAST,), None, CLOSES), Reading((LAST,), None, REJECTS), None),
        (Reading((GET,), None, WAITS), Reading((), None, REJECTS), "rejects where fanout has a message"),
        (Reading((GET,), None, WAITS), Reading((), None, WAITS), "waits where fanout has a message"),
        (
            Reading((GET,), None, WAITS),
            Reading((), GET, WAITS_FOR_BODY),
            "waits for a body where fanout has a message",
        ),
        (Reading((GET,), None, WAITS), Reading((), POST, WAITS_FOR_BODY), "reads another start"),
        (Reading((GET,), None, WAITS), Reading((GET, GET), None, WAITS), "takes more while fanout waits"),
        (Reading((GET,), None, WAITS), Reading((GET,), None, REJECTS), "rejects while fanout waits"),
        (
            Reading((GET,), None, WAITS),
            Reading((GET,), GET, WAITS_FOR_BODY),
            "waits for a body while fanout waits",
        ),
        (Reading((), None, REJECTS, 400), Reading((GET,), None, WAITS), "takes what fanout answers with 400"),
        (Reading((), None, REJECTS, 501), Reading((), None, WAITS), "waits where fanout answers 501"),
        (Reading((), None, REJECTS, 431), Reading((GET,), None, WAITS), None),
        (
            Reading((), None, REJECTS, 400),
            Reading((), POST, WAITS_FOR_BODY),
            "takes what fanout answers with 400",
        ),
        (Reading((), GET, WAITS_FOR_BODY), Reading((), POST, WAITS_FOR_BODY), "reads another start"),
        (
            Reading((GET,), None, WAITS),
            Reading((GET._replace(fields=()),), None, WAITS),
            "reads other fields",
        ),
        (
            Reading((GET,), None, WAITS),
            Reading((GET._replace(body=b"x"),), None, WAITS),
            "reads another body",
        ),
        (
            Reading((GET,), None, WAITS),
            Reading((LAST,), None, CLOSES),
            "closes what fanout keeps",
        ),
        (
            Reading((LAST,), None, CLOSES),
            Reading((GET,), None, WAITS),
            "keeps what fanout closes",
        ),
        (Reading((GET,), None, WAITS), Reading((GET._replace(keeps=None),), None, WAITS), None),
    ],
)
def test_the_first_difference_has_a_name(ours: Reading, theirs: Reading, what: str | None) -> None:
    assert difference(ours, theirs) == what


class Script:
    """Differs where there are a `b` and a `d`; its behaviour is the set of letters."""

    name: str = "script"
    files: tuple[str, ...] = ()
    used: Counter[str]

    def __init__(self) -> None:
        self.used = Counter()

    def generate(self, chance: Random) -> bytes:
        return bytes(chance.choices(b"abcde", k=20))

    def mutate(self, data: bytes, other: bytes, chance: Random) -> bytes:
        return data[::-1]

    async def look(self, data: bytes, chance: Random, *, every_cut: bool = False) -> Look:
        await trio.lowlevel.checkpoint()
        found = [Difference("x", "b and d")] if {*data} >= {*b"bd"} else []
        return Look(found, (*sorted({*data}),))


async def test_a_find_is_as_small_as_it_can_be() -> None:
    assert sorted(await smallest(Script(), b"aaabccccdee", Difference("x", "b and d"))) == [*b"bd"]


async def test_a_difference_is_reported_once_and_what_is_new_is_kept() -> None:
    search = Search(Script())
    await search.run(100, Random(0))
    assert [(find.target, sorted(find.data)) for find in search.finds] == [("script", [*b"bd"])]
    assert search.inputs == search.behaviours.total() == 100
    assert len(search.kept) == len(search.behaviours)
