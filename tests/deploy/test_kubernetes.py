"""The manifests of Kubernetes are restricted and agree with each other, and servers work with their options."""

import smtplib
import tomllib
from contextlib import ExitStack

import boto3
import pytest
import yaml

from tests.kit.certificates import issued
from tests.kit.deployments import DEPLOY, LONGEST_STOP, Container
from tests.kit.patience import PATIENCE, wait_until
from tests.kit.peers.mail_sink import Sink
from tests.kit.servers.running import MASTER_KEY, fetch, logged
from tests.kit.stores import postgresql
from waypost.client.http import Connection
from waypost.config.settings import Role
from waypost.host.data_directory import DataDirectory
from waypost.inspection.health import READY_SECONDS

KUBERNETES = DEPLOY / "kubernetes"
CONTAINERFILE = (DEPLOY.parent / "Containerfile").read_text(encoding="utf-8")


def objects():
    for path in sorted(KUBERNETES.rglob("*.yaml")):
        yield from yaml.safe_load_all(path.read_text(encoding="utf-8"))


OBJECTS = {(one["kind"], one["metadata"]["name"]): one for one in objects()}
PODS = {name: one["spec"]["template"]["spec"] for (kind, name), one in OBJECTS.items() if kind == "Deployment"}
SECRETS = {name: one["stringData"] for (kind, name), one in OBJECTS.items() if kind == "Secret"}
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


def container_of(name):
    (container,) = PODS[name]["containers"]
    return container


def ports_of(name):
    """Return the ports of a container by their names."""
    return {port["name"]: port["containerPort"] for port in container_of(name)["ports"]}


def test_all_objects_are_in_the_namespace_which_enforces_the_restricted_profile():
    namespace = OBJECTS["Namespace", "waypost"]
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert {one["metadata"]["namespace"] for one in OBJECTS.values() if one is not namespace} == {"waypost"}
    # `kubectl apply -f FOLDER` applies the files in the order of their names, and no examples.
    assert min(path.name for path in KUBERNETES.glob("*.yaml")) == "00-namespace.yaml"
    assert {path.parent.name for path in KUBERNETES.rglob("*.yaml") if "secret" in path.name} == {"examples"}


@pytest.mark.parametrize("name", PODS)
def test_each_pod_has_only_the_rights_that_it_needs(name):
    pod, container = PODS[name], container_of(name)
    user = pod["securityContext"]
    assert user["runAsNonRoot"]
    assert f"USER {user['runAsUser']}:{user['runAsGroup']}" in CONTAINERFILE
    assert user["fsGroup"] == user["runAsGroup"]
    assert user["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not pod["automountServiceAccountToken"]
    assert not pod["enableServiceLinks"]
    assert {"memory", "cpu"} == container["resources"]["requests"].keys()
    assert "memory" in container["resources"]["limits"]
    assert [mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")] == ["/data"]
    assert all(port > 1023 for port in ports_of(name).values())


@pytest.mark.parametrize("name", PODS)
def test_a_pod_has_time_to_finish_its_work_and_a_readiness_probe_to_get_an_answer(name):
    pod, container = PODS[name], container_of(name)
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] >= pause + LONGEST_STOP
    ready = container["readinessProbe"]
    assert pause >= ready["periodSeconds"]
    assert ready["timeoutSeconds"] > READY_SECONDS
    assert all(container[probe]["httpGet"]["port"] in ports_of(name) for probe in PROBES)


def test_each_deployment_has_a_budget_and_two_pods_and_each_role_a_deployment():
    roles = []
    for name in PODS:
        labels = OBJECTS["Deployment", name]["spec"]["selector"]["matchLabels"]
        assert OBJECTS["Deployment", name]["spec"]["template"]["metadata"]["labels"] == labels
        assert OBJECTS["Deployment", name]["spec"]["replicas"] >= 2
        budget = OBJECTS["PodDisruptionBudget", name]["spec"]
        assert (budget["selector"]["matchLabels"], budget["maxUnavailable"]) == (labels, 1)
        (given,) = (word.partition("=")[2] for word in container_of(name)["args"] if word.startswith("--roles="))
        roles += given.split(",")
    assert sorted(roles) == sorted(Role)


def test_the_connections_of_all_pods_during_an_update_fit_the_default_of_postgresql():
    settings = tomllib.loads(SECRETS["waypost"]["waypost.toml"])
    pods = sum(
        OBJECTS["Deployment", name]["spec"]["replicas"]
        + OBJECTS["Deployment", name]["spec"]["strategy"]["rollingUpdate"]["maxSurge"]
        for name in PODS
    )
    assert pods * settings["database-connections"] <= 100 - 3  # three are for superusers


def selected(selector):
    """Return the names of the deployments whose pods have these labels."""
    return {
        name
        for name in PODS
        if selector.items() <= OBJECTS["Deployment", name]["spec"]["selector"]["matchLabels"].items()
    }


def test_services_and_network_policies_name_ports_of_pods():
    used = set()
    for (kind, name), one in OBJECTS.items():
        if kind == "Service":
            pods, ports = selected(one["spec"]["selector"]), [port["targetPort"] for port in one["spec"]["ports"]]
        elif kind == "NetworkPolicy" and "ingress" in one["spec"]:
            pods = selected(one["spec"]["podSelector"]["matchLabels"])
            ports = [port["port"] for rule in one["spec"]["ingress"] for port in rule["ports"]]
        else:
            continue
        assert pods, name
        assert all(port in ports_of(pod) for pod in pods for port in ports), name
        used |= {(kind, pod, port) for pod in pods for port in ports}
    for kind in ("Service", "NetworkPolicy"):
        assert {(pod, port) for one, pod, port in used if one == kind} == {
            (pod, port) for pod in PODS for port in ports_of(pod)
        }
    assert OBJECTS["NetworkPolicy", "default-deny"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_each_volume_is_one_of_the_secrets_or_the_data_directory():
    for name, pod in PODS.items():
        mounted = {volume["name"]: volume for volume in pod["volumes"]}
        assert {mount["name"] for mount in container_of(name)["volumeMounts"]} == mounted.keys()
        for volume in mounted.values():
            assert "ephemeral" in volume or volume["secret"]["secretName"] in SECRETS


def secret_volume(directory, contents):
    """Make a directory like a volume of a Secret: every user may add files to it, and each file is a link."""
    made = directory / "..2026_12_01"
    made.mkdir(parents=True)
    directory.chmod(0o1777)
    (directory / "..data").symlink_to(made.name)
    for name, text in contents.items():
        (made / name).write_text(text)
        (made / name).chmod(0o440)
        (directory / name).symlink_to(f"..data/{name}")


@pytest.fixture
def pods(tmp_path):
    """A server for each deployment, with its options and with volumes like those of Kubernetes."""
    url = postgresql.new_database()
    settings = SECRETS["waypost"]["waypost.toml"]
    (line,) = (line for line in settings.splitlines() if line.startswith("database = "))
    secret_volume(
        tmp_path / "settings",
        {"master-key": MASTER_KEY, "waypost.toml": settings.replace(line, f'database = "{url}"')},
    )
    certificate = issued()
    pem, key = certificate.pem.decode(), certificate.key_pem().decode()
    secret_volume(tmp_path / "tls", {"tls.crt": pem, "tls.key": key})
    assert SECRETS["waypost"].keys() == {"master-key", "waypost.toml", "database-ca.pem"}
    assert "sslmode=verify-full&sslrootcert=/etc/waypost/database-ca.pem" in line
    assert SECRETS["waypost-tls"].keys() == {"tls.crt", "tls.key"}
    with ExitStack() as opened:
        opened.callback(postgresql.drop_database, url)
        found = {}
        for name in PODS:
            container = container_of(name)
            places = {"settings": tmp_path / "settings", "tls": tmp_path / "tls"}
            mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
            replaced = {path: str(places[of]) for path, of in sorted(mounts.items(), reverse=True) if of in places}
            environment = {one["name"]: one["value"] for one in container["env"]}
            found[name] = Container(tmp_path / name, container["args"], environment, replaced)
            opened.callback(found[name].stop)
            found[name].start()
        yield found
    for server in found.values():
        assert not logged(server, "failed", "store_failed")


@pytest.mark.slow
@pytest.mark.long
def test_the_pods_forward_mail_and_answer_their_probes(pods):
    for name, pod in pods.items():
        container = container_of(name)
        listening = {"api": pod.run.http, "metrics": pod.run.metrics, "smtp": pod.run.smtp}
        assert {port for port, address in listening.items() if address} == ports_of(name).keys()
        for probe in PROBES:
            asked = container[probe]["httpGet"]
            assert fetch(f"http://{listening[asked['port']]}{asked['path']}").status == 200
    calls, mail = pods["waypost-api"], pods["waypost-smtp"]
    profile = DataDirectory(calls.data).profiles()[0]
    connect = boto3.client(
        "connect",
        endpoint_url=f"http://{calls.run.http}",
        region_name=profile.region,
        aws_access_key_id=profile.key.id,
        aws_secret_access_key=profile.key.secret,
    )
    instance = connect.list_instances()["InstanceSummaryList"][0]["Id"]
    connect.create_email_address(InstanceId=instance, EmailAddress="support@example.com")
    connect.close()
    inspection = Connection(calls.run.http, key_id=profile.key.id, secret=profile.key.secret)
    host, _, port = mail.run.smtp.rpartition(":")
    with Sink() as sink:
        inspection.post("routes", {"match": "support@example.com", "to": sink.to})
        with smtplib.SMTP(host, int(port), timeout=PATIENCE) as client:
            client.ehlo()
            assert client.has_extn("starttls")
            client.sendmail("ann@client.example", ["support@example.com"], b"Subject: hello\r\n\r\nHello.\r\n")
        sink.wait_for(1)
    wait_until(lambda: logged(pods["waypost-delivery"], "delivered"))
