"""The mutants of a file: one small, wrong change each.

The changes are mutmut's, made everywhere in a file, and three of our own. mutmut itself passes over decorated
functions and all that stands outside functions, which here are the properties that the verdict rests on and
the limits; and it leaves every statement and every condition in its place.

Not mutated: annotations, type aliases, decorators, `__slots__`, imports. Nothing at run time depends on them,
or the type checker holds them.
"""

from __future__ import annotations

import ast
import difflib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import libcst as cst

# Installed by `make mutants` alone.
from mutmut.mutation.mutators import mutation_operators  # type: ignore[import-not-found]

Operator = Callable[[Any], Iterable[Any]]


@dataclass(frozen=True, slots=True)
class Mutant:
    """where: the function or class, as `Race.run`. change: `- ` and `+ ` lines, without indentation.

    Together they name a mutant for as long as its line stands, wherever that moves to. The second of two
    that read the same is at `Race.run #2`.
    """

    where: str
    change: str
    source: str


def mutants_of(source: str) -> list[Mutant]:
    """Every mutant of `source` that compiles and differs, in the order of the source."""
    module = cst.parse_module(source)
    seen = {ast.dump(ast.parse(source))}
    names: Counter[tuple[str, str]] = Counter()
    mutants = []
    for where, node, replacement in _replacements(module, ""):
        mutated = cst.ensure_type(module.deep_replace(node, replacement), cst.Module).code
        try:
            tree = ast.dump(ast.parse(mutated))
            compile(mutated, "mutant", "exec")
        except SyntaxError:
            continue
        if tree in seen:
            continue
        seen.add(tree)
        change = _change(source, mutated)
        names[where, change] += 1
        nth = names[where, change]
        mutants.append(Mutant(where if nth == 1 else f"{where} #{nth}", change, mutated))
    return mutants


def _leave_out(statement: cst.SimpleStatementLine) -> Iterator[cst.SimpleStatementLine]:
    """A call, an `await`, a `return`, a `raise`, a count: is it missed? Assignments are mutmut's."""
    [*_, last] = statement.body
    is_text = isinstance(last, cst.Expr) and isinstance(last.value, cst.BaseString | cst.Ellipsis)
    if isinstance(last, cst.Expr | cst.Return | cst.Raise | cst.AugAssign) and not is_text:
        yield statement.with_changes(body=[cst.Pass()])


def _negate(node: cst.If | cst.While | cst.CompIf) -> Iterator[cst.CSTNode]:
    test = node.test.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
    yield node.with_changes(test=cst.UnaryOperation(cst.Not(), test))


def _first_handler_only(node: cst.Try) -> Iterator[cst.CSTNode]:
    """Leave out one `except`: is what it catches really thrown?"""
    for handler in node.handlers:
        rest = [other for other in node.handlers if other is not handler]
        if rest or node.finalbody is not None:
            yield node.with_changes(handlers=rest, orelse=node.orelse if rest else None)


_OPERATORS: Final[list[tuple[Any, Operator]]] = [
    *mutation_operators,
    (cst.SimpleStatementLine, _leave_out),
    (cst.If, _negate),
    (cst.While, _negate),
    (cst.CompIf, _negate),
    (cst.Try, _first_handler_only),
]


def _replacements(node: cst.CSTNode, where: str) -> Iterator[tuple[str, cst.CSTNode, cst.CSTNode]]:
    for child in node.children:
        if _is_left_alone(child, is_in_function=bool(where) and not isinstance(node, cst.Module)):
            continue
        inside = where
        if isinstance(child, cst.FunctionDef | cst.ClassDef):
            inside = f"{where}.{child.name.value}".lstrip(".")
        for kind, operator in _OPERATORS:
            if isinstance(child, kind):
                for replacement in operator(child):
                    yield inside, child, replacement
        yield from _replacements(child, inside)


def _is_left_alone(node: cst.CSTNode, is_in_function: bool) -> bool:
    match node:
        case cst.Annotation() | cst.Decorator() | cst.Import() | cst.ImportFrom():
            return True
        case cst.Assign(targets=[cst.AssignTarget(target=cst.Name(value=name))]):
            return name == "__slots__" or not is_in_function  # outside, constants are annotated: an alias
        case cst.Call(func=cst.Name(value="len" | "isinstance")):
            return True  # as mutmut does: without its argument it only raises
    return False


def _change(before: str, after: str) -> str:
    lines = difflib.ndiff(before.splitlines(), after.splitlines())
    return "\n".join(f"{line[0]} {line[2:].strip()}" for line in lines if line[0] in "+-")
