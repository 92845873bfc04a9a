"""The deliberate breakages must stay breakages of the code as it is. `make breakages` sees them caught."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.breakages.patches import TREE, Breakage, DoesNotApply, apply, breakages

pytestmark = pytest.mark.same_on_every_python


@pytest.mark.parametrize("breakage", breakages(), ids=lambda breakage: breakage.name)
def test_a_patch_applies_to_the_tree_and_leaves_valid_python(breakage: Breakage, tmp_path: Path) -> None:
    for name in re.findall(r"^--- a/(\S+)", breakage.diff, re.MULTILINE):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text((TREE / name).read_text("utf-8"), "utf-8")
    changed = apply(breakage.diff, tmp_path)
    assert changed
    for path in changed:
        assert path.is_relative_to(tmp_path / "fanout")
        assert path.read_text("utf-8") != (TREE / path.relative_to(tmp_path)).read_text("utf-8")
        compile(path.read_text("utf-8"), path.name, "exec")
    assert re.fullmatch(r"G\d+(, G\d+)*", breakage.guarantees)
    assert all((TREE / test).exists() for test in breakage.tests)


def test_there_are_at_least_ten() -> None:
    assert len(breakages()) >= 10


def test_a_patch_whose_lines_have_changed_does_not_apply(tmp_path: Path) -> None:
    diff = "--- a/file.py\n+++ b/file.py\n@@ -1 +1 @@\n one\n-two\n+three\n"
    (tmp_path / "file.py").write_text("one\ntwo\n")
    assert apply(diff, tmp_path) == [tmp_path / "file.py"]
    assert (tmp_path / "file.py").read_text() == "one\nthree\n"
    with pytest.raises(DoesNotApply):
        apply(diff, tmp_path)
