"""A small project that is packaged and released by the real files: what takes long in ours is its size."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FILES = (
    *("LICENSE", "MANIFEST.in", "README.md", "pyproject.toml", "setup.cfg", "setup.py", ".gitignore"),
    *("fanout/__init__.py", "fanout/py.typed", "deploy/packages"),
    *(f"fanout/admin/live/static/uplot.{end}" for end in ("js", "css", "LICENSE")),
)
CHANGELOG = "# Changelog\n\n## [Unreleased]\n\n## [1.2.3] - 2026-11-28\n\n### Added\n\n- A thing.\n"


class Project:
    """A git repository on main, whose only commit is 1.2.3 and can be released."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in FILES:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, folder / name)
        self.write("fanout/__init__.py", '__version__ = "1.2.3"\n')
        self.write("CHANGELOG.md", CHANGELOG)
        self.git("init", "--quiet", "--initial-branch=main")
        self.commit()

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")

    def replace(self, name: str, old: str, new: str) -> None:
        text = (self.folder / name).read_text("utf-8")
        assert old in text
        self.write(name, text.replace(old, new))

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message=a change")

    def git(self, *arguments: str) -> None:
        who = {"NAME": "nobody", "EMAIL": "nobody@example.org", "DATE": "2026-11-28T12:00:00Z"}
        environment = {
            f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in who.items()
        }
        environment["GIT_CONFIG_GLOBAL"] = os.devnull
        subprocess.run(["git", *arguments], cwd=self.folder, env=os.environ | environment, check=True)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Path]]:
    """What `make package` says and makes, where dist/ has an older package, and a file is not committed."""
    project = Project(tmp_path_factory.mktemp("made"))
    project.write("fanout/draft.py", "")
    (project.folder / "dist").mkdir()
    project.write("dist/fanout_server-1.2.2-py3-none-any.whl", "")
    command = [sys.executable, "-m", "deploy.packages.build"]
    done = subprocess.run(command, cwd=project.folder, capture_output=True, text=True, check=True)
    assert list((project.folder / "build").iterdir()) == []
    return done.stdout, {path.name: path for path in (project.folder / "dist").iterdir()}


@pytest.fixture
def packages(made: tuple[str, dict[str, Path]]) -> dict[str, Path]:
    """By name, what is in dist/ then."""
    return made[1]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    folder = tmp_path / "project"
    folder.mkdir()
    return Project(folder)
