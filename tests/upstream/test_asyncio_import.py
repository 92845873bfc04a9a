"""Where the asyncio bridge cannot be imported, one line says why; where it can, it is imported quietly."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
import warnings
from collections.abc import Sequence

import pytest

import tests.upstream.bridge  # noqa: F401 - skips this file where there is no bridge
from fanout.upstream import asyncio_call
from fanout.upstream.asyncio_call import BridgeUnavailable

VERSION = "the asyncio bridge needs Python 3.11, 3.12 or 3.13: trio-asyncio cannot be imported on {}"
EXTRA = r"^the asyncio bridge needs an extra: pip install 'fanout-server\[asyncio\]' \(.*trio_asyncio.*\)$"


def import_again() -> types.ModuleType:
    """The module once more, under no name."""
    spec = asyncio_call.__spec__
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("version", "is_new"), [((3, 13, 9), False), ((3, 14, 0), True), ((4, 0, 1), True)])
def test_a_python_that_is_too_new_is_named(
    version: tuple[int, ...], is_new: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.version_info", version)
    if not is_new:
        assert import_again().GRACE_MS == asyncio_call.GRACE_MS
        return
    with pytest.raises(ImportError) as raised:
        import_again()
    assert type(raised.value).__name__ == BridgeUnavailable.__name__
    assert str(raised.value) == VERSION.format(f"{version[0]}.{version[1]}")


def test_without_trio_asyncio_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trio_asyncio", None)
    with pytest.raises(ImportError, match=EXTRA) as raised:
        import_again()
    assert raised.value.__suppress_context__


class Warns(importlib.abc.Loader):
    """Finds a `trio_asyncio` that warns as it is imported."""

    def __init__(self, category: type[Warning]) -> None:
        self._category = category
        self._real = vars(sys.modules["trio_asyncio"])

    def find_spec(self, name: str, path: Sequence[str] | None, target: object = None) -> object:
        return importlib.util.spec_from_loader(name, self) if name == "trio_asyncio" else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        module = types.ModuleType("trio_asyncio")
        vars(module).update(self._real)
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        warnings.warn("it uses what is to go", self._category, stacklevel=1)


@pytest.mark.parametrize(("category", "is_seen"), [(DeprecationWarning, False), (RuntimeWarning, True)])
def test_of_the_import_only_deprecations_are_not_shown(
    category: type[Warning], is_seen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.meta_path", [Warns(category), *sys.meta_path])
    monkeypatch.delitem(sys.modules, "trio_asyncio")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        import_again()
    assert [warning.category for warning in seen] == [category] * is_seen
