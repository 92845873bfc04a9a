from __future__ import annotations

import pytest

from fanout.race.admission import Admission, AdmissionStatistics


def test_the_limit_is_exact_and_a_refusal_takes_nothing() -> None:
    """G8: at the limit the next one is refused, at once; a token given back admits again."""
    admission = Admission(2)
    assert [admission.try_take() for _ in range(3)] == [True, True, False]
    admission.give_back()
    assert admission.in_flight == 1
    assert admission.try_take()
    assert admission.statistics() == AdmissionStatistics(
        limit=2, in_flight=2, peak_in_flight=2, admitted=3, refused=1
    )


def test_the_statistics_begin_at_nothing_and_count_every_refusal_and_the_peak() -> None:
    admission = Admission(2)
    assert admission.statistics() == AdmissionStatistics(
        limit=2, in_flight=0, peak_in_flight=0, admitted=0, refused=0
    )
    for _ in range(4):
        admission.try_take()
    for _ in range(2):
        admission.give_back()
    assert admission.statistics() == AdmissionStatistics(
        limit=2, in_flight=0, peak_in_flight=2, admitted=2, refused=2
    )


def test_giving_back_what_nobody_took_is_loud() -> None:
    admission = Admission(1)
    admission.try_take()
    admission.give_back()
    with pytest.raises(RuntimeError, match=r"^an admission token was given back twice$"):
        admission.give_back()
    assert admission.in_flight == 0
