"""Trio, Quart, werkzeug and hypercorn are used as they are: by public names, and by their constructors."""

from __future__ import annotations

import ast
import inspect
import pkgutil
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest

import fanout

LIBRARIES: Final = ("trio", "quart", "quart_trio", "werkzeug", "hypercorn", "httpx", "h2", "hpack")
PACKAGE: Final = Path(fanout.__file__).parent


def modules() -> list[ModuleType]:
    """All of the program but the test kit, which may look below the surface to repeat a run."""
    found = [
        each.name
        for each in pkgutil.walk_packages(fanout.__path__, "fanout.")
        if not each.name.startswith("fanout.testing") and not each.name.endswith("__main__")
    ]
    return [import_module(name) for name in found]


def is_private(name: str) -> bool:
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__"))


def private_imports(tree: ast.AST) -> Iterator[str]:
    """Private names, and modules, that are imported from a library."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in LIBRARIES:
            names = [*node.module.split("."), *(alias.name for alias in node.names)]
            yield from filter(is_private, names)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] in LIBRARIES:
                    yield from filter(is_private, alias.name.split("."))


def library_bases(cls: type) -> list[type]:
    return [base for base in cls.__mro__ if base.__module__.split(".")[0] in LIBRARIES]


def private_names_of(bases: list[type]) -> set[str]:
    """What the libraries' classes have, or set on themselves, that begins with an underscore."""
    found: set[str] = set()
    for base in bases:
        found |= set(filter(is_private, vars(base)))
        with suppress(OSError):  # made at run time
            found |= set(re.findall(r"self\.(_[a-z]\w*)", inspect.getsource(base)))
    return found


def own_classes(module: ModuleType) -> list[type]:
    return [
        each
        for each in vars(module).values()
        if isinstance(each, type) and each.__module__ == module.__name__
    ]


def private_overrides(cls: type) -> set[str]:
    """Private names of a library's class that a subclass defines or touches on itself."""
    theirs = private_names_of(library_bases(cls))
    touched = set(re.findall(r"(?:self|super\(\))\.(_[a-z]\w*)", inspect.getsource(cls)))
    return theirs & (set(vars(cls)) | touched) - {"_abc_impl"}


def skips_the_constructor(cls: type) -> bool:
    """Whether it replaces a library's `__init__`, and does not call it."""
    has_base = any("__init__" in vars(base) for base in library_bases(cls))
    return has_base and "__init__" in vars(cls) and "super().__init__(" not in inspect.getsource(cls)


def patches(tree: ast.AST) -> Iterator[str]:
    """Assignments to a library's module or class, to `__dict__` and `__class__`, and `__new__` alone."""
    libraries: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in LIBRARIES:
            libraries |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            names = [alias.asname or alias.name for alias in node.names]
            libraries |= {name.split(".")[0] for name in names} & set(LIBRARIES)
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=targets):
                pass
            case ast.AugAssign(target=target) | ast.AnnAssign(target=target):
                targets = [target]
            case ast.Call(func=ast.Attribute(attr="__new__")) | ast.Call(func=ast.Name(id="setattr")):
                yield ast.unparse(node)
                continue
            case _:
                continue
        for each in targets:
            if isinstance(each, ast.Attribute) and (
                each.attr in ("__dict__", "__class__") or ast.unparse(each).split(".")[0] in libraries
            ):
                yield ast.unparse(each)


@pytest.mark.same_on_every_python  # it imports every module, the asyncio bridge among them
def test_no_library_is_reached_below_its_surface_patched_or_made_without_its_constructor() -> None:
    """What the proofs run on is what production runs on, and an update of a library breaks nothing unseen."""
    found: dict[str, set[str]] = {}
    looked_at = 0
    for module in modules():
        tree = ast.parse(inspect.getsource(module))
        names = {*private_imports(tree), *patches(tree)}
        for cls in own_classes(module):
            if library_bases(cls):
                looked_at += 1
                names |= private_overrides(cls)
                names |= {f"{cls.__name__}.__init__"} if skips_the_constructor(cls) else set()
        if names:
            found[module.__name__] = names
    assert found == {}
    assert looked_at > 5
    assert "fanout.api.framework" in sys.modules


@pytest.mark.parametrize(
    "source",
    [
        "from quart.globals import _cv_request",
        "import trio._core",
        "from trio._core import x",
        "import trio\ntrio.current_time = None",
        "from werkzeug.datastructures import Headers\nHeaders.add = None",
        "x.__dict__ = {}",
        "y = Request.__new__(Request)",
    ],
)
def test_each_way_below_the_surface_is_found(source: str) -> None:
    tree = ast.parse(source)
    assert [*private_imports(tree), *patches(tree)]


def test_a_class_that_skips_its_constructor_or_touches_private_names_is_found() -> None:
    from quart.wrappers import Response
    from werkzeug.datastructures import Headers

    class Skips(Response):
        def __init__(self) -> None:
            self.headers = Headers()

    class Touches(Headers):
        def empty(self) -> None:
            self._list = []

    assert skips_the_constructor(Skips)
    assert private_overrides(Touches) == {"_list"}
