"""How the rules read the documents of one rendering.

Each function passes over what is missing: that is for a rule to say, or for the schema.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator
from typing import Any, Final

from fanout.config import Settings, SettingsError, load

Document = dict[str, Any]
Documents = list[Document]

# By probe, the path that it asks. A startup probe stands in for both of the others until it succeeds.
PROBES: Final = {"startupProbe": "/readyz", "readinessProbe": "/readyz", "livenessProbe": "/livez"}


def at(value: Any, path: str, default: Any = None) -> Any:
    """What is at a path such as `spec.template`, or the default if it, or a part of the way, is missing."""
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
        if value is None:
            return default
    return value


def of_kind(documents: Documents, *kinds: str) -> Documents:
    return [document for document in documents if document["kind"] in kinds]


def name_of(document: Document) -> str:
    return f"{document['kind']} {at(document, 'metadata.name')}"


def pods(documents: Documents) -> Iterator[tuple[str, Document]]:
    """Where it stands, and each pod template."""
    for document in of_kind(documents, "Deployment"):
        yield name_of(document), at(document, "spec.template", {})


def containers(documents: Documents) -> Iterator[tuple[str, Document]]:
    for where, pod in pods(documents):
        for container in at(pod, "spec.containers", []):
            yield f"{where}, container {container.get('name')}", container


def probes(container: Document) -> dict[str, Document]:
    return {name: container[name] for name in PROBES if name in container}


def fields(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every scalar in a document and its path; elements of lists have the path of the list."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from fields(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for inner in value:
            yield from fields(inner, path)
    else:
        yield path, value


def environment(documents: Documents) -> dict[str, Any]:
    """What the ConfigMaps and the Secrets say."""
    plain = {
        key: value for each in of_kind(documents, "ConfigMap") for key, value in at(each, "data", {}).items()
    }
    secret = {
        key: value for each in of_kind(documents, "Secret") for key, value in at(each, "data", {}).items()
    }
    return plain | {key: b64decode(value).decode() for key, value in secret.items()}


def settings(documents: Documents) -> Settings | None:
    """As the server will read them; none if it will not start."""
    try:
        return load(environment(documents), {}).settings
    except SettingsError:
        return None


def port_numbers(documents: Documents) -> dict[str, int]:
    """The ports of all containers, by name."""
    return {
        port.get("name", ""): port.get("containerPort", 0)
        for _, container in containers(documents)
        for port in container.get("ports", [])
    }


def referred_ports(documents: Documents) -> Iterator[tuple[str, Any]]:
    """Each place that refers to a port of a pod, and how it does."""
    for where, container in containers(documents):
        for probe, content in probes(container).items():
            yield f"{where}, {probe}", at(content, "httpGet.port")
    for service in of_kind(documents, "Service"):
        for port in at(service, "spec.ports", []):
            yield name_of(service), port.get("targetPort")
    for monitor in of_kind(documents, "PodMonitor"):
        for endpoint in at(monitor, "spec.podMetricsEndpoints", []):
            yield name_of(monitor), endpoint.get("port")
    for policy in of_kind(documents, "NetworkPolicy"):
        for ingress in at(policy, "spec.ingress", []):
            for port in ingress.get("ports", []):
                yield name_of(policy), port.get("port")
