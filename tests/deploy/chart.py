"""Renders the chart with Helm itself and reads the objects. Needs no cluster; it never changes the chart."""

from pathlib import Path
from typing import Any

import helm_python as helm
import yaml

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
CHART = DEPLOY / "helm" / "holdfast"

WORKER: dict[str, Any] = {
    "enabled": True,
    "image": {"repository": "registry.example:5000/shop", "tag": "1.4"},
    "modules": ["examples.order_fulfilment.flows"],
}

EVERYTHING: dict[str, Any] = {
    "imagePullSecrets": [{"name": "registry"}],
    "database": {"secretName": "123", "secretKey": "database.url"},
    "coordinator": {
        "replicas": 3,
        "image": {"repository": "registry.example/holdfast-server", "tag": "0.1.0-r1", "pullPolicy": "Always"},
        "host": "::",
        "port": 7500,
        "namespaces": ["billing", "yes", "a: b # c"],
        "sessionTtl": "1.5m",
        "logLevel": "debug",
        "logJson": False,
        "env": [
            {"name": "HOLDFAST_POLL_WAIT", "value": "20s"},
            {"name": "OTEL_EXPORTER_OTLP_HEADERS", "valueFrom": {"secretKeyRef": {"name": "otlp", "key": "headers"}}},
        ],
        "resources": {"requests": {"cpu": 1, "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "2Gi"}},
        "drainSeconds": 20,
        "terminationGraceSeconds": 45,
        "podAnnotations": {"example.com/team": "platform"},
        "podLabels": {"team": "platform"},
        "nodeSelector": {"kubernetes.io/arch": "amd64"},
        "tolerations": [{"key": "dedicated", "operator": "Equal", "value": "holdfast", "effect": "NoSchedule"}],
        "affinity": {
            "podAntiAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [
                    {
                        "topologyKey": "topology.kubernetes.io/zone",
                        "labelSelector": {"matchLabels": {"app.kubernetes.io/component": "coordinator"}},
                    }
                ]
            }
        },
    },
    "migrations": {"retries": 1, "deadlineSeconds": 60, "resources": {"limits": {"memory": "256Mi"}}},
    "worker": {
        **WORKER,
        "replicas": 5,
        "modules": ["shop.flows", "shop.more:app"],
        "namespace": "billing",
        "queue": "on",
        "concurrency": 7,
        "build": "1e3",
        "healthPort": 7600,
        "env": [{"name": "SHOP_TOKEN", "valueFrom": {"secretKeyRef": {"name": "shop", "key": "token"}}}],
        "tmpSize": "1Gi",
        "resources": {"requests": {"cpu": "500m"}},
        "terminationGraceSeconds": 90,
        "runAsUser": 2_000_000,
        "runAsGroup": 2_000_000,
        "serviceAccountName": "shop",
        "podAnnotations": {"example.com/team": "shop"},
        "podLabels": {"team": "shop"},
        "nodeSelector": {"pool": "shop"},
        "tolerations": [{"operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
    },
    "telemetry": {
        "metrics": {"port": 9500, "scrapeAnnotations": True},
        "otlp": {"endpoint": "http://collector.observability.svc:4317", "pushMetrics": True},
        "sampling": {"ratio": 0.01},
    },
    "jaeger": {"enabled": True, "image": {"tag": "2.19.0"}, "resources": {"limits": {"memory": "2Gi"}}},
}
"""Every value of the chart, most of them other than the default."""


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key that is written twice, which YAML parsers pass over and the API server does not."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"a key is there twice: {keys}"
        return super().construct_mapping(node, deep)


def render(values: dict[str, Any] | None = None, *, name: str = "shop") -> dict[str, str]:
    """The text of each template, by its file name, as an install into the namespace `prod` makes it."""
    with helm.Chart.load(CHART) as chart:
        rendered = chart.render(values=values or {}, name=name, namespace="prod", is_install=True)
    return {path.rpartition("/")[2]: text for path, text in rendered.items()}


def objects(values: dict[str, Any] | None = None, *, name: str = "shop") -> dict[str, dict[str, Any]]:
    """The Kubernetes objects, by the name of the file they come from; a file holds one or none."""
    found = {}
    for file, text in render(values, name=name).items():
        if file.endswith(".yaml"):
            documents = [one for one in yaml.load_all(text, _StrictLoader) if one is not None]
            assert len(documents) <= 1, f"{file} holds {len(documents)} objects"
            if documents:
                found[file] = documents[0]
    return found


def pods(values: dict[str, Any] | None = None) -> dict[str, dict[str, Any]]:
    """The pod spec of every object that has one, by the file it comes from."""
    return {
        file: one["spec"]["template"]["spec"]
        for file, one in objects(values).items()
        if one["kind"] in ("Deployment", "Job")
    }


def container(pod: dict[str, Any]) -> dict[str, Any]:
    """The only container of a pod."""
    (only,) = pod["containers"]
    return dict(only)


def default_values() -> dict[str, Any]:
    """values.yaml."""
    values: dict[str, Any] = yaml.load((CHART / "values.yaml").read_text("utf-8"), _StrictLoader)
    return values
