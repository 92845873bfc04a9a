"""What must hold of our Kubernetes objects, and what neither their schemas nor checkov notice.

A rule is a function over the documents of one rendering, in any order. It yields a line for each violation:
where, what is wrong, and what would be right. `mutants.py` has the mistakes that each rule notices.

Rule 1: a rule reads the documents and fanout's own code, never a file or a name of one overlay: it fits all.
Rule 2: a mistake is noticed by one rule. What another rule is about is passed over where it is missing.
Rule 3: unknown fields and wrong types are left to the schemas, which come first (`schema.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import yaml

from benchmarks import page
from fanout.config import SETTINGS, SettingsError, load
from fanout.observe.log_writer import LAST_LINES_S
from fanout.process.composition import GRACE_MARGIN_S
from fanout.process.service import ADMIN_GRACE_S
from fanout.process.workers import STUCK_MARGIN_S
from tests.deploy.kubernetes.documents import (
    PROBES,
    Document,
    Documents,
    at,
    containers,
    environment,
    fields,
    name_of,
    of_kind,
    pods,
    port_numbers,
    referred_ports,
    settings,
)

ROOT: Final = Path(__file__).parents[3]

Rule = Callable[[Documents], Iterator[str]]

RULES: Final[dict[str, Rule]] = {}


def rule(function: Rule) -> Rule:
    RULES[function.__name__] = function
    return function


def violations(documents: Documents) -> dict[str, list[str]]:
    """What each rule has found, by the rule's name. Rules that found nothing are left out."""
    found = {name: list(check(documents)) for name, check in RULES.items()}
    return {name: lines for name, lines in found.items() if lines}


# --- rules about every object


KINDS: Final = {
    "ConfigMap": "v1",
    "Deployment": "apps/v1",
    "HorizontalPodAutoscaler": "autoscaling/v2",
    "Namespace": "v1",
    "NetworkPolicy": "networking.k8s.io/v1",
    "PodDisruptionBudget": "policy/v1",
    "PodMonitor": "monitoring.coreos.com/v1",
    "Secret": "v1",
    "Service": "v1",
}


@rule
def kinds_and_versions_are_known(documents: Documents) -> Iterator[str]:
    """A beta version goes away with an upgrade; a kind that no rule knows would be checked by none."""
    for document in documents:
        expected = KINDS.get(document["kind"])
        if document.get("apiVersion") != expected:
            yield f"{name_of(document)}: {document.get('apiVersion')} is not {expected or 'of a known kind'}"


@rule
def no_object_is_missing(documents: Documents) -> Iterator[str]:
    """What is not there breaks no other rule. Three kinds are needed only by some."""
    found = {document["kind"] for document in documents}
    for kind in KINDS.keys() - {"Namespace", "PodMonitor", "Secret"} - found:
        yield f"there is no {kind}"


LABEL: Final = re.compile(r"(?=.{1,63}\Z)[a-z0-9]([a-z0-9-]*[a-z0-9])?")  # RFC 1123
SERVICE_NAME: Final = re.compile(r"(?=.{1,63}\Z)[a-z]([a-z0-9-]*[a-z0-9])?")  # RFC 1035: its name is a host's
PORT_NAME: Final = re.compile(r"(?=.{1,15}\Z)(?=.*[a-z])(?!.*--)[a-z0-9]([a-z0-9-]*[a-z0-9])?")
LABEL_VALUE: Final = re.compile(r"(?=.{0,63}\Z)([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?")
LABEL_KEY: Final = re.compile(r"([a-z0-9.-]{1,253}/)?(?=.{1,63}\Z)[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")


@rule
def names_are_valid(documents: Documents) -> Iterator[str]:
    """The API server refuses the others, but only when everything before them is applied."""

    def wrong(what: str, pattern: re.Pattern[str], name: Any) -> Iterator[str]:
        if not isinstance(name, str) or not pattern.fullmatch(name):
            yield f"{what} {name!r} is not valid: {pattern.pattern}"

    for document in documents:
        pattern = SERVICE_NAME if document["kind"] == "Service" else LABEL
        yield from wrong(document["kind"], pattern, at(document, "metadata.name"))
        yield from wrong(
            f"namespace of {name_of(document)}", LABEL, at(document, "metadata.namespace", "default")
        )
    for where, container in containers(documents):
        yield from wrong(where, LABEL, container.get("name"))
        for port in container.get("ports", []):
            yield from wrong(f"{where}, port", PORT_NAME, port.get("name"))
    labelled = [(name_of(each), at(each, "metadata.labels", {})) for each in documents]
    labelled += [(where, at(pod, "metadata.labels", {})) for where, pod in pods(documents)]
    for where, labels in labelled:
        for key, value in labels.items():
            yield from wrong(f"{where}, label", LABEL_KEY, key)
            yield from wrong(f"{where}, label {key}", LABEL_VALUE, value)


@rule
def all_are_in_one_namespace(documents: Documents) -> Iterator[str]:
    """A selector and a reference do not reach into another namespace."""
    made = {at(each, "metadata.name") for each in of_kind(documents, "Namespace")}
    used = {at(each, "metadata.namespace") for each in documents if each["kind"] != "Namespace"}
    if len(used) != 1 or (made and made != used):
        yield f"used: {used}, made: {made or 'none'}"


WORDS: Final = {
    "Deployment.spec.strategy.type": {"RollingUpdate"},
    "Deployment.spec.template.spec.containers.imagePullPolicy": {"Always", "IfNotPresent", "Never"},
    "Deployment.spec.template.spec.containers.ports.protocol": {"TCP"},
    "Deployment.spec.template.spec.restartPolicy": {"Always"},
    "Deployment.spec.template.spec.topologySpreadConstraints.whenUnsatisfiable": {
        "DoNotSchedule",
        "ScheduleAnyway",
    },
    "HorizontalPodAutoscaler.spec.metrics.type": {
        "ContainerResource",
        "External",
        "Object",
        "Pods",
        "Resource",
    },
    "HorizontalPodAutoscaler.spec.metrics.resource.target.type": {"AverageValue", "Utilization"},
    "NetworkPolicy.spec.policyTypes": {"Egress", "Ingress"},
    "NetworkPolicy.spec.egress.ports.protocol": {"SCTP", "TCP", "UDP"},
    "NetworkPolicy.spec.ingress.ports.protocol": {"SCTP", "TCP", "UDP"},
    "PodDisruptionBudget.spec.unhealthyPodEvictionPolicy": {"AlwaysAllow", "IfHealthyBudget"},
    "Service.spec.type": {"ClusterIP", "LoadBalancer", "NodePort"},
    "Service.spec.ports.protocol": {"TCP"},
}


@rule
def words_are_known(documents: Documents) -> Iterator[str]:
    """Fields with a list of values. The schemas take any text for them."""
    for document in documents:
        for path, value in fields(document, document["kind"]):
            if value not in WORDS.get(path, {value}):
                yield f"{name_of(document)}: {path} is {value!r}, not one of {sorted(WORDS[path])}"


# --- rules about what belongs together


@rule
def selectors_match_labels(documents: Documents) -> Iterator[str]:
    """A selector that matches no pod is valid, and nothing works: no traffic, no policy, no metrics."""
    templates = [at(pod, "metadata.labels", {}) for _, pod in pods(documents)]
    selectors = [
        (name_of(document), at(document, path))
        for kind, path in {
            "Deployment": "spec.selector.matchLabels",
            "NetworkPolicy": "spec.podSelector.matchLabels",
            "PodDisruptionBudget": "spec.selector.matchLabels",
            "PodMonitor": "spec.selector.matchLabels",
            "Service": "spec.selector",
        }.items()
        for document in of_kind(documents, kind)
    ]
    for where, pod in pods(documents):
        for constraint in at(pod, "spec.topologySpreadConstraints", []):
            selectors.append(
                (f"{where}, topologySpreadConstraints", at(constraint, "labelSelector.matchLabels"))
            )
    for where, selector in selectors:
        if not selector or not any(selector.items() <= labels.items() for labels in templates):
            yield f"{where}: {selector} selects none of {templates}"


@rule
def references_exist(documents: Documents) -> Iterator[str]:
    names = {(KINDS.get(each["kind"]), each["kind"], at(each, "metadata.name")) for each in documents}
    for autoscaler in of_kind(documents, "HorizontalPodAutoscaler"):
        reference = at(autoscaler, "spec.scaleTargetRef", {})
        if tuple(reference.get(key) for key in ("apiVersion", "kind", "name")) not in names:
            yield f"{name_of(autoscaler)}: there is no {reference} to scale"
    for where, container in containers(documents):
        for source in container.get("envFrom", []):
            for key, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
                if key in source and ("v1", kind, at(source, f"{key}.name")) not in names:
                    yield f"{where}: there is no {kind} {at(source, f'{key}.name')}"


@rule
def ports_are_referred_to_by_names_that_exist(documents: Documents) -> Iterator[str]:
    """By name, so that a number stands once: in the container."""
    known = port_numbers(documents)
    for where, port in referred_ports(documents):
        if port not in known:
            yield f"{where}: port {port!r} is none of {sorted(known)}"


@rule
def each_listener_has_its_port(documents: Documents) -> Iterator[str]:
    """What the settings bind is what the container declares, on an address that others reach."""
    if not (found := settings(documents)):
        return
    for bind in (found.bind, *found.admin_binds):
        if bind.port not in port_numbers(documents).values():
            yield f"nothing declares {bind}: ports are {port_numbers(documents)}"
        if not ip_address(bind.host).is_unspecified:
            yield f"{bind} is out of reach for clients and probes: bind 0.0.0.0 or [::]"


@rule
def clients_and_operators_have_their_own_port(documents: Documents) -> Iterator[str]:
    """Services lead to the API. Probes and scrapers ask the admin listener, which no client sees."""
    if not (found := settings(documents)):
        return
    names = {number: name for name, number in port_numbers(documents).items()}
    public, admin = names.get(found.bind.port), names.get(found.admin_bind.port)
    for where, port in referred_ports(documents):
        wrong = {"Service": admin, "Deployment": public, "PodMonitor": public}.get(where.split()[0])
        if port == wrong is not None:
            yield f"{where}: {port!r} is the wrong listener"


# --- rules about resources and scale


QUANTITIES: Final = {
    "cpu": re.compile(r"[0-9]+m?|[0-9]+\.[0-9]{1,3}"),
    "memory": re.compile(r"[0-9]+[KMGT]i"),  # `256m` is a quarter of a byte, and valid
}
UNITS: Final = {"": 1.0, "m": 1e-3, "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}


def amount(container: Document, kind: str, resource: str) -> float | None:
    """Cores or bytes; none if it is not stated, or not sane."""
    quantity = str(at(container, f"resources.{kind}.{resource}"))
    if not QUANTITIES[resource].fullmatch(quantity):
        return None
    number = quantity.rstrip("mKMGTi")
    return float(number) * UNITS[quantity.removeprefix(number)]


@rule
def quantities_are_sane(documents: Documents) -> Iterator[str]:
    for where, container in containers(documents):
        for kind in ("requests", "limits"):
            for resource, quantity in at(container, f"resources.{kind}", {}).items():
                pattern = QUANTITIES.get(resource)
                if not pattern or not pattern.fullmatch(str(quantity)):
                    yield f"{where}: {kind}.{resource} is {quantity!r}, not such as 500m or 256Mi"


@rule
def requests_are_within_limits(documents: Documents) -> Iterator[str]:
    for where, container in containers(documents):
        for resource in QUANTITIES:
            requested, limit = (amount(container, kind, resource) for kind in ("requests", "limits"))
            if requested is not None and limit is not None and requested > limit:
                yield f"{where}: requests.{resource} is above limits.{resource}"


@rule
def memory_is_limited_and_cpu_is_not(documents: Documents) -> Iterator[str]:
    """Memory without a limit is the machine's; a limit of CPU stops the event loop, and answers are late."""
    for where, container in containers(documents):
        requests, limits = at(container, "resources.requests", {}), at(container, "resources.limits", {})
        if "memory" not in limits or "cpu" in limits or not {"cpu", "memory"} <= set(requests):
            yield f"{where}: limit memory, do not limit cpu, request both"


FIGURES: Final = page.load()
IDLE_MIB, REQUEST_KIB = (float(page.QUOTED[name].value(FIGURES)) for name in ("idle_mib", "kib"))


@rule
def memory_is_enough_for_all_in_flight(documents: Documents) -> Iterator[str]:
    """With the figures of docs/performance.md. Beyond its request a pod is the first to be evicted."""
    if not (found := settings(documents)):
        return
    needed_mib = IDLE_MIB + found.max_in_flight * REQUEST_KIB / 1024
    for where, container in containers(documents):
        requested = amount(container, "requests", "memory")
        if requested is not None and requested < needed_mib * 2**20:
            yield f"{where}: requests.memory is below {needed_mib:.0f}Mi: FANOUT_MAX_IN_FLIGHT may need it"


@rule
def minimum_is_at_most_maximum(documents: Documents) -> Iterator[str]:
    for autoscaler in of_kind(documents, "HorizontalPodAutoscaler"):
        low, high = at(autoscaler, "spec.minReplicas", 1), at(autoscaler, "spec.maxReplicas", 0)
        if not 2 <= low <= high:
            yield f"{name_of(autoscaler)}: use 2 <= minReplicas ({low}) <= maxReplicas ({high})"


@rule
def one_object_owns_the_number_of_replicas(documents: Documents) -> Iterator[str]:
    scaled = {at(each, "spec.scaleTargetRef.name") for each in of_kind(documents, "HorizontalPodAutoscaler")}
    for workload in of_kind(documents, "Deployment"):
        if at(workload, "metadata.name") in scaled and "replicas" in workload["spec"]:
            yield f"{name_of(workload)}: leave out `replicas`: each apply would undo what the autoscaler did"


@rule
def replicas_follow_cpu(documents: Documents) -> Iterator[str]:
    """Anything that a slow upstream raises would make more replicas call it."""
    for autoscaler in of_kind(documents, "HorizontalPodAutoscaler"):
        for metric in at(autoscaler, "spec.metrics", []):
            share = at(metric, "resource.target.averageUtilization", 0)
            if at(metric, "resource.name") != "cpu" or not 50 <= share <= 80:
                yield f"{name_of(autoscaler)}: use cpu at 50 to 80 % of the request, and nothing else"


@rule
def pods_are_spread(documents: Documents) -> Iterator[str]:
    for where, pod in pods(documents):
        keys = {each.get("topologyKey") for each in at(pod, "spec.topologySpreadConstraints", [])}
        if not keys >= {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}:
            yield f"{where}: spread over hosts and zones, not only {keys}"


# --- rules about change and the end of a pod


@rule
def a_rollout_takes_no_capacity_away(documents: Documents) -> Iterator[str]:
    """Nor does it stand still, as with neither a pod less nor a pod more."""
    for workload in of_kind(documents, "Deployment"):
        rolling = at(workload, "spec.strategy.rollingUpdate", {})
        more = str(rolling.get("maxSurge", "25%")).removesuffix("%")
        if rolling.get("maxUnavailable") != 0 or not more.isdecimal() or int(more) < 1:
            yield f"{name_of(workload)}: use maxUnavailable 0 and maxSurge of at least 1, not {rolling}"


@rule
def a_changed_setting_rolls_out(documents: Documents) -> Iterator[str]:
    """Pods read their settings once, at their start, so another content needs another name."""
    for config in of_kind(documents, "ConfigMap", "Secret"):
        if not re.fullmatch(r".+-[a-z0-9]{10}", at(config, "metadata.name", "")):
            yield f"{name_of(config)}: make it with a generator, which adds a hash to the name"


@rule
def evictions_are_possible_one_by_one(documents: Documents) -> Iterator[str]:
    for budget in of_kind(documents, "PodDisruptionBudget"):
        if at(budget, "spec.maxUnavailable") != 1 or "minAvailable" in budget["spec"]:
            yield f"{name_of(budget)}: use maxUnavailable 1: 0 keeps every node from being drained"


@rule
def a_pod_may_finish_its_requests(documents: Documents) -> Iterator[str]:
    """The grace period covers all that comes after SIGTERM: lame duck, longest request, margins."""
    if not (found := settings(documents)):
        return
    needed_s = (found.lame_duck_ms + found.max_timeout_ms) / 1000
    needed_s += GRACE_MARGIN_S + ADMIN_GRACE_S + STUCK_MARGIN_S + LAST_LINES_S  # 4 s
    for where, pod in pods(documents):
        grace_s = at(pod, "spec.terminationGracePeriodSeconds", 30)
        if grace_s < needed_s:
            yield f"{where}: terminationGracePeriodSeconds is {grace_s}, and an end takes {needed_s:g} s"


@rule
def a_pod_says_that_it_is_leaving(documents: Documents) -> Iterator[str]:
    """By FANOUT_LAME_DUCK_MS. During a preStop hook the server would not know that it is to end."""
    found = settings(documents)
    if found and found.lame_duck_ms < 1000:
        yield f"FANOUT_LAME_DUCK_MS={found.lame_duck_ms}: use 1000 at least, in which the nodes learn of it"
    for where, container in containers(documents):
        if "lifecycle" in container:
            yield f"{where}: use FANOUT_LAME_DUCK_MS in place of a preStop hook"


@rule
def probes_are_complete(documents: Documents) -> Iterator[str]:
    """A pod that is not ready must not be killed for it, so liveness never asks for readiness."""
    for where, container in containers(documents):
        for probe, path in PROBES.items():
            content = container.get(probe, {})
            if at(content, "httpGet.path") != path:
                yield f"{where}: {probe} asks {at(content, 'httpGet.path')}, not {path}"
            elif content.get("timeoutSeconds", 1) > content.get("periodSeconds", 10):
                yield f"{where}: {probe} begins again before it has timed out"


# --- rules about settings


@rule
def settings_are_valid(documents: Documents) -> Iterator[str]:
    """fanout's own reading of them. A name that is no setting would be ignored by the server."""
    try:
        yield from load(environment(documents), {}).warnings
    except SettingsError as error:
        yield str(error)
    known = {setting.variable for setting in SETTINGS}
    for name in environment(documents):
        if name.startswith("FANOUT_") and name not in known:
            yield f"{name} is not a setting"


@rule
def settings_are_in_the_config_map(documents: Documents) -> Iterator[str]:
    """Or the other rules would check other settings than those that count."""
    for where, container in containers(documents):
        stated = [each.get("name") for each in container.get("env", [])]
        if stated or container.get("args") or container.get("command"):
            yield f"{where}: move {stated or 'the arguments'} into the ConfigMap"
        if not any("configMapRef" in source for source in container.get("envFrom", [])):
            yield f"{where}: no ConfigMap in envFrom"


# --- rules about what a compromised pod or client can do


@rule
def pods_are_restricted(documents: Documents) -> Iterator[str]:
    """What Pod Security's "restricted" asks for, and a file system that cannot be written."""
    for where, pod in pods(documents):
        spec = at(pod, "spec", {})
        if at(spec, "securityContext.runAsNonRoot") is not True or at(spec, "securityContext.runAsUser") == 0:
            yield f"{where}: runAsNonRoot true, and no runAsUser 0"
        if at(spec, "securityContext.seccompProfile.type") not in ("RuntimeDefault", "Localhost"):
            yield f"{where}: seccompProfile.type RuntimeDefault"
        if any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC", "volumes")):
            yield f"{where}: nothing of the host, and no volumes: it needs none"
    for where, container in containers(documents):
        context = container.get("securityContext", {})
        if context.get("allowPrivilegeEscalation") is not False or context.get("privileged"):
            yield f"{where}: allowPrivilegeEscalation false, and not privileged"
        if at(context, "capabilities.drop") != ["ALL"] or at(context, "capabilities.add"):
            yield f"{where}: capabilities: drop ALL, add none"
        if context.get("readOnlyRootFilesystem") is not True:
            yield f"{where}: readOnlyRootFilesystem true"
        if any("hostPort" in port for port in container.get("ports", [])):
            yield f"{where}: no hostPort"
    for namespace in of_kind(documents, "Namespace"):
        if at(namespace, "metadata.labels", {}).get("pod-security.kubernetes.io/enforce") != "restricted":
            yield f"{name_of(namespace)}: pod-security.kubernetes.io/enforce: restricted"


@rule
def pods_get_nothing_they_do_not_use(documents: Documents) -> Iterator[str]:
    for where, pod in pods(documents):
        for key in ("automountServiceAccountToken", "enableServiceLinks"):
            if at(pod, f"spec.{key}") is not False:
                yield f"{where}: {key} false"


@rule
def images_are_pinned(documents: Documents) -> Iterator[str]:
    for where, container in containers(documents):
        image = str(container.get("image"))
        tag = image.rpartition("/")[2].partition(":")[2]
        if tag in ("", "latest"):
            yield f"{where}: {image} may be another one tomorrow: name its version or its digest"


def allowed_ports(policy: Document, direction: str) -> set[tuple[Any, str]]:
    return {
        (port.get("port"), port.get("protocol", "TCP"))
        for each in at(policy, f"spec.{direction}", [])
        for port in each.get("ports", [])
    }


@rule
def the_network_policy_lets_through_what_is_needed(documents: Documents) -> Iterator[str]:
    """Clients and scrapers in; to a name server and to each upstream out."""
    found = settings(documents)
    if not found:
        return
    listening = {bind.port for bind in (found.bind, *found.admin_binds)}
    urls = map(urlsplit, found.upstreams)
    ports = {url.port or {"http": 80, "https": 443}[url.scheme] for url in urls}
    for policy in of_kind(documents, "NetworkPolicy"):
        needed_out = {(53, "UDP"), (53, "TCP")} | {(port, "TCP") for port in ports}
        needed_in = {(name, "TCP") for name, number in port_numbers(documents).items() if number in listening}
        for direction, needed in (("ingress", needed_in), ("egress", needed_out)):
            if missing := needed - allowed_ports(policy, direction):
                yield f"{name_of(policy)}: no {direction} for {sorted(missing, key=str)}"


@rule
def the_network_policy_lets_nothing_else_through(documents: Documents) -> Iterator[str]:
    """Both directions, each with its peers and ports. The admin listener shows requests, so it is for few."""
    found = settings(documents)
    admins = [
        name for name, number in port_numbers(documents).items() if found and number == found.admin_bind.port
    ]
    admin = admins[0] if admins else None
    for policy in of_kind(documents, "NetworkPolicy"):
        if set(at(policy, "spec.policyTypes", [])) != {"Egress", "Ingress"}:
            yield f"{name_of(policy)}: policyTypes: a direction that is not named is open"
        for each in (*at(policy, "spec.ingress", []), *at(policy, "spec.egress", [])):
            peers = each.get("from") or each.get("to") or []
            if not peers or not each.get("ports"):
                yield f"{name_of(policy)}: {each} is open to every peer or every port"
            is_admin = any(port.get("port") == admin for port in each.get("ports", []))
            if is_admin and not all(at(peer, "podSelector.matchLabels") for peer in peers):
                yield f"{name_of(policy)}: the admin listener is for chosen pods, not for {peers}"
            for block in (peer["ipBlock"] for peer in peers if "ipBlock" in peer):
                if block["cidr"] == "0.0.0.0/0" and "169.254.0.0/16" not in block.get("except", []):
                    yield f"{name_of(policy)}: except 169.254.0.0/16, with a cloud's credentials"


# --- rules about PodMonitor, which no schema knows


SCRAPED: Final = yaml.safe_load((ROOT / "deploy/observability/prometheus.yml").read_text("utf-8"))
JOB: Final = SCRAPED["scrape_configs"][0]["job_name"]
MONITOR_FIELDS: Final = {"jobLabel", "podMetricsEndpoints", "selector"}
ENDPOINT_FIELDS: Final = {"interval", "path", "port", "scheme", "scrapeTimeout"}


def seconds(text: Any) -> float:
    """A duration as Prometheus writes it, of one unit; 0 if it is none."""
    found = re.fullmatch(r"([0-9]+)(ms|s|m)", str(text))
    return int(found[1]) * {"ms": 0.001, "s": 1.0, "m": 60.0}[found[2]] if found else 0.0


@rule
def pod_monitor_fields_are_known(documents: Documents) -> Iterator[str]:
    for monitor in of_kind(documents, "PodMonitor"):
        endpoints = at(monitor, "spec.podMetricsEndpoints", [])
        unknown = set(monitor["spec"]) - MONITOR_FIELDS
        unknown |= {key for endpoint in endpoints for key in endpoint if key not in ENDPOINT_FIELDS}
        if unknown or not endpoints:
            yield f"{name_of(monitor)}: unknown fields {sorted(unknown)}, {len(endpoints)} endpoints"
        for endpoint in endpoints:
            if not 0 < seconds(endpoint.get("scrapeTimeout")) <= seconds(endpoint.get("interval")):
                yield f"{name_of(monitor)}: use scrapeTimeout and interval such as 10s and 15s, in this order"


@rule
def metrics_fit_the_alerts(documents: Documents) -> Iterator[str]:
    """The alert rules ask for one job, by name, and for rates that need a short interval."""
    labels: list[Mapping[str, str]] = [at(pod, "metadata.labels", {}) for _, pod in pods(documents)]
    for monitor in of_kind(documents, "PodMonitor"):
        job = {label.get(at(monitor, "spec.jobLabel", "")) for label in labels}
        if job != {JOB}:
            yield f"{name_of(monitor)}: jobLabel makes the job {job}, and the alerts ask for {JOB!r}"
        for endpoint in at(monitor, "spec.podMetricsEndpoints", []):
            if endpoint.get("path", "/metrics") != "/metrics":
                yield f"{name_of(monitor)}: metrics are at /metrics"
            if seconds(endpoint.get("interval")) > seconds(SCRAPED["global"]["scrape_interval"]):
                yield f"{name_of(monitor)}: the rates in the alerts need a shorter interval"
