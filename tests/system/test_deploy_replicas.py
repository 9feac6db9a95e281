"""What ``deploy/`` ships for several replicas (Compose, Kubernetes, nginx) fits the server."""

import re
from pathlib import Path
from typing import Any

import aiohttp
import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml
from starlette.routing import Route

from orbit_server import create_app
from orbit_server.config.loader import Config, load

from ..support.ollama_standin import OllamaStandIn
from ..support.ports import free_port
from ..support.processes import Streams, stopped_listening
from ..support.program import ROOT, command, configure, server
from ..support.server import ADMIN_TOKEN, lexical
from .test_deploy import DEPLOY, DRAIN, kept_in, last

KUBERNETES = DEPLOY / "kubernetes"
VARIABLES = {
    "ADMIN_TOKEN": ADMIN_TOKEN,
    "POSTGRES_PASSWORD": "postgres-password",
    "ELASTICSEARCH_PASSWORD": "elasticsearch-password",
}
CONFIGURATIONS = [DEPLOY / "config.replicas.yaml", KUBERNETES / "config.yaml"]
PORT = Config().general.port
WRITTEN = {"/var/lib/orbit/data", "/var/log/orbit"}  # the volumes of the image


def read(path: Path) -> dict[str, Any]:
    """Return the content of a YAML file."""
    content: dict[str, Any] = yaml.safe_load(path.read_text())
    return content


def hosts(config: Config) -> set[str]:
    """Return the names of all neighbours of a server with this configuration."""
    urls = [config.database.url, config.elasticsearch.node, config.limits.storage]
    urls += [host.url for host in config.ollama.hosts]
    names = {re.sub(r"^.*//(?:[^@/]*@)?([^:/]+).*$", r"\1", str(url)) for url in urls}
    return names | {str(config.chroma.host)}


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.parent.name)
def test_nothing_that_replicas_need_lies_in_one_of_them(path: Path) -> None:
    """Keys, limits, documents, words and models are elsewhere; what is written is in volumes."""
    config = load(path, environ=VARIABLES)
    assert config.warnings == ()
    assert config.database.url.startswith("postgresql")
    assert config.limits.storage.startswith("redis://")
    assert (config.retrieval.words, config.elasticsearch.enabled) == ("elasticsearch", True)
    assert len(config.ollama.hosts) > 1
    assert config.general.trusted_proxies, "else all clients have the address of the balancer"
    written = [path for path in kept_in(config)[1:] if "//" not in path]
    assert [path for path in written if not path.startswith(tuple(WRITTEN))] == []


def test_both_configurations_say_the_same() -> None:
    """But for the network of the balancer."""
    one, other = map(read, CONFIGURATIONS)
    assert one.pop("general").keys() == other.pop("general").keys() == {"trusted_proxies"}
    assert one == other


def variables(path: Path) -> set[str]:
    """Return the variables that a configuration takes from the environment."""
    return set(re.findall(r"\$\{(\w+)\}", path.read_text()))


# -- Compose ----------------------------------------------------------------------------------


@pytest.fixture
def compose() -> dict[str, Any]:
    """The Compose file."""
    return read(DEPLOY / "compose.replicas.yaml")


def test_compose_has_all_that_the_configuration_names(compose: dict[str, Any]) -> None:
    """Every neighbour is a service; every variable is required, none of them is written down."""
    services = compose["services"]
    path = DEPLOY / "config.replicas.yaml"
    replicas = {name for name in services if name.startswith("orbit")}
    assert hosts(load(path, environ=VARIABLES)) == services.keys() - replicas - {"nginx"}
    assert len(replicas) == 3
    for name in replicas:
        environment = services[name]["environment"]
        assert environment.keys() == variables(path) | {"ADMIN_TOKEN"} == VARIABLES.keys()
        assert all(value.startswith("${" + key + ":?") for key, value in environment.items())
        assert int(services[name]["stop_grace_period"].removesuffix("s")) >= DRAIN + 45
        assert (services[name]["read_only"], services[name]["cap_drop"]) == (True, ["ALL"])
    subnet = compose["networks"]["default"]["ipam"]["config"][0]["subnet"]
    assert read(path)["general"]["trusted_proxies"] == [subnet]


def test_compose_gives_every_replica_folders_of_its_own(compose: dict[str, Any]) -> None:
    """Two that write one chat log, or remember one place in it, would lose lines."""
    services = compose["services"]
    mounts = [each.split(":") for one in services.values() for each in one.get("volumes", [])]
    named = [source for source, *_ in mounts if not source.startswith(".")]
    assert sorted(named) == sorted(compose["volumes"]), "each is used, and by one only"
    assert all((DEPLOY / source).is_file() for source, *_ in mounts if source.startswith("."))
    for name in ("orbit-1", "orbit-2", "orbit-3"):
        targets = {each.split(":")[1] for each in services[name]["volumes"]}
        assert targets == WRITTEN | {"/etc/orbit/config.yaml"}


def test_compose_shows_only_nginx_and_only_here(compose: dict[str, Any]) -> None:
    """No other service has a port outside; all restart, and all are checked."""
    services = compose["services"]
    published = {name: one["ports"] for name, one in services.items() if "ports" in one}
    assert published == {"nginx": [f"127.0.0.1:{PORT}:80"]}
    assert {one["restart"] for one in services.values()} == {"unless-stopped"}
    unchecked = {name for name, one in services.items() if "healthcheck" not in one}
    assert unchecked == {"orbit-1", "orbit-2", "orbit-3"}, "whose image has a check"
    build = services["orbit-1"]["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).samefile(DEPLOY / "Dockerfile")


def test_nginx_names_every_replica(compose: dict[str, Any]) -> None:
    """The upstreams are the services, at the port where they listen."""
    text = (DEPLOY / "nginx.replicas.conf").read_text()
    named = re.findall(r"^ *server (\S+):(\d+) ", text, re.M)
    replicas = [name for name in compose["services"] if name.startswith("orbit")]
    assert named == [(name, str(PORT)) for name in replicas]


def test_the_image_can_speak_to_all_of_them() -> None:
    """The drivers of the shared stores are optional, and in the image."""
    text = (DEPLOY / "Dockerfile").read_text()
    project = (ROOT / "pyproject.toml").read_text()
    for extra in ("postgres", "redis"):
        assert re.search(rf"^{extra} = \[", project, re.M)
        assert extra in re.findall(r"/src\[(.*)\]", text)[0].split(",")


# -- Kubernetes -------------------------------------------------------------------------------

RESOURCES = read(KUBERNETES / "kustomization.yaml")["resources"]
DEPLOYMENT = read(KUBERNETES / "deployment.yaml")
POD = DEPLOYMENT["spec"]["template"]["spec"]
[CONTAINER] = POD["containers"]


@pytest.mark.parametrize("version", ["1.30", "1.36"])
@pytest.mark.parametrize("name", RESOURCES)
def test_kubernetes_takes_it(name: str, version: str) -> None:
    """Each resource fits the schema of an older and of a newer version, and no field is unknown."""
    kubernetes_validate.validate(read(KUBERNETES / name), version, strict=True)


def test_every_file_is_applied() -> None:
    """No resource is forgotten, and what is generated is there or made from an example."""
    made = read(KUBERNETES / "kustomization.yaml")
    generated = made["configMapGenerator"][0]["files"] + made["secretGenerator"][0]["envs"]
    there = {path.name.removesuffix(".example") for path in KUBERNETES.iterdir()}
    assert there == {*RESOURCES, *generated, "kustomization.yaml"}
    assert (ROOT / "deploy" / "kubernetes" / "secrets.env.example").exists()


def test_the_pod_gets_its_secrets_and_its_configuration() -> None:
    """What the configuration takes from the environment is in the secret, and nowhere else."""
    made = read(KUBERNETES / "kustomization.yaml")
    [source] = CONTAINER["envFrom"]
    assert source["secretRef"]["name"] == made["secretGenerator"][0]["name"]
    lines = (KUBERNETES / "secrets.env.example").read_text().splitlines()
    assert {line.removesuffix("=") for line in lines} == VARIABLES.keys()
    assert variables(KUBERNETES / "config.yaml") <= VARIABLES.keys()
    volumes = {each["name"]: each for each in POD["volumes"]}
    assert volumes["config"]["configMap"]["name"] == made["configMapGenerator"][0]["name"]
    mounts = {each["mountPath"]: each["name"] for each in CONTAINER["volumeMounts"]}
    assert (
        f"{mounts and '/etc/orbit'}/config.yaml"
        == re.findall(r"ORBIT_CONFIG=(\S+)", (DEPLOY / "Dockerfile").read_text())[0]
    )
    assert mounts.keys() == WRITTEN | {"/etc/orbit", "/tmp"}


def test_the_pod_has_no_rights() -> None:
    """The user of the image, a file system that cannot be written, nothing of the cluster."""
    user = int(last("USER").split(":")[0])
    assert (POD["securityContext"]["runAsUser"], POD["securityContext"]["fsGroup"]) == (user, user)
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert POD["automountServiceAccountToken"] is False
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_the_probes_ask_what_there_is(tmp_path: Path) -> None:
    """Their paths are routes, without a key, at the port where the server listens."""
    app = create_app(lexical(tmp_path))
    paths = {route.path for route in app.routes if isinstance(route, Route)}
    [port] = CONTAINER["ports"]
    assert (port["name"], port["containerPort"]) == ("http", PORT)
    asked = {name: CONTAINER[name]["httpGet"] for name in CONTAINER if name.endswith("Probe")}
    assert {each["port"] for each in asked.values()} == {"http"}
    assert {each["path"] for each in asked.values()} <= paths
    assert asked["livenessProbe"]["path"] == asked["startupProbe"]["path"] == "/health/live"
    assert asked["readinessProbe"]["path"] == "/health/ready"
    assert CONTAINER["readinessProbe"]["timeoutSeconds"] > 2, "what a neighbour may take"


def test_kubernetes_waits_for_running_answers() -> None:
    """It kills only after the wait, the answers, and the end of everything else."""
    program, seconds = CONTAINER["lifecycle"]["preStop"]["exec"]["command"]
    assert program == "sleep"
    assert POD["terminationGracePeriodSeconds"] >= int(seconds) + DRAIN + 45


def test_everything_selects_the_pods() -> None:
    """The service and the budget mean the pods of the deployment; one of them is always left."""
    labels = DEPLOYMENT["spec"]["template"]["metadata"]["labels"]
    service, budget = read(KUBERNETES / "service.yaml"), read(KUBERNETES / "disruption.yaml")
    assert DEPLOYMENT["spec"]["selector"]["matchLabels"] == labels == service["spec"]["selector"]
    assert budget["spec"]["selector"]["matchLabels"] == labels
    assert DEPLOYMENT["spec"]["replicas"] > budget["spec"]["maxUnavailable"] == 1
    [port] = service["spec"]["ports"]
    assert port["targetPort"] == "http"


def test_the_ingress_lets_streams_through_and_hides_the_rest(tmp_path: Path) -> None:
    """Every path is a route; keys, documents and figures are not for the world."""
    ingress = read(KUBERNETES / "ingress.yaml")
    notes = {
        key.rpartition("/")[2]: value for key, value in ingress["metadata"]["annotations"].items()
    }
    assert notes["proxy-buffering"] == "off"
    assert int(notes["proxy-read-timeout"]) >= 600
    [rule] = ingress["spec"]["rules"]
    served = {(each["path"], each["pathType"]) for each in rule["http"]["paths"]}
    routes = [
        route.path for route in create_app(lexical(tmp_path)).routes if isinstance(route, Route)
    ]
    hidden = ("/admin", "/metrics")
    for path in routes:
        reached = any(
            path == prefix or (kind == "Prefix" and path.startswith(f"{prefix}/"))
            for prefix, kind in served
        )
        assert reached != path.startswith(hidden), path
    names = {each["backend"]["service"]["name"] for each in rule["http"]["paths"]}
    assert names == {read(KUBERNETES / "service.yaml")["metadata"]["name"]}


# -- probes -----------------------------------------------------------------------------------


async def status(url: str) -> int | None:
    """Return the status of an answer, ``None`` where nobody takes the connection."""
    async with aiohttp.ClientSession() as http:
        try:
            async with http.get(url) as response:
                return response.status
        except aiohttp.ClientConnectorError:
            return None


@pytest.mark.anyio
async def test_a_server_without_its_neighbours_lives_and_is_not_ready(tmp_path: Path) -> None:
    """A restart would not bring them back, and no question could be answered."""
    configure(tmp_path, chroma={"host": "127.0.0.1", "port": free_port()})
    async with server(tmp_path) as running:
        assert await status(f"{running.url}/health/live") == 200
        assert await status(f"{running.url}/health/ready") == 503


@pytest.mark.anyio
async def test_a_server_that_drains_is_not_ready(tmp_path: Path) -> None:
    """It takes no more questions, and the answers that run come to their end."""
    async with OllamaStandIn() as ollama:
        ollama.reply = "The library opens at nine and closes at eight, on every day but Sunday."
        ollama.piece_delay = 0.2
        configure(
            tmp_path,
            ollama={"base_url": ollama.url},
            answer={"provider": "ollama"},
            chroma={"confidence_threshold": 0.0},
        )
        (tmp_path / "town.md").write_text("# Library\n\nThe library opens at nine.\n")
        assert (await command(tmp_path, "ingest", "town.md", "--collection", "town")).code == 0
        made = await command(tmp_path, "keys", "create", "--collection", "town", "--name", "Ann")
        async with server(tmp_path) as running:
            assert await status(f"{running.url}/health/ready") == 200
            streams = Streams(running, {"X-API-Key": made.out.split()[-1]})
            await streams.open(1)
            await stopped_listening(running)
            assert await status(f"{running.url}/health/ready") is None
            assert not streams.all[0].events[-1]["done"], "else it had nothing to wait for"
            assert await streams.ended() == ["whole"]
            assert streams.all[0].text == ollama.reply
