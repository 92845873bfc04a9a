"""deploy/kubernetes keeps the schemas of Kubernetes and rules of our own, each of which notices its mistakes.

The short form of `make kubernetes`, which also asks checkov.
"""

from __future__ import annotations

import http.client
import re
import shutil
from pathlib import Path

import pytest

import fanout
from fanout.admin.guard import PROBES as PROBE_PATHS
from fanout.testing.program import running
from tests.deploy.kubernetes.documents import PROBES, Documents, at, containers, environment, of_kind
from tests.deploy.kubernetes.mutants import LEFT_TO_SCHEMAS, MUTANTS, Mutant
from tests.deploy.kubernetes.rules import RULES, violations
from tests.deploy.kubernetes.schema import KUBERNETES, OVERLAY, complaints, rendered

pytestmark = pytest.mark.same_on_every_python


@pytest.fixture(scope="module")
def documents() -> Documents:
    """Of the overlay."""
    return rendered(OVERLAY)


@pytest.fixture(scope="module")
def base() -> Documents:
    return rendered(KUBERNETES / "base")


def test_the_schemas_of_the_oldest_and_the_newest_version_accept_both(
    base: Documents, documents: Documents
) -> None:
    assert complaints(base) == complaints(documents) == []


def test_a_kind_without_a_schema_is_a_complaint_unless_it_is_pod_monitor(documents: Documents) -> None:
    (monitor,) = of_kind(documents, "PodMonitor")
    assert complaints([monitor]) == []
    assert len(complaints([{**monitor, "kind": "ServiceMonitor"}])) == 2


@pytest.mark.parametrize("mutant", LEFT_TO_SCHEMAS, ids=str)
def test_unknown_fields_and_wrong_types_are_noticed_in_both_versions(
    mutant: Mutant, documents: Documents
) -> None:
    changed = [each for each in mutant.of(documents) if each not in documents]
    assert len(complaints(changed)) == 2


def test_the_overlay_keeps_every_rule(documents: Documents) -> None:
    assert violations(documents) == {}


def test_the_base_keeps_every_rule_but_that_about_the_image(base: Documents) -> None:
    """Which image it is, only an overlay can say."""
    assert list(violations(base)) == ["images_are_pinned"]


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_a_mistake_is_noticed_by_its_rule_and_no_other(mutant: Mutant, documents: Documents) -> None:
    assert list(violations(mutant.of(documents))) == [mutant.rule]


def test_every_rule_has_its_mistakes() -> None:
    assert {mutant.rule for mutant in MUTANTS} == set(RULES)


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


def test_the_overlay_replaces_settings_and_keeps_the_others(base: Documents, documents: Documents) -> None:
    before, merged = environment(base), environment(documents)
    assert {name for name in merged if merged[name] != before.get(name)} == {"FANOUT_UPSTREAMS"}
    assert set(before) < set(merged)


WITH_A_SECRET = """
  - target:
      kind: Deployment
      name: fanout
    patch: |-
      - op: add
        path: /spec/template/spec/containers/0/envFrom/-
        value:
          secretRef:
            name: fanout-upstream

secretGenerator:
  - name: fanout-upstream
    envs:
      - secret.env
"""


def test_an_upstream_with_a_password_comes_from_a_secret(tmp_path: Path) -> None:
    """What an operator adds at the end of the overlay keeps every rule, too."""
    shutil.copytree(KUBERNETES, tmp_path / "kubernetes")
    overlay = tmp_path / "kubernetes/overlays/production"
    (overlay / "secret.env").write_text("FANOUT_UPSTREAMS=http://user:password@work.example:9000/api/work\n")
    with (overlay / "kustomization.yaml").open("a") as file:
        file.write(WITH_A_SECRET)

    documents = rendered(overlay)

    assert complaints(documents) == []
    assert violations(documents) == {}
    assert environment(documents)["FANOUT_UPSTREAMS"].startswith("http://user:password@")
    (config,) = of_kind(documents, "ConfigMap")
    assert "password" not in str(config)


def test_a_server_with_these_settings_answers_the_probes_of_a_kubelet(documents: Documents) -> None:
    """Which are sent to the pod's address. The upstream's name is unknown here: it starts all the same."""
    free = {"FANOUT_BIND": "0.0.0.0:0", "FANOUT_ADMIN_BIND": "0.0.0.0:0"}
    ((_, container),) = containers(documents)
    with running("serve", environment={**environment(documents), **free}) as program:
        port = int(program.urls["admin"].rpartition(":")[2])
        for probe in PROBES:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            headers = {"Host": "10.1.2.3:8081", "User-Agent": "kube-probe/1.37"}
            connection.request("GET", container[probe]["httpGet"]["path"], headers=headers)
            assert connection.getresponse().status == 200, probe
            connection.close()
        program.kill()  # or its lame duck would take 5 s


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
