"""Mistakes in our Kubernetes objects, each in a copy of the rendered documents, and the rule that notices it.

A mutant is one change: another value, or none, at a path, which is words with spaces between.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Final

from tests.deploy.kubernetes.documents import Documents

ABSENT: Final = object()


@dataclass(frozen=True, slots=True)
class Mutant:
    """rule: the only rule that notices it. path: a kind, and keys and indexes from there on.

    ` and ` in the path is before a second place with the same value. A kind alone is the whole object.
    """

    rule: str
    path: str
    value: Any

    def __str__(self) -> str:
        kind, *keys = self.path.split()
        return f"{kind} {'.'.join(keys[-3:])}: {'left out' if self.value is ABSENT else repr(self.value)}"

    def of(self, documents: Documents) -> Documents:
        """A copy of the documents with the mistake. Raises `LookupError` if it changes nothing."""
        mistaken = deepcopy(documents)
        for path in self.path.split(" and "):
            kind, *keys = path.split()
            document = next(each for each in mistaken if each["kind"] == kind)
            if keys:
                self._change(document, keys)
            else:
                mistaken.remove(document)
        if mistaken == documents:
            raise LookupError(f"the documents say already: {self}")
        return mistaken

    def _change(self, place: Any, keys: list[str]) -> None:
        key: Any = int(keys[0]) if isinstance(place, list) else keys[0]
        if keys[1:]:
            self._change(place[key], keys[1:])
        elif self.value is ABSENT:
            del place[key]
        elif key == len(place):
            place.append(self.value)
        else:
            place[key] = self.value


POD: Final = "Deployment spec template spec"
CONTAINER: Final = f"{POD} containers 0"
ENDPOINT: Final = "PodMonitor spec podMetricsEndpoints 0"
POLICY: Final = "NetworkPolicy spec"
SCALER: Final = "HorizontalPodAutoscaler spec"
NAME: Final = "app.kubernetes.io/name"

LABELS: Final = "Deployment spec template metadata labels"

# By rule, the places and what stands there.
_CHANGES: Final[dict[str, list[tuple[str, Any]]]] = {
    "kinds_and_versions_are_known": [
        ("Deployment apiVersion", "apps/v1beta2"),
        ("HorizontalPodAutoscaler apiVersion", "autoscaling/v2beta2"),
        ("PodMonitor apiVersion", "monitoring.coreos.com/v1beta1"),
        ("PodMonitor kind", "PodMonitr"),
    ],
    "no_object_is_missing": [
        ("HorizontalPodAutoscaler", ABSENT),
        ("NetworkPolicy", ABSENT),
        ("PodDisruptionBudget", ABSENT),
        ("Service", ABSENT),
    ],
    "names_are_valid": [
        ("Service metadata name", "1fanout"),
        ("PodDisruptionBudget metadata name", "fanout_budget"),
        (f"{CONTAINER} name", "Fanout"),
        (f"{CONTAINER} ports 2", {"name": "more-than-15-characters", "containerPort": 8082}),
        (f"{LABELS} version", "-1.0"),
        ("Service metadata labels part/of/fanout", "yes"),
    ],
    "all_are_in_one_namespace": [
        ("Service metadata namespace", "default"),
        ("Namespace metadata name", "fan-out"),
    ],
    "words_are_known": [
        ("Deployment spec strategy type", "Rolling"),
        (f"{CONTAINER} imagePullPolicy", "IfNotPressent"),
        (f"{CONTAINER} ports 0 protocol", "HTTP"),
        (f"{POD} topologySpreadConstraints 0 whenUnsatisfiable", "ScheduleAlways"),
        ("PodDisruptionBudget spec unhealthyPodEvictionPolicy", "Always"),
        ("Service spec type", "ClusterIp"),
        ("Service spec ports 0 protocol", "tcp"),
        (f"{SCALER} metrics 0 resource target type", "Utilisation"),
        (f"{POLICY} ingress 0 ports 1", {"port": "http", "protocol": "HTTP"}),
    ],
    "selectors_match_labels": [
        (f"Service spec selector {NAME}", "fan-out"),
        (f"Deployment spec selector matchLabels {NAME}", "fan-out"),
        (f"PodDisruptionBudget spec selector matchLabels {NAME}", "fan-out"),
        (f"{POLICY} podSelector matchLabels version", "2"),
        (f"PodMonitor spec selector matchLabels {NAME}", "fan-out"),
        (f"{POD} topologySpreadConstraints 1 labelSelector matchLabels {NAME}", "fan-out"),
        ("Service spec selector", ABSENT),
    ],
    "references_exist": [
        (f"{SCALER} scaleTargetRef name", "fan-out"),
        (f"{SCALER} scaleTargetRef kind", "StatefulSet"),
        (f"{SCALER} scaleTargetRef apiVersion", "apps/v1beta2"),
        (f"{CONTAINER} envFrom 0 configMapRef name", "fanout"),
        (f"{CONTAINER} envFrom 1", {"secretRef": {"name": "fanout-upstream"}}),
    ],
    "ports_are_referred_to_by_names_that_exist": [
        ("Service spec ports 0 targetPort", "web"),
        ("Service spec ports 0 targetPort", 8080),
        (f"{CONTAINER} readinessProbe httpGet port", "health"),
        (f"{POLICY} ingress 0 ports 1", {"port": "https"}),
        (f"{ENDPOINT} port", "metrics"),
    ],
    "each_listener_has_its_port": [
        (f"{CONTAINER} ports 0 containerPort", 8000),
        ("ConfigMap data FANOUT_ADMIN_BIND", "0.0.0.0:9081"),
        ("ConfigMap data FANOUT_ADMIN_BIND", "127.0.0.1:8081"),
        ("ConfigMap data FANOUT_WORKERS", "2"),
    ],
    "clients_and_operators_have_their_own_port": [
        ("Service spec ports 0 targetPort", "admin"),
        (f"{CONTAINER} livenessProbe httpGet port", "http"),
        (f"{ENDPOINT} port", "http"),
    ],
    "quantities_are_sane": [
        (f"{CONTAINER} resources limits memory", "256m"),
        (f"{CONTAINER} resources requests memory", "128MB"),
        (f"{CONTAINER} resources requests cpu", "1Gi"),
        (f"{CONTAINER} resources requests cpus", "1"),
    ],
    "requests_are_within_limits": [(f"{CONTAINER} resources limits memory", "100Mi")],
    "memory_is_limited_and_cpu_is_not": [
        (f"{CONTAINER} resources limits memory", ABSENT),
        (f"{CONTAINER} resources limits cpu", "1"),
        (f"{CONTAINER} resources requests cpu", ABSENT),
        (f"{CONTAINER} resources", ABSENT),
    ],
    "memory_is_enough_for_all_in_flight": [
        ("ConfigMap data FANOUT_MAX_IN_FLIGHT", "20000"),
        (f"{CONTAINER} resources requests memory", "64Mi"),
    ],
    "minimum_is_at_most_maximum": [
        (f"{SCALER} minReplicas", 11),
        (f"{SCALER} minReplicas", ABSENT),
    ],
    "one_object_owns_the_number_of_replicas": [("Deployment spec replicas", 3)],
    "replicas_follow_cpu": [
        (f"{SCALER} metrics 0 resource name", "memory"),
        (f"{SCALER} metrics 0 resource target averageUtilization", 100),
        (
            f"{SCALER} metrics 0",
            {"type": "Pods", "pods": {"metric": {"name": "fanout_requests_in_flight"}}},
        ),
    ],
    "pods_are_spread": [
        (f"{POD} topologySpreadConstraints", ABSENT),
        (f"{POD} topologySpreadConstraints 1 topologyKey", "kubernetes.io/os"),
    ],
    "a_rollout_takes_no_capacity_away": [
        ("Deployment spec strategy", ABSENT),
        ("Deployment spec strategy rollingUpdate maxUnavailable", "25%"),
        ("Deployment spec strategy rollingUpdate maxSurge", 0),
    ],
    "a_changed_setting_rolls_out": [
        (f"ConfigMap metadata name and {CONTAINER} envFrom 0 configMapRef name", "fanout"),
    ],
    "evictions_are_possible_one_by_one": [
        ("PodDisruptionBudget spec maxUnavailable", 0),
        ("PodDisruptionBudget spec minAvailable", 3),
    ],
    "a_pod_may_finish_its_requests": [
        (f"{POD} terminationGracePeriodSeconds", 38),
        (f"{POD} terminationGracePeriodSeconds", ABSENT),
        ("ConfigMap data FANOUT_LAME_DUCK_MS", "8000"),
        ("ConfigMap data FANOUT_MAX_TIMEOUT_MS", "60000"),
    ],
    "a_pod_says_that_it_is_leaving": [
        ("ConfigMap data FANOUT_LAME_DUCK_MS", ABSENT),
        (f"{CONTAINER} lifecycle", {"preStop": {"sleep": {"seconds": 5}}}),
    ],
    "probes_are_complete": [
        (f"{CONTAINER} startupProbe", ABSENT),
        (f"{CONTAINER} readinessProbe httpGet path", "/ready"),
        (f"{CONTAINER} livenessProbe httpGet path", "/readyz"),
        (f"{CONTAINER} livenessProbe timeoutSeconds", 15),
    ],
    "settings_are_valid": [
        ("ConfigMap data FANOUT_MAX_IN_FLIGHT", "many"),
        ("ConfigMap data FANOUT_UPSTREAMS", "work-a:9000"),
        ("ConfigMap data FANOUT_DEFAULT_TIMEOUT_MS", "40000"),
        ("ConfigMap data FANOUT_RETRIES", "2"),
        ("ConfigMap data FANOUT_MAX_INFLIGHT", "100"),
        ("ConfigMap data FANOUT_MAX_PASS_MS", "5"),
    ],
    "settings_are_in_the_config_map": [
        (f"{CONTAINER} env", [{"name": "FANOUT_MAX_TIMEOUT_MS", "value": "60000"}]),
        (f"{CONTAINER} args", ["serve", "--max-timeout-ms", "60000"]),
        (f"{CONTAINER} envFrom", ABSENT),
    ],
    "pods_are_restricted": [
        (f"{POD} securityContext runAsNonRoot", ABSENT),
        (f"{POD} securityContext runAsUser", 0),
        (f"{POD} securityContext seccompProfile type", "Unconfined"),
        (f"{POD} hostNetwork", True),
        (f"{POD} volumes", [{"name": "disk", "hostPath": {"path": "/"}}]),
        (f"{CONTAINER} securityContext allowPrivilegeEscalation", ABSENT),
        (f"{CONTAINER} securityContext privileged", True),
        (f"{CONTAINER} securityContext capabilities", ABSENT),
        (f"{CONTAINER} securityContext capabilities add", ["NET_ADMIN"]),
        (f"{CONTAINER} securityContext readOnlyRootFilesystem", False),
        (f"{CONTAINER} ports 0 hostPort", 8080),
        ("Namespace metadata labels pod-security.kubernetes.io/enforce", "baseline"),
    ],
    "pods_get_nothing_they_do_not_use": [
        (f"{POD} automountServiceAccountToken", ABSENT),
        (f"{POD} enableServiceLinks", True),
    ],
    "images_are_pinned": [
        (f"{CONTAINER} image", "registry.example/fanout:latest"),
        (f"{CONTAINER} image", "registry.example:5000/fanout"),
    ],
    "the_network_policy_lets_through_what_is_needed": [
        (f"{POLICY} egress 0", ABSENT),
        (f"{POLICY} egress 0 ports 0 port", 5353),
        (f"{POLICY} egress 1 ports 0 port", 443),
        (f"{POLICY} ingress 1", ABSENT),
        ("ConfigMap data FANOUT_UPSTREAMS", "https://work.example/api/work"),
    ],
    "the_network_policy_lets_nothing_else_through": [
        (f"{POLICY} policyTypes", ["Ingress"]),
        (f"{POLICY} egress 1 to", ABSENT),
        (f"{POLICY} egress 2", {}),
        (f"{POLICY} egress 2", {"to": [{"podSelector": {}}]}),
        (f"{POLICY} ingress 1 from 0 podSelector", ABSENT),
        (f"{POLICY} egress 1 to 0", {"ipBlock": {"cidr": "0.0.0.0/0"}}),
    ],
    "pod_monitor_fields_are_known": [
        ("PodMonitor spec endpoints", [{"port": "admin"}]),
        ("PodMonitor spec podMetricsEndpoints", ABSENT),
        (f"{ENDPOINT} targetport", 8081),
        (f"{ENDPOINT} scrapeTimeout", "20s"),
        (f"{ENDPOINT} interval", "15"),
    ],
    "metrics_fit_the_alerts": [
        ("PodMonitor spec jobLabel", ABSENT),
        ("PodMonitor spec jobLabel", "app"),
        (f"{ENDPOINT} path", "/statistics"),
        (f"{ENDPOINT} interval", "60s"),
    ],
}

MUTANTS: Final = [Mutant(rule, *change) for rule, changes in _CHANGES.items() for change in changes]

# What our rules leave to the schemas of Kubernetes, which are strict: each is noticed in every version.
LEFT_TO_SCHEMAS: Final = [
    Mutant("", f"{POD} restartPolcy", "Always"),
    Mutant("", "Service spec ports 0 targetport", "http"),
    Mutant("", f"{SCALER} maxReplicas", "10"),
    Mutant("", f"{CONTAINER} ports 0 containerPort", "8080"),
    Mutant("", "ConfigMap data FANOUT_MAX_TIMEOUT_MS", 30000),
]
