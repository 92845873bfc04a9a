"""The deliberate breakages must stay breakages of the code as it is. `make breakages` sees them caught."""

from __future__ import annotations

import pytest

from fanout.testing.breakages.patches import (
    LAYERS,
    Breakage,
    DoesNotApply,
    breakages,
    files_of,
    patched,
)
from tests.breakages.__main__ import OF_HTTP2, http2_breakages
from tests.breakages.tree import TREE
from tests.testing.monitor.__main__ import all_breakages

pytestmark = pytest.mark.same_on_every_python


@pytest.mark.parametrize(
    "breakage",
    [*all_breakages().values(), *http2_breakages().values()],
    ids=lambda breakage: breakage.name,
)
def test_a_patch_applies_to_the_tree_and_leaves_valid_python(breakage: Breakage) -> None:
    files = list(files_of(breakage.diff))
    assert files
    for name, hunks in files:
        assert name.startswith("fanout/")
        before = (TREE / name).read_text("utf-8")
        after = patched(name, before, hunks)
        assert after != before
        compile(after, name, "exec")
    assert set(breakage.guarantees) <= {f"G{number}" for number in range(1, 13)}
    assert breakage.guarantees
    assert set(breakage.late) <= set(breakage.caught_by) <= set(LAYERS)
    assert breakage.tests
    assert all((TREE / test).exists() for test in breakage.tests)


@pytest.mark.parametrize("breakage", breakages().values(), ids=lambda breakage: breakage.name)
def test_unit_tests_and_the_lab_see_each_breakage(breakage: Breakage) -> None:
    assert {"unit", "lab"} <= set(breakage.caught_by)


def test_unit_tests_and_the_simulation_see_each_breakage_of_http2() -> None:
    assert {breakage.caught_by for breakage in http2_breakages().values()} == {OF_HTTP2}


def test_there_are_at_least_ten() -> None:
    assert len(breakages()) >= 10
    assert len(http2_breakages()) >= 10


def test_a_patch_whose_lines_have_changed_does_not_apply() -> None:
    ((name, hunks),) = files_of("--- a/file.py\n+++ b/file.py\n@@ -1 +1 @@\n one\n-two\n+three\n")
    assert name == "file.py"
    assert patched(name, "one\ntwo\n", hunks) == "one\nthree\n"
    for text, times in (("one\nthree\n", 0), ("one\ntwo\none\ntwo\n", 2)):
        with pytest.raises(DoesNotApply, match=f"file.py has these lines {times} times, not once"):
            patched(name, text, hunks)
