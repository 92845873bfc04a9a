"""The language of the formulas: what an expression may be, and what it means."""

from __future__ import annotations

import pytest

from fanout.testing.monitor.formulas import DEFINITIONS, FORMULAS, KNOWN
from fanout.testing.monitor.language import BadFormula, clauses_of, definitions_of
from fanout.testing.monitor.monitor import all_clauses
from fanout.testing.monitor.records import NotVisible, Record, never, record_of


def test_never_is_later_than_every_time() -> None:
    (clause,) = clauses_of("each call c: c.ended <= c.due", [], {})
    assert clause.claim(record_of({"ended": 1.0, "due": None}), None)
    assert not clause.claim(record_of({"ended": None, "due": 1e12}), None)
    assert record_of({"ended": None}).ended == never


def test_what_is_not_there_is_not_visible_and_only_if_it_is_needed() -> None:
    (clause,) = clauses_of("each call c: c.ended <= 1 or c.slow", [], {})
    assert clause.claim(Record({"ended": 1}), None)
    with pytest.raises(NotVisible, match="slow"):
        clause.claim(Record({"ended": 2}), None)


def test_a_clause_has_a_kind_a_list_a_condition_and_a_claim() -> None:
    text = """
# a call ends
each request r, each call in r.calls if call.started < r.began:
  call.ended <= r.began
each end e: e.left == []
"""
    first, second = clauses_of(text, [], {})
    assert (first.says, first.kind, first.name, first.inner) == ("a call ends", "request", "r", "call")
    assert (
        first.text == "each request r, each call in r.calls if call.started < r.began: call.ended <= r.began"
    )
    assert first.read == (("call", "started"), ("r", "began"), ("call", "ended"))
    request = record_of({"began": 2, "calls": [{"started": 1, "ended": 3}]})
    assert first.of is not None
    assert first.condition is not None
    (call,) = first.of(request)
    assert first.condition(request, call)
    assert not first.claim(request, call)
    assert (second.kind, second.of, second.condition) == ("end", None, None)


def test_a_definition_may_use_those_above_it_and_quantify() -> None:
    defined = definitions_of("late(r, x) = r.at > x\nany_late(rs, x) = any(late(r, x) for r in rs)")
    records = [Record({"at": 1}), Record({"at": 5})]
    assert defined["any_late"](records, 4)
    assert not defined["any_late"](records, 5)


@pytest.mark.parametrize(
    ("formula", "said"),
    [
        ("request r: r.a", "a clause is"),
        ("each request r r.a", "a clause is"),
        ("each request r: r.a <=", "invalid syntax"),
        ("each request r: s.a", "nothing defines s"),
        ("each request r: r._a", "a field does not begin with _"),
        ("each request r: r.a()", "only a name can be called"),
        ("each request r: open('x')", "nothing defines open"),
        ("each request r: (lambda: 1)", "Lambda is not of the language"),
        ("each request r: max(r.a, key=len)", "keyword is not of the language"),
        ("each request r: f'{r.a}'", "JoinedStr is not of the language"),
        ("each request r: (x := r.a)", "NamedExpr is not of the language"),
    ],
)
def test_what_is_not_of_the_language_is_refused_in_one_line(formula: str, said: str) -> None:
    with pytest.raises(BadFormula, match=said.replace("(", r"\(")) as caught:
        clauses_of(formula, [], {})
    assert "\n" not in str(caught.value)


def test_a_definition_has_parameters() -> None:
    with pytest.raises(BadFormula, match="a definition is NAME"):
        definitions_of("late = 1")


def test_every_clause_of_a_guarantee_is_said_in_words() -> None:
    assert [clause.text for _, clause in all_clauses() if not clause.says] == []
    assert list(FORMULAS) == [f"G{number}" for number in range(1, 13)]


def test_every_definition_is_used() -> None:
    texts = [DEFINITIONS, *FORMULAS.values()]
    for name in definitions_of(DEFINITIONS):
        assert sum(text.count(f"{name}(") for text in texts) > 1, name
    for name in KNOWN:
        assert any(name in formula for formula in FORMULAS.values()), name
