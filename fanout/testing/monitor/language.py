"""The language of the formulas: first-order logic over the records of a trace, in Python's own expressions.

A formula is one or more clauses, and holds when each of them does. A line that begins with `#` says in a
sentence what those below it mean. A clause is

    each KIND NAME [, each NAME in LIST] [if CONDITION]: CLAIM

and says that the claim is true of every record of the kind, and of every element of its list, for which the
condition is. Times are compared with `<=`; `never` is later than all of them. `all(... for x in LIST)` and
`any(...)` quantify within a record. A definition, `NAME(PARAMETERS) = EXPRESSION`, names an expression.

Rule 1: an expression can compare, calculate and call what is defined, and nothing else.
Rule 2: it is evaluated from left to right, and no further than is needed. If it then needs a field that is
        not there, it has no value.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fanout.testing.monitor.records import never

_CLAUSE: Final = re.compile(r"each (\w+) (\w+)(?:, each (\w+) in ([\w.]+))?(?: if (.+?))?: (.+)")
_DEFINITION: Final = re.compile(r"(\w+)\((\w+(?:, \w+)*)\) = (.+)")
_ALLOWED: Final = (
    *(ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.BinOp, ast.Add),
    *(ast.Sub, ast.Mult, ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn),
    *(ast.Name, ast.Load, ast.Store, ast.Attribute, ast.Constant, ast.List, ast.Tuple, ast.Call, ast.IfExp),
    *(ast.ListComp, ast.GeneratorExp, ast.comprehension, ast.Subscript, ast.Slice),
)
FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    function.__name__: function for function in (all, any, len, max, min)
}


class BadFormula(ValueError):
    """It is not of the language. The text says what is wrong, in one line."""


@dataclass(frozen=True, slots=True)
class Clause:
    """says: what it means. kind: of the records that it is about. name: for each of them; inner: for each of
    the elements of `of`.

    condition, claim: called with the record, the element or `None`, and the values of the names that are
    known. They raise `NotVisible`. read: the fields that both read, and of which name.
    """

    text: str
    says: str
    kind: str
    name: str
    inner: str | None
    of: Callable[..., Any] | None
    condition: Callable[..., Any] | None
    claim: Callable[..., Any]
    read: tuple[tuple[str, str], ...]


def clauses_of(formula: str, known: Iterable[str], defined: Mapping[str, Callable[..., Any]]) -> list[Clause]:
    """known: the names that it may use besides its own. defined: its functions. Raises `BadFormula`."""
    return [_clause(text, says, tuple(known), defined) for says, text in _parts(formula)]


def definitions_of(text: str) -> dict[str, Callable[..., Any]]:
    """The functions that these definitions make. Each may call those above it. Raises `BadFormula`."""
    found: dict[str, Callable[..., Any]] = {}
    for _, part in _parts(text):
        matched = _DEFINITION.fullmatch(part)
        if matched is None:
            raise BadFormula(f"{part!r}: a definition is NAME(PARAMETERS) = EXPRESSION")
        name, parameters, expression = matched.groups()
        found[name] = _function(_parsed(expression, [*parameters.split(", "), *found]), parameters, found)
    return found


def _parts(text: str) -> Iterator[tuple[str, str]]:
    """Its definitions or clauses, each on one line, with what they mean. Indented lines continue one."""
    says = ""
    for part in re.split(r"\n(?=\S)", text.strip()):
        if part.startswith("#"):
            says = part.removeprefix("#").strip()
        else:
            yield says, " ".join(part.split())


def _clause(
    text: str, says: str, known: tuple[str, ...], defined: Mapping[str, Callable[..., Any]]
) -> Clause:
    matched = _CLAUSE.fullmatch(text)
    if matched is None:
        raise BadFormula(f"{text!r}: a clause is: each KIND NAME [, each NAME in LIST] [if CONDITION]: CLAIM")
    kind, name, inner, of, condition, claim = matched.groups()
    names = (name, inner or "_none", *known)
    trees = [_parsed(part, [*names, *defined]) for part in (condition, claim) if part]
    functions = [_function(tree, ", ".join(names), defined) for tree in trees]
    read = dict.fromkeys(pair for tree in trees for pair in _fields(tree, (name, inner, "run")))
    of_list = _function(_parsed(of, [name]), name, {}) if of else None
    return Clause(
        text,
        says,
        kind,
        name,
        inner,
        of_list,
        functions[0] if condition else None,
        functions[-1],
        tuple(read),
    )


def _function(
    tree: ast.Expression, parameters: str, names: Mapping[str, Callable[..., Any]]
) -> Callable[..., Any]:
    function = ast.parse(f"lambda {parameters}: 0", mode="eval")
    assert isinstance(function.body, ast.Lambda)
    function.body.body = tree.body
    code = compile(ast.fix_missing_locations(function), "<formula>", "eval")
    made: Callable[..., Any] = eval(code, {"__builtins__": {}, "never": never, **FUNCTIONS, **names})
    return made


def _parsed(text: str, known: Iterable[str]) -> ast.Expression:
    """Raises `BadFormula` for what is not of the language, and for a name that nothing defines."""
    try:
        tree = ast.parse(text, mode="eval")
    except SyntaxError as error:
        raise BadFormula(f"{text!r}: {error.msg}") from None
    bound = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    for node in ast.walk(tree):
        if not isinstance(node, _ALLOWED):
            raise BadFormula(f"{text!r}: {type(node).__name__} is not of the language")
        if isinstance(node, ast.Name) and node.id not in {*known, *bound, *FUNCTIONS, "never"}:
            raise BadFormula(f"{text!r}: nothing defines {node.id}")
        if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            raise BadFormula(f"{text!r}: a field does not begin with _")
        if isinstance(node, ast.Call) and not isinstance(node.func, ast.Name):
            raise BadFormula(f"{text!r}: only a name can be called")
    return tree


def _fields(tree: ast.AST, names: tuple[str | None, ...]) -> list[tuple[str, str]]:
    """The fields that it reads of these names, in the order in which they stand there."""
    reads = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    ]
    return [
        (node.value.id, node.attr)
        for node in sorted(reads, key=lambda node: node.col_offset)
        if isinstance(node.value, ast.Name) and node.value.id in names
    ]
