"""Every figure in the documents has a source: docs/figures, the code, or a reason why it needs none."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.project.measured import (
    CLIENTS,
    DOCUMENTS,
    ROOT,
    load,
    quantities,
    shows_clients,
    tables,
    unsourced,
    value,
)
from tests.project.test_guarantees import in_code

pytestmark = pytest.mark.same_on_every_python

SOURCES = load()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_quantity_of_a_document_has_a_source_and_every_source_is_quoted(path: Path) -> None:
    unknown, unquoted = unsourced(ROOT, path.relative_to(ROOT).as_posix(), SOURCES)
    assert unknown == set(), "not in docs/figures/measured.json"
    assert unquoted == set(), "no longer in the document"


def test_every_measured_figure_names_its_command_and_stands_in_one_place() -> None:
    assert all(each["what"] and each["command"] and each["figures"] for each in SOURCES["measured"])
    assert {each["document"] for each in SOURCES["measured"]} <= {
        p.relative_to(ROOT).as_posix() for p in DOCUMENTS
    }
    assert all(each["what"] and each["command"] for each in SOURCES["tables"])
    assert all(each["command"] for each in SOURCES["files"])
    assert {each["file"] for each in SOURCES["files"]} == {
        path.relative_to(ROOT).as_posix() for path in (ROOT / "benchmarks/results").iterdir()
    }
    places = Counter(each["what"] for each in SOURCES["measured"])
    assert set(places.values()) == {1}


@pytest.mark.parametrize("quantity", SOURCES["bounds"])
def test_every_bound_is_that_of_the_code(quantity: str) -> None:
    name = SOURCES["bounds"][quantity]
    scale = 1000.0 if name.lower().endswith("_s") else 1.0
    assert value(quantity) == in_code(name) * scale


def test_the_table_of_clients_is_that_of_its_run() -> None:
    """`python benchmarks/pool.py --json benchmarks/results/pool.json` measures it."""
    clients = json.loads((ROOT / CLIENTS).read_text("utf-8"))
    text = (ROOT / "docs/upstream.md").read_text("utf-8")
    assert shows_clients(text, clients)
    clients["http"]["fanout"]["10"] += 1
    assert not shows_clients(text, clients)


def test_a_table_with_figures_is_found_and_no_other() -> None:
    text = (
        "| a | b |\n| --- | --- |\n| `x` | 1 of 2,000 | 3 lost |\n\n| a | b |\n| --- | --- |\n| 1 | word |\n"
    )
    text += "```\n| 1 | 2 |\n```\n<!-- figures: x -->\n| 1 | 2 |\n<!-- end -->\n"
    assert tables(text) == [text.partition("\n\n")[0] + "\n"]


def test_a_quantity_is_found_in_prose_and_not_in_code() -> None:
    text = "It took 1.5 ms, `9 s`, 10 to\n20 µs and 3 %.\n```\n7 s\n```\n"
    text += "<!-- figure: kib -->8<!-- end --> KiB; 200s"
    assert quantities(text) == {"1.5 ms", "10 to 20 µs", "3 %"}
