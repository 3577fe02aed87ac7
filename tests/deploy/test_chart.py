"""What the chart renders to, with a real Helm: valid objects, hardened pods, no secrets."""

import itertools
import json
import re
import tomllib
from collections.abc import Iterator
from typing import Any

import helm_python as helm
import kubernetes_validate
import pytest
import yaml

from . import chart

KUBERNETES = ("1.27", "1.37")
"""The oldest that Chart.yaml allows, and the newest whose schemas there are."""

VALUES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "a worker": {"worker": chart.WORKER},
    "everything": chart.EVERYTHING,
    "Jaeger": {"jaeger": {"enabled": True}},
    "only workers": {
        "coordinator": {"enabled": False},
        "worker": {**chart.WORKER, "coordinatorAddress": "holdfast-coordinator.other.svc:7410", "healthPort": 0},
    },
}

values_of_all_kinds = pytest.mark.parametrize("values", VALUES.values(), ids=VALUES.keys())


@pytest.mark.parametrize("version", KUBERNETES)
@values_of_all_kinds
def test_every_object_is_valid_for_kubernetes(values: dict[str, Any], version: str) -> None:
    for one in chart.objects(values).values():
        kubernetes_validate.validate(one, version, strict=True)


def test_the_validation_is_strict() -> None:
    deployment = chart.objects()["coordinator-deployment.yaml"]
    deployment["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="livenesProbe"):
        kubernetes_validate.validate(deployment, KUBERNETES[0], strict=True)


@values_of_all_kinds
def test_helm_has_nothing_to_warn_of(values: dict[str, Any]) -> None:
    report = helm.lint(chart.CHART, values, strict=True)
    assert report["errors"] == []
    assert [message for message in report["messages"] if message["severity"] > 1] == []


def test_each_object_has_a_file_of_its_own_named_for_component_and_kind() -> None:
    rendered = chart.objects(chart.EVERYTHING)
    assert set(rendered) == {path.name for path in (chart.CHART / "templates").glob("*.yaml")}
    for file, one in rendered.items():
        component = one["metadata"]["labels"]["app.kubernetes.io/component"]
        assert file == f"{component}-{one['kind'].lower()}.yaml"


@pytest.mark.parametrize(
    ("values", "kinds"),
    [
        ("defaults", {"coordinator-deployment", "coordinator-service", "migrations-job"}),
        ("only workers", {"worker-deployment"}),
    ],
)
def test_what_is_off_is_not_rendered(values: str, kinds: set[str]) -> None:
    assert set(chart.objects(VALUES[values])) == {f"{kind}.yaml" for kind in kinds}


@values_of_all_kinds
def test_every_pod_is_hardened(values: dict[str, Any]) -> None:
    for file, pod in chart.pods(values).items():
        assert pod["automountServiceAccountToken"] is False, file
        assert pod["enableServiceLinks"] is False, file
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] > 0
        assert security["runAsGroup"] > 0
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert chart.container(pod)["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        for volume in pod.get("volumes", ()):
            assert volume["emptyDir"]["sizeLimit"], "the only writable places are bounded"
        assert chart.container(pod)["resources"], file


@values_of_all_kinds
def test_the_database_is_named_by_an_existing_secret_only(values: dict[str, Any]) -> None:
    assert "Secret" not in {one["kind"] for one in chart.objects(values).values()}
    names = {**chart.default_values()["database"], **values.get("database", {})}
    for file, pod in chart.pods(values).items():
        variables = {one["name"]: one for one in chart.container(pod).get("env", ())}
        if file.startswith(("coordinator", "migrations")):
            reference = variables["HOLDFAST_DATABASE_URL"]["valueFrom"]["secretKeyRef"]
            assert reference == {"name": names["secretName"], "key": names["secretKey"]}
        else:
            assert "HOLDFAST_DATABASE_URL" not in variables


def test_migrations_run_before_the_new_coordinators() -> None:
    job = chart.objects()["migrations-job.yaml"]
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert chart.container(chart.pods()["migrations-job.yaml"])["args"] == ["migrate"]


def test_an_old_coordinator_serves_on_until_everybody_can_have_heard_of_the_new_one() -> None:
    spec = chart.objects({"coordinator": {"drainSeconds": 15}})["coordinator-deployment.yaml"]["spec"]
    pod = spec["template"]["spec"]
    assert spec["minReadySeconds"] == 15
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert "--drain=15s" in pod["containers"][0]["args"]
    assert pod["terminationGracePeriodSeconds"] >= 15 + 10


def test_a_drain_that_would_be_cut_off_is_refused() -> None:
    with pytest.raises(Exception, match=r"terminationGraceSeconds is 30; it must be at least .* which is 70"):
        chart.objects({"coordinator": {"drainSeconds": 60}})


def test_coordinators_listen_beyond_loopback_and_are_probed_where_they_listen() -> None:
    for values in ({}, chart.EVERYTHING):
        found = chart.container(chart.pods(values)["coordinator-deployment.yaml"])
        assert ("--host=::" if values else "--host=0.0.0.0") in found["args"]
        port = chart.EVERYTHING["coordinator"]["port"] if values else 7410
        assert f"--port={port}" in found["args"]
        assert found["ports"][0] == {"name": "grpc", "containerPort": port}
        assert found["startupProbe"]["grpc"] == found["readinessProbe"]["grpc"] == {"port": port}
        assert f"localhost:{port}" in found["livenessProbe"]["exec"]["command"]
        assert chart.objects(values)["coordinator-service.yaml"]["spec"]["ports"][0]["port"] == port


def test_workers_are_pointed_at_the_service_of_the_release() -> None:
    worker = chart.container(chart.pods({"worker": chart.WORKER})["worker-deployment.yaml"])
    service = chart.objects()["coordinator-service.yaml"]["metadata"]
    assert f"--address={service['name']}.{service['namespace']}.svc:7410" in worker["args"]
    elsewhere = chart.container(chart.pods(VALUES["only workers"])["worker-deployment.yaml"])
    assert "--address=holdfast-coordinator.other.svc:7410" in elsewhere["args"]
    assert not {"readinessProbe", "livenessProbe", "startupProbe", "ports"} & elsewhere.keys()


def test_texts_of_users_stay_texts_in_arguments() -> None:
    pods = chart.pods(chart.EVERYTHING)
    arguments = chart.container(pods["coordinator-deployment.yaml"])["args"]
    assert arguments[-3:] == ["--namespace=billing", "--namespace=yes", "--namespace=a: b # c"]
    assert {"--queue=on", "--build=1e3"} <= set(chart.container(pods["worker-deployment.yaml"])["args"])


@pytest.mark.parametrize(
    ("values", "endpoint", "ratio"),
    [
        ({}, None, None),
        ({"jaeger": {"enabled": True}}, "http://shop-holdfast-jaeger.prod.svc:4317", "1"),
        (chart.EVERYTHING, "http://collector.observability.svc:4317", "0.01"),
    ],
    ids=["none", "Jaeger of the release", "a collector"],
)
def test_telemetry_is_set_by_the_standard_variables(
    values: dict[str, Any], endpoint: str | None, ratio: str | None
) -> None:
    for file, pod in chart.pods({**values, "worker": chart.WORKER}).items():
        if file.startswith(("coordinator", "worker")):
            variables = {one["name"]: one.get("value") for one in chart.container(pod)["env"]}
            assert variables.get("OTEL_EXPORTER_OTLP_ENDPOINT") == endpoint
            assert variables.get("OTEL_TRACES_SAMPLER_ARG") == ratio
            assert ("OTEL_TRACES_SAMPLER" in variables) == (endpoint is not None)


@pytest.mark.parametrize(
    ("values", "exporter"),
    [
        ({}, None),
        ({"jaeger": {"enabled": True}}, "none"),
        ({"telemetry": {"otlp": {"endpoint": "http://collector.svc:4317"}}}, "none"),
        ({"telemetry": {"otlp": {"endpoint": "http://collector.svc:4317", "pushMetrics": True}}}, None),
    ],
    ids=["no collector", "Jaeger", "a collector of traces", "a collector of both"],
)
def test_metrics_are_pushed_only_to_a_collector_that_is_said_to_take_them(
    values: dict[str, Any], exporter: str | None
) -> None:
    pods = chart.pods({**values, "worker": chart.WORKER})
    variables = {
        file: {one["name"]: one.get("value") for one in chart.container(pod)["env"]} for file, pod in pods.items()
    }
    assert variables["coordinator-deployment.yaml"].get("OTEL_METRICS_EXPORTER") == exporter
    assert "OTEL_METRICS_EXPORTER" not in variables["worker-deployment.yaml"], "what users measure is theirs"


@pytest.mark.parametrize(("values", "port"), [({}, 7412), (chart.EVERYTHING, 9500)], ids=["defaults", "everything"])
def test_metrics_are_served_where_service_and_annotations_say(values: dict[str, Any], port: int) -> None:
    rendered = chart.objects(values)
    found = chart.container(chart.pods(values)["coordinator-deployment.yaml"])
    assert f"--metrics-port={port}" in found["args"]
    assert {"name": "metrics", "containerPort": port} in found["ports"]
    ports = {one["name"]: one for one in rendered["coordinator-service.yaml"]["spec"]["ports"]}
    assert (ports["metrics"]["port"], ports["metrics"]["targetPort"]) == (port, "metrics")
    annotations = rendered["coordinator-deployment.yaml"]["spec"]["template"]["metadata"]["annotations"]
    own = values.get("coordinator", {}).get("podAnnotations", {})
    assert annotations == {
        "prometheus.io/scrape": "true", "prometheus.io/port": str(port), "prometheus.io/path": "/metrics", **own,
    }  # fmt: skip


def test_without_a_port_for_metrics_there_is_no_trace_of_them() -> None:
    values = {"telemetry": {"metrics": {"port": 0}}}
    for file, text in chart.render(values).items():
        assert "metrics" not in text, file
        assert "prometheus" not in text, file


def test_annotations_of_the_values_win_over_those_for_prometheus() -> None:
    values = {"coordinator": {"podAnnotations": {"prometheus.io/scrape": "false", "team": "a"}}}
    pod = chart.objects(values)["coordinator-deployment.yaml"]["spec"]["template"]["metadata"]
    assert pod["annotations"]["prometheus.io/scrape"] == "false"
    assert pod["annotations"]["team"] == "a"
    off = chart.objects({"telemetry": {"metrics": {"scrapeAnnotations": False}}})["coordinator-deployment.yaml"]
    assert "annotations" not in off["spec"]["template"]["metadata"]


@pytest.mark.parametrize("name", ["a", "holdfast", "my.release", "r" * 53])
def test_names_fit_whatever_the_release_is_called(name: str) -> None:
    for one in chart.objects(chart.EVERYTHING, name=name).values():
        assert re.fullmatch(r"[a-z][a-z0-9-]{0,61}[a-z0-9]", one["metadata"]["name"])


def test_selectors_match_their_own_pods_and_no_others() -> None:
    rendered = chart.objects(chart.EVERYTHING)
    labels = {
        file: one["spec"]["template"]["metadata"]["labels"].items()
        for file, one in rendered.items()
        if "template" in one["spec"]
    }
    for file, one in rendered.items():
        selector = one["spec"].get("selector")
        if selector is not None:
            wanted = selector.get("matchLabels", selector).items()
            assert {other for other, has in labels.items() if wanted <= has} == {
                f"{file.split('-')[0]}-deployment.yaml"
            }


@values_of_all_kinds
def test_the_notes_say_how_to_reach_what_was_installed(values: dict[str, Any]) -> None:
    notes = chart.render(values)["NOTES.txt"]
    services = {name for name, one in chart.objects(values).items() if one["kind"] == "Service"}
    assert len(re.findall(r"port-forward service/", notes)) == len(services)
    assert ("NO AUTHENTICATION" in notes) == ("coordinator-service.yaml" in services)


def test_the_chart_runs_the_version_of_this_repository() -> None:
    metadata = yaml.safe_load((chart.CHART / "Chart.yaml").read_text("utf-8"))
    project = tomllib.loads((chart.DEPLOY.parent / "pyproject.toml").read_text("utf-8"))["project"]
    assert metadata["appVersion"] == project["version"]


# Values


def test_every_value_has_a_sentence_and_a_place_in_the_schema() -> None:
    schema = json.loads((chart.CHART / "values.schema.json").read_text("utf-8"))
    in_schema = {path for path, _ in _leaves_of_schema(schema)}
    assert set(_leaves(chart.default_values(), in_schema)) == in_schema - {"global"}
    lines = (chart.CHART / "values.yaml").read_text("utf-8").splitlines()
    names = {path.rpartition(".")[2] for path in in_schema}
    for before, line in itertools.pairwise(lines):
        match = re.match(r"\s*([A-Za-z]+):", line)
        if match and match[1] in names and not before.strip().startswith(("requests", "limits")):
            assert re.match(r"\s*# -- [A-Z].*\.$", before), f"no sentence before {line!r}"
    assert sum("# -- " in line for line in lines) == len(in_schema) - 1


def test_every_object_of_the_schema_rejects_unknown_keys() -> None:
    schema = json.loads((chart.CHART / "values.schema.json").read_text("utf-8"))
    for path, one in _objects_of_schema(schema):
        assert one.get("additionalProperties") is False, path


BAD: dict[str, dict[str, Any]] = {
    "an unknown key": {"coordinators": {}},
    "an unknown key of a component": {"coordinator": {"replicaCount": 2}},
    "an unknown key of an image": {"coordinator": {"image": {"name": "x"}}},
    "a database URL as a value": {"database": {"url": "postgresql://u:p@h/d"}},
    "no name of a Secret": {"database": {"secretName": ""}},
    "a text for a number": {"coordinator": {"replicas": "2"}},
    "a fraction of a pod": {"coordinator": {"replicas": 1.5}},
    "fewer than no pods": {"worker": {"replicas": -1}},
    "a port that is none": {"coordinator": {"port": 70_000}},
    "port 0": {"coordinator": {"port": 0}},
    "a host with a port": {"coordinator": {"host": "example.com:1"}},
    "a duration without unit": {"coordinator": {"sessionTtl": "10"}},
    "a duration as a number": {"coordinator": {"sessionTtl": 10}},
    "an unknown log level": {"coordinator": {"logLevel": "trace"}},
    "a text for a boolean": {"coordinator": {"logJson": "false"}},
    "a text for a list": {"coordinator": {"namespaces": "billing"}},
    "a namespace twice": {"coordinator": {"namespaces": ["a", "a"]}},
    "an empty namespace": {"coordinator": {"namespaces": [""]}},
    "an unknown pull policy": {"coordinator": {"image": {"pullPolicy": "always"}}},
    "a tag in the repository": {"coordinator": {"image": {"repository": "holdfast:1"}}},
    "variables as a map": {"coordinator": {"env": {"A": "b"}}},
    "a variable without value": {"coordinator": {"env": [{"name": "A"}]}},
    "a variable with two values": {
        "coordinator": {"env": [{"name": "A", "value": "b", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}]}
    },
    "a number as a variable": {"coordinator": {"env": [{"name": "A", "value": 1}]}},
    "a malformed quantity": {"coordinator": {"resources": {"limits": {"memory": "1 GB"}}}},
    "an unknown key of resources": {"worker": {"resources": {"limit": {}}}},
    "a label that selects": {"coordinator": {"podLabels": {"app.kubernetes.io/name": "other"}}},
    "an annotation that is no text": {"coordinator": {"podAnnotations": {"a": 1}}},
    "an unknown key of a toleration": {"worker": {"tolerations": [{"keys": "a"}]}},
    "an unknown affinity": {"worker": {"affinity": {"nodeSelector": {}}}},
    "a pull secret as a text": {"imagePullSecrets": ["registry"]},
    "no time for migrations": {"migrations": {"deadlineSeconds": 0}},
    "a worker without image": {"worker": {"enabled": True, "modules": ["shop"]}},
    "a worker without tag": {"worker": {**chart.WORKER, "image": {"repository": "shop"}}},
    "a worker without modules": {"worker": {**chart.WORKER, "modules": []}},
    "a module that is a path": {"worker": {**chart.WORKER, "modules": ["shop/flows.py"]}},
    "a worker without coordinator": {"coordinator": {"enabled": False}, "worker": chart.WORKER},
    "an address without port": {"worker": {"coordinatorAddress": "holdfast"}},
    "an address with a scheme": {"worker": {"coordinatorAddress": "http://holdfast:7410"}},
    "no attempts at once": {"worker": {"concurrency": 0}},
    "root": {"worker": {"runAsUser": 0}},
    "an endpoint without scheme": {"telemetry": {"otlp": {"endpoint": "jaeger:4317"}}},
    "the older name of the endpoint": {"telemetry": {"otlpEndpoint": "http://jaeger:4317"}},
    "a port for metrics that is none": {"telemetry": {"metrics": {"port": 65_536}}},
    "a text for the port of metrics": {"telemetry": {"metrics": {"port": "7412"}}},
    "a ratio above 1": {"telemetry": {"sampling": {"ratio": 1.1}}},
    "a ratio as a text": {"telemetry": {"sampling": {"ratio": "0.1"}}},
    "Jaeger without tag": {"jaeger": {"image": {"tag": ""}}},
    "Jaeger as a boolean": {"jaeger": True},
}


@pytest.mark.parametrize("values", BAD.values(), ids=BAD.keys())
def test_the_schema_rejects(values: dict[str, Any]) -> None:
    with pytest.raises(helm.HelmValuesError):
        chart.render(values)


def test_a_rejection_names_the_key() -> None:
    with helm.Chart.load(chart.CHART) as loaded, pytest.raises(helm.HelmValuesError, match="replicaCount"):
        loaded.validate_schema({"coordinator": {"replicaCount": 2}})


def _leaves(values: dict[str, Any], stop: set[str], prefix: str = "") -> Iterator[str]:
    """The paths of values: down to what the schema takes for one value."""
    for key, value in values.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict) and path not in stop:
            yield from _leaves(value, stop, f"{path}.")
        else:
            yield path


def _leaves_of_schema(schema: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """What the schema takes for one value: all but objects whose keys are written in place."""
    for key, one in schema["properties"].items():
        if "properties" in one:
            yield from _leaves_of_schema(one, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", one


def _objects_of_schema(schema: dict[str, Any], path: str = "values") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object with keys of its own; conditions (if, then) only add to one that is listed."""
    if schema.get("type") == "object" and "properties" in schema:
        yield path, schema
    for key in ("properties", "$defs"):
        for name, one in schema.get(key, {}).items():
            yield from _objects_of_schema(one, f"{path}.{name}")
