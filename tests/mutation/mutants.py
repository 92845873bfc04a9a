"""The mutants of a file: one small, wrong change each.

The changes are mutmut's, made everywhere in a file, and three of our own. mutmut itself passes over decorated
functions and all that stands outside functions, which here are the properties that the verdict rests on and
the limits; and it leaves every statement and every condition in its place.

Not mutated, because nothing at run time depends on them, or the type checker holds them: annotations, type
aliases, decorators, `__slots__`, imports, `TYPE_CHECKING`, the first argument of `cast`.

Not mutated, because only people read it: a text in a `raise`, in a call of a logger, in a `Rejection` (its
title and detail), or given as the `reason` of a cancellation. A text has a space in it. One word alone is a
name or a code, which programs read.

Not made, because nobody can tell the difference: `None` for `False` where only truth is tested (`True` is
made); a last `return False` or `return None` left out; a codec's name in capitals.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Final

import libcst as cst
from libcst.metadata import CodeRange, MetadataWrapper, WhitespaceInclusivePositionProvider

# Installed by `make mutants` alone.
from mutmut.mutation.mutators import mutation_operators  # type: ignore[import-not-found]  # as above

Operator = Callable[[Any], Iterable[Any]]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A mutant without its name. It may not compile: only few do not, and it takes long to find out.

    where: the function or class, as `Race.run`. lines: a test that runs none of them cannot tell the
    difference. start, end, text: what is in the place of these characters.
    """

    where: str
    lines: range
    start: int
    end: int
    text: str

    def applied_to(self, source: str) -> str:
        return f"{source[: self.start]}{self.text}{source[self.end :]}"


@dataclass(frozen=True, slots=True)
class Mutant:
    """where: as of the candidate. change: `- ` and `+ ` lines, without indentation.

    Together they name a mutant for as long as its line stands, wherever that moves to. The second of two
    that read the same is at `Race.run #2`.
    """

    where: str
    change: str
    made: Candidate


def candidates_of(source: str) -> list[Candidate]:
    """All that differ, in the order of the source."""
    file = _File(source)
    seen: set[str] = {source}
    candidates = []
    for found in file.replacements():
        candidate = Candidate(found.where, found.lines, *file.replaced(found.node, found.replacement))
        mutated = candidate.applied_to(source)
        if mutated not in seen:
            seen.add(mutated)
            candidates.append(candidate)
    return candidates


def named(source: str, candidates: Sequence[Candidate], places: Set[int]) -> list[Mutant]:
    """Those of the candidates at these places that compile."""
    functions = {candidates[place].where for place in places}
    names: Counter[tuple[str, str]] = Counter()
    mutants = []
    for place, candidate in enumerate(candidates):
        if candidate.where in functions and _compiles(mutated := candidate.applied_to(source)):
            change = _change(source, mutated)
            names[candidate.where, change] += 1
            nth = names[candidate.where, change]
            if place in places:
                where = candidate.where if nth == 1 else f"{candidate.where} #{nth}"
                mutants.append(Mutant(where, change, candidate))
    return mutants


def mutants_of(source: str) -> list[Mutant]:
    """Every mutant of `source` that compiles and differs, in the order of the source."""
    candidates = candidates_of(source)
    return named(source, candidates, {*range(len(candidates))})


@dataclass(frozen=True, slots=True)
class _Replacement:
    where: str
    node: cst.CSTNode
    replacement: cst.CSTNode
    lines: range


def _leave_out(statement: cst.SimpleStatementLine) -> Iterator[tuple[cst.CSTNode, cst.CSTNode]]:
    """A call, an `await`, a `return`, a `raise`, a count: is it missed? Assignments are mutmut's."""
    [*_, last] = statement.body
    is_text = isinstance(last, cst.Expr) and isinstance(last.value, cst.BaseString | cst.Ellipsis)
    if isinstance(last, cst.Expr | cst.Return | cst.Raise | cst.AugAssign) and not is_text:
        yield last, cst.Pass()


def _negate(node: cst.If | cst.While | cst.CompIf) -> Iterator[tuple[cst.CSTNode, cst.CSTNode]]:
    test = node.test.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
    negated = cst.UnaryOperation(cst.Not(), test)
    yield node.test, negated.with_changes(lpar=node.test.lpar, rpar=node.test.rpar)


def _first_handler_only(node: cst.Try) -> Iterator[tuple[cst.CSTNode, cst.CSTNode]]:
    """Leave out one `except`: is what it catches really thrown?"""
    for handler in node.handlers:
        rest = [other for other in node.handlers if other is not handler]
        if rest or node.finalbody is not None:
            yield node, node.with_changes(handlers=rest, orelse=node.orelse if rest else None)


def _in_its_place(operator: Operator) -> Operator:
    return lambda node: ((node, replacement) for replacement in operator(node))


_OPERATORS: Final[list[tuple[Any, Operator]]] = [
    *((kind, _in_its_place(operator)) for kind, operator in mutation_operators),
    (cst.SimpleStatementLine, _leave_out),
    (cst.If, _negate),
    (cst.While, _negate),
    (cst.CompIf, _negate),
    (cst.Try, _first_handler_only),
]


class _File:
    def __init__(self, source: str) -> None:
        self._source = source
        self._last_statements: set[object] = set()  # of functions and classes
        self._lines = source.splitlines(keepends=True)
        self._starts = [0]
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line))
        wrapper = MetadataWrapper(cst.parse_module(source), unsafe_skip_copy=True)
        self._module = wrapper.module
        self._positions: Mapping[cst.CSTNode, CodeRange] = wrapper.resolve(
            WhitespaceInclusivePositionProvider
        )

    def replaced(self, node: cst.CSTNode, replacement: cst.CSTNode) -> tuple[int, int, str]:
        """From which character to which, and what is there instead."""
        if isinstance(node, cst.Try | cst.Match):  # a block, whose text depends on where it stands
            text = cst.ensure_type(self._module.deep_replace(node, replacement), cst.Module).code
            return 0, len(self._source), text
        place = self._positions[node]
        start = self._starts[place.start.line - 1] + place.start.column
        end = self._starts[place.end.line - 1] + place.end.column
        return start, end, self._module.code_for_node(replacement)

    def replacements(self) -> Iterator[_Replacement]:
        whole = range(1, len(self._lines) + 1)
        yield from self._within(self._module, "", whole, is_for_people=False)

    def _within(
        self, node: cst.CSTNode, where: str, lines: range, *, is_for_people: bool
    ) -> Iterator[_Replacement]:
        for child in node.children:
            if _is_left_alone(child, is_in_function=bool(where) and not isinstance(node, cst.Module)):
                continue
            inside, its_lines = where, self._lines_of(child, lines)
            if isinstance(child, cst.FunctionDef | cst.ClassDef):
                inside = f"{where}.{child.name.value}".lstrip(".")
                self._last_statements.add(child.body.body[-1])
            is_text_here = is_for_people or _is_for_people(child)
            for kind, operator in _OPERATORS:
                if isinstance(child, kind):
                    for replaced, replacement in operator(child):
                        if not self._is_not_told(child, replaced, replacement, is_for_people=is_text_here):
                            yield _Replacement(inside, replaced, replacement, its_lines)
            yield from self._within(child, inside, its_lines, is_for_people=is_text_here)

    def _is_not_told(
        self, at: cst.CSTNode, node: cst.CSTNode, replacement: cst.CSTNode, *, is_for_people: bool
    ) -> bool:
        """Whether only people can tell the difference, or nobody."""
        match node, replacement:
            case (
                (cst.Assign(value=cst.Name(value="False")) | cst.AnnAssign(value=cst.Name(value="False"))),
                (cst.Assign(value=cst.Name(value="None")) | cst.AnnAssign(value=cst.Name(value="None"))),
            ):
                return True
            case cst.Return(value=None | cst.Name(value="None" | "False")), cst.Pass():
                return at in self._last_statements
            case cst.SimpleString(value=was), cst.SimpleString(value=text):
                is_codec = was.strip("\"'") in {"ascii", "latin-1", "utf-8"} and text.lower() == was
                return is_codec or (is_for_people and " " in was)
            case cst.Call(args=before), cst.Call(args=after) if is_for_people:
                changed = [arg for arg in before if not any(arg is other for other in after)]
                return bool(changed) and all(_is_text(arg.value) for arg in changed)
        return False

    def _lines_of(self, node: cst.CSTNode, around: range) -> range:
        """The lines of the statement that a node stands in; of a block's head, if it stands there."""
        if isinstance(node, cst.Try | cst.TryStar | cst.Match | cst.SimpleStatementLine):
            place = self._positions[node]
            return range(place.start.line, place.end.line + 1)
        body = getattr(node, "body", None)
        if isinstance(body, cst.BaseSuite):
            return range(self._positions[node].start.line, self._positions[body].start.line + 1)
        return around


def _is_left_alone(node: cst.CSTNode, is_in_function: bool) -> bool:
    match node:
        case cst.Annotation() | cst.Decorator() | cst.Import() | cst.ImportFrom():
            return True
        case cst.Assign(targets=[cst.AssignTarget(target=cst.Name(value=name))]):
            return name == "__slots__" or not is_in_function  # outside, constants are annotated: an alias
        case cst.If(test=cst.Name(value="TYPE_CHECKING")):
            return True
        case cst.Call(func=cst.Name(value="len" | "isinstance" | "cast")):
            return True  # as mutmut does: without its argument it only raises
    return False


def _is_for_people(node: cst.CSTNode) -> bool:
    """Whether the texts within are: of an exception, a line of a log, the reason of a cancellation."""
    match node:
        case cst.Raise() | cst.Arg(keyword=cst.Name(value="reason")):
            return True
        case cst.Call(func=cst.Name(value="Rejection" | "malformed")):
            return True
        case cst.Call(func=cst.Attribute(value=receiver)):
            while isinstance(receiver, cst.Call | cst.Attribute):  # logger.bind(...).error(...)
                receiver = receiver.func if isinstance(receiver, cst.Call) else receiver.value
            return isinstance(receiver, cst.Name) and receiver.value in {"logger", "_log"}
    return False


def _is_text(node: cst.BaseExpression) -> bool:
    return isinstance(node, cst.BaseString) and (not isinstance(node, cst.SimpleString) or " " in node.value)


def _compiles(mutated: str) -> bool:
    try:
        compile(mutated, "mutant", "exec", dont_inherit=True)
    except SyntaxError:
        return False
    return True


def _change(before: str, after: str) -> str:
    """Without indentation, also where lines are compared: that of a call's arguments may be lost."""
    old, new = ([line.strip() for line in text.splitlines()] for text in (before, after))
    same = 0
    while same < min(len(old), len(new)) and old[same] == new[same]:
        same += 1
    while old and new and len(old) > same and len(new) > same and old[-1] == new[-1]:
        old.pop()
        new.pop()
    lines = difflib.ndiff(old[same:], new[same:])
    return "\n".join(f"{line[0]} {line[2:]}" for line in lines if line[0] in "+-")
