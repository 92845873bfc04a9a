"""`make bare`: what it does not take for an installation. CI runs it as a whole, from an index."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import fanout
from deploy.packages import try_bare
from deploy.packages.build import CannotBuild


def test_a_python_that_is_not_there_is_left_out_and_one_has_to_be_there(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert {"3.11", "3.13"} <= set(try_bare.supported())
    with pytest.raises(CannotBuild, match=r"no such Python is on this machine: install one of 3\.1\d, 3\."):
        try_bare.try_bare(Path("fanout.whl"), ["3.99"])

    assert capsys.readouterr().out == "Python 3.99: not on this machine, left out\n"


def test_what_is_imported_from_the_tree_is_not_installed(tmp_path: Path) -> None:
    (tmp_path / "venv").symlink_to(sys.prefix)

    with pytest.raises(CannotBuild, match=r"the installed wheel is not 9\.9\.9: it says 'fanout, version"):
        try_bare._try(tmp_path, "9.9.9")
    with pytest.raises(CannotBuild, match=r"imported from .*/fanout/__init__\.py, not from the wheel"):
        try_bare._try(tmp_path, fanout.__version__)


def test_a_page_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(try_bare, "_PAGES", {"api": ("/docs",), "admin": ("/live", "/nowhere")})
    environment = {"FANOUT_BIND": "127.0.0.1:0", "FANOUT_ADMIN_BIND": "127.0.0.1:0"}

    with pytest.raises(CannotBuild, match="fanout demo of the installed wheel: HTTP Error 404"):
        try_bare._answers([str(Path(sys.prefix, "bin/fanout")), "demo"], tmp_path, environment)
