"""`fanout lab --html DIR`: the results of a run and the page that shows them, for any static host."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import fanout
from fanout.lab.experiments import EXPERIMENTS
from fanout.lab.page.races import RACES
from fanout.lab.page.record import record_all
from fanout.lab.page.site import pages_of

Json = dict[str, Any]
COMMAND: Final = "fanout lab --html DIR"


class FolderError(ValueError):
    """The folder of `--html` cannot be used. One sentence that says why and what to do."""


def check_folder(folder: Path) -> None:
    """Make it, or find it empty. Raises `FolderError`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise FolderError(f"{str(folder)!r} is not empty, and nothing is overwritten: name a new folder")
        (folder / "lab").mkdir()
    except FileExistsError:
        raise FolderError(f"{str(folder)!r} is a file: name a folder") from None
    except OSError as error:
        raise FolderError(
            f"{str(folder)!r} cannot be written: {error.strerror}; name another folder"
        ) from error
    (folder / "lab").rmdir()


def write_pages(folder: Path, experiments: Sequence[Json], matrix: Json | None) -> list[Path]:
    """Write the page for a static host, or to open from the folder. Returns the files, the page first.

    experiments: as `Experiment.to_json` makes them. matrix: as `Matrix.to_json`; `None`: it was not measured.
    The races of the player are recorded here, which takes some seconds. Raises `FolderError`.
    """
    check_folder(folder)
    pages = pages_of(results(experiments, matrix))
    written = []
    for path, (_, content) in pages.items():
        file = folder / ("index.html" if path == "/lab" else path[1:])
        try:
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(content)
        except OSError as error:
            raise FolderError(f"{str(file)!r} cannot be written: {error.strerror}") from error
        written.append(file)
    return written


def results(experiments: Sequence[Json], matrix: Json | None) -> Json:
    """All that the page shows, and how it was made."""
    versions = {"fanout": fanout.__version__, "Python": platform.python_version()}
    versions |= {"trio": metadata.version("trio")} | (matrix or {}).get("versions", {})
    return {
        "made": {
            "on": datetime.now(UTC).date().isoformat(),
            "by": COMMAND,
            "system": platform.system(),
            "versions": versions,
        },
        "experiments": [{**each, "article": _paragraphs(each["id"])} for each in experiments],
        "matrix": None if matrix is None else _with_each_source_once(matrix),
        "races": record_all(RACES),
    }


def _paragraphs(experiment: str) -> list[str]:
    """The article of an experiment."""
    text = EXPERIMENTS[experiment].article.strip()
    return [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]


def _with_each_source_once(matrix: Json) -> Json:
    """The same matrix; `source` of a cell is a number in `sources`."""
    sources: dict[str, int] = {}
    sections = [
        {
            **section,
            "rows": [
                {
                    **row,
                    "cells": [
                        {**cell, "source": sources.setdefault(cell["source"], len(sources))}
                        for cell in row["cells"]
                    ],
                }
                for row in section["rows"]
            ],
        }
        for section in matrix["sections"]
    ]
    return {**matrix, "sections": sections, "sources": list(sources)}
