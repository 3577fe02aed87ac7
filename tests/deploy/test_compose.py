"""What deploy/compose.yaml promises: it fits the Dockerfile, opens loopback only, and holds no secret."""

import os
import re

import pytest

from . import compose
from .chart import DEPLOY
from .dockerfile import read_stages

STAGES = read_stages()
SERVICES = compose.services()
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
KEYS = {
    "build", "cap_drop", "command", "depends_on", "environment", "healthcheck", "image", "init", "ports", "read_only",
    "restart", "security_opt", "stop_grace_period", "tmpfs", "volumes",
}  # fmt: skip
"""The keys of a service that are used, all of them in the Compose specification."""


def test_everything_that_the_first_deployment_needs_is_there() -> None:
    assert set(SERVICES) == {"postgres", "migrate", "coordinator", "worker", "jaeger", "prometheus", "grafana"}
    assert set(compose.document()) == {"name", "services", "volumes"}
    for name, service in SERVICES.items():
        assert set(service) <= KEYS, name


@pytest.mark.parametrize("name", OURS)
def test_our_services_are_built_from_targets_of_the_dockerfile_that_are_not_root(name: str) -> None:
    build = OURS[name]["build"]
    assert (DEPLOY / build["context"]).resolve() == DEPLOY.parent
    assert (DEPLOY / build["context"] / build["dockerfile"]).resolve() == DEPLOY / "Dockerfile"
    assert not STAGES[build["target"]].last("USER").text.startswith("0")
    assert "user" not in OURS[name]
    assert OURS[name]["image"].startswith(f"holdfast-{build['target']}:")


@pytest.mark.parametrize("name", OURS)
def test_our_services_are_hardened(name: str) -> None:
    assert OURS[name]["read_only"] is True
    assert OURS[name]["cap_drop"] == ["ALL"]
    assert OURS[name]["security_opt"] == ["no-new-privileges:true"]


def test_images_of_others_are_pinned_by_tag() -> None:
    for name, service in SERVICES.items():
        assert re.fullmatch(r"[a-z0-9/-]+:v?[0-9]+[0-9a-z.-]*", service["image"]), name


def test_ports_are_open_on_loopback_only() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    # Nobody but Prometheus needs the metrics of the coordinator, and it reaches them inside.
    assert set(published) == {"coordinator", "jaeger", "prometheus", "grafana"}
    for (port,) in published.values():
        assert port.startswith("127.0.0.1:")


def test_the_password_comes_from_the_environment_and_must_be_given() -> None:
    text = (DEPLOY / "compose.yaml").read_text("utf-8")
    for found in re.findall(r"(?i)password:? (\S+)|://holdfast:(\S+?)@", text):
        assert "".join(found).startswith("${POSTGRES_PASSWORD:?"), found
    assert ".env" in (DEPLOY / ".gitignore").read_text("utf-8").splitlines()


def test_only_what_needs_the_database_can_reach_it() -> None:
    with_url = {name for name, service in SERVICES.items() if "HOLDFAST_DATABASE_URL" in service.get("environment", {})}
    assert with_url == {"migrate", "coordinator"}


def test_every_service_that_is_waited_for_can_be_waited_for() -> None:
    for service in SERVICES.values():
        waits = service.get("depends_on", {})
        for other, condition in waits.items() if isinstance(waits, dict) else ():
            awaited = SERVICES[other]
            if condition["condition"] == "service_healthy":
                assert "healthcheck" in awaited or STAGES[awaited["build"]["target"]].those("HEALTHCHECK")
            else:
                assert condition["condition"] == "service_completed_successfully"
                assert awaited["restart"] == "on-failure"


def test_every_file_that_is_mounted_exists() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            if source.startswith("."):
                assert os.path.exists(DEPLOY / source), source
                assert volume.endswith(":ro")
            else:
                assert source in compose.document()["volumes"]


def test_what_is_named_inside_is_a_service_with_its_port() -> None:
    known = {"postgres": 5432, "coordinator": 7410, "jaeger": 4317}
    for service in OURS.values():
        for name, value in service["environment"].items():
            if match := re.search(r"(?:^|//|@)([a-z]+):(\d+)", value):
                assert known[match[1]] == int(match[2]), name


def test_prometheus_and_grafana_know_services_only() -> None:
    (prometheus,) = compose.read("prometheus/prometheus.yml")
    targets = {
        target.partition(":")[0]
        for job in prometheus["scrape_configs"]
        for config in job["static_configs"]
        for target in config["targets"]
    }
    (sources,) = compose.read("grafana/provisioning/datasources/datasources.yaml")
    targets |= {re.split(r"[:/]+", source["url"])[1] for source in sources["datasources"]}
    assert targets - {"localhost"} <= set(SERVICES)


def test_prometheus_scrapes_the_coordinator_where_it_serves_its_metrics() -> None:
    (prometheus,) = compose.read("prometheus/prometheus.yml")
    (job,) = [one for one in prometheus["scrape_configs"] if one["job_name"] == "holdfast"]
    (port,) = re.findall(r"--metrics-port (\d+)", " ".join(SERVICES["coordinator"]["command"]))
    assert job["static_configs"] == [{"targets": [f"coordinator:{port}"]}]
    mounted = SERVICES["prometheus"]["volumes"][0].split(":")
    assert mounted == ["./prometheus", "/etc/prometheus", "ro"]
    assert f"--config.file={mounted[1]}/prometheus.yml" in SERVICES["prometheus"]["command"]
    assert all((DEPLOY / mounted[0] / file).is_file() for file in prometheus["rule_files"])


def test_a_point_in_grafana_leads_to_its_trace() -> None:
    (sources,) = compose.read("grafana/provisioning/datasources/datasources.yaml")
    by_type = {one["type"]: one for one in sources["datasources"]}
    (destination,) = by_type["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    assert destination == {"name": "trace_id", "datasourceUid": by_type["jaeger"]["uid"]}
    assert "--enable-feature=exemplar-storage" in SERVICES["prometheus"]["command"]


def test_grafana_finds_its_provisioning_and_its_dashboards_where_the_folder_is_mounted() -> None:
    grafana = SERVICES["grafana"]
    assert grafana["volumes"] == ["./grafana:/etc/holdfast/grafana:ro"]
    assert grafana["environment"]["GF_PATHS_PROVISIONING"] == "/etc/holdfast/grafana/provisioning"
    (providers,) = compose.read("grafana/provisioning/dashboards/dashboards.yaml")
    assert [one["options"]["path"] for one in providers["providers"]] == ["/etc/holdfast/grafana"]


def test_values_of_the_environment_are_texts() -> None:
    for name, service in SERVICES.items():
        assert all(isinstance(value, str) for value in service.get("environment", {}).values()), name
