"""deploy/kubernetes keeps the schemas of Kubernetes and rules of our own, each of which notices its mistakes.

The short form of `make kubernetes`, which also asks checkov.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from pathlib import Path

import pytest

import fanout
from fanout.admin.guard import PROBES as PROBE_PATHS
from fanout.config import load
from tests.deploy.kubernetes.documents import PROBES, Documents, at, containers, environment, of_kind
from tests.deploy.kubernetes.mutants import MUTANTS, Mutant
from tests.deploy.kubernetes.rules import RULES, violations
from tests.deploy.kubernetes.schema import KUBERNETES, OVERLAY, RENDERED, complaints, rendered

pytestmark = pytest.mark.same_on_every_python


@pytest.fixture(scope="module")
def documents() -> Documents:
    return rendered(OVERLAY)


@pytest.mark.parametrize("folder", RENDERED, ids=lambda folder: folder.name)
def test_the_schemas_of_the_oldest_and_the_newest_version_accept_it(folder: Path) -> None:
    assert complaints(rendered(folder)) == []


def test_the_schemas_are_strict(documents: Documents) -> None:
    """An unknown field, a wrong type, and a kind without a schema are each found in both versions."""
    for path, value in (
        ("Deployment spec template spec restartPolcy", "Always"),
        ("HorizontalPodAutoscaler spec maxReplicas", "ten"),
        ("Service kind", "Sevice"),
    ):
        assert len(complaints(Mutant("", path, value).of(documents))) == 2, path


def test_the_overlay_keeps_every_rule(documents: Documents) -> None:
    assert violations(documents) == {}


def test_the_base_keeps_every_rule_but_that_about_the_image() -> None:
    """Which image it is, only an overlay can say."""
    assert list(violations(rendered(KUBERNETES / "base"))) == ["images_are_pinned"]


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_a_mistake_is_noticed_by_its_rule_and_no_other(mutant: Mutant, documents: Documents) -> None:
    assert list(violations(mutant.of(documents))) == [mutant.rule]


def test_every_rule_has_its_mistakes() -> None:
    assert {mutant.rule for mutant in MUTANTS} == set(RULES)
    assert Counter(map(str, MUTANTS)).most_common(1)[0][1] == 1


def test_a_changed_setting_changes_the_pod_template(tmp_path: Path) -> None:
    """Through the name of the ConfigMap, so that pods with the old settings are replaced."""
    shutil.copytree(KUBERNETES, tmp_path / "kubernetes")
    settings = tmp_path / "kubernetes/overlays/production/settings.env"
    settings.write_text(settings.read_text() + "FANOUT_MAX_IN_FLIGHT=500\n")

    def of(overlay: Path) -> tuple[str, str, str]:
        documents = rendered(overlay)
        ((_, container),) = containers(documents)
        (config,) = of_kind(documents, "ConfigMap")
        reference = at(container["envFrom"][0], "configMapRef.name")
        return config["metadata"]["name"], reference, environment(documents)["FANOUT_MAX_IN_FLIGHT"]

    before, changed = of(OVERLAY), of(tmp_path / "kubernetes/overlays/production")
    assert before[0] == before[1] != changed[0] == changed[1]
    assert (before[2], changed[2]) == ("1000", "500")


def test_the_overlay_replaces_settings_and_keeps_the_others(documents: Documents) -> None:
    base, merged = (
        load(environment(each), {}).settings for each in (rendered(KUBERNETES / "base"), documents)
    )
    assert base.upstreams != merged.upstreams
    assert (
        (merged.lame_duck_ms, str(merged.bind))
        == (base.lame_duck_ms, str(base.bind))
        == (5000, "0.0.0.0:8080")
    )


def test_probes_ask_paths_that_the_admin_listener_has() -> None:
    assert set(PROBES.values()) == PROBE_PATHS


def test_the_overlay_names_the_version_of_this_tree(documents: Documents) -> None:
    """`make release` has to change it, too."""
    ((_, container),) = containers(documents)
    assert container["image"].rpartition(":")[2] == fanout.__version__


def test_every_file_says_why() -> None:
    files = [path for path in KUBERNETES.rglob("*") if path.is_file()]
    assert len(files) > 10
    for path in files:
        assert re.search(r"^ *# \w", path.read_text("utf-8"), re.MULTILINE), path
