"""deploy/kubernetes, rendered by kubectl's kustomize, and what Kubernetes' own schemas say of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import yaml

from tests.deploy.kubernetes.documents import Documents, name_of

KUBERNETES: Final = Path(__file__).parents[3] / "deploy/kubernetes"
# With all that an operator would write: what the mutants are made of, and what checkov looks at.
OVERLAY: Final = KUBERNETES / "overlays/production"
RENDERED: Final = (KUBERNETES / "base", OVERLAY)
# It has all fields that are used (matchLabelKeys and unhealthyPodEvictionPolicy are the youngest).
OLDEST: Final = "1.27"
# Kinds that the Prometheus Operator brings: rules.py has their fields.
WITHOUT_SCHEMA: Final = {"PodMonitor"}


def rendered(folder: Path) -> Documents:
    """What `kubectl apply -k` sends, without sending it.

    Raises `CalledProcessError` when kustomize finds a mistake; its words are on standard error.
    """
    kubectl = Path(sys.executable).with_name("kubectl")
    made = subprocess.run([kubectl, "kustomize", folder], stdout=subprocess.PIPE, check=True, timeout=30)
    return list(yaml.safe_load_all(made.stdout))


def complaints(documents: Documents) -> list[str]:
    """What the schemas of the oldest and of the newest version find, unknown fields included."""
    import kubernetes_validate  # a second, in each process that collects the tests

    found = []
    for version in (OLDEST, kubernetes_validate.latest_version()):
        for document in documents:
            if document["kind"] in WITHOUT_SCHEMA:
                continue
            try:
                kubernetes_validate.validate(document, version, strict=True)
            except kubernetes_validate.SchemaNotFoundError as error:
                found.append(error.message)
            except kubernetes_validate.ValidationError as error:
                found.append(f"{name_of(document)}, {version}: {error.message}")
    return found
