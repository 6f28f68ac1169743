"""`WaypostContainer`, with a small engine that answers the requests of Testcontainers; no real engine is needed."""

import smtplib

import pytest
from testcontainers.core.config import ConnectionMode, testcontainers_config

from tests.kit.peers.container_engine import ContainerEngine
from waypost import testing
from waypost.testing import containers, reporting

pytestmark = pytest.mark.slow


@pytest.fixture
def engine(tmp_path, monkeypatch):
    with ContainerEngine(tmp_path / "engine") as engine:
        for name, value in engine.variables.items():
            monkeypatch.setenv(name, value)
        # Testcontainers has read its variables when it was imported.
        monkeypatch.setattr(testcontainers_config, "ryuk_disabled", True)
        monkeypatch.setattr(testcontainers_config, "connection_mode_override", ConnectionMode.docker_host)
        yield engine


def test_the_kit_works_with_a_server_in_a_container(engine):
    with testing.WaypostContainer() as container:
        waypost = container.waypost
        support = waypost.address("support@example.com")
        waypost.send(to=support, subject="Hello")
        assert waypost.wait_for(to=support).subject == "Hello"
        (instance,) = waypost.client().list_instances()["InstanceSummaryList"]
        assert instance["Id"] == waypost.instance_id
        waypost.clock.advance("5d")
        waypost.reset()
        with pytest.raises(testing.ServerRefused):
            waypost.inbox(support)
        (running,) = engine.containers.values()
        assert running.given["Image"] == "waypost"
        assert container.waypost is waypost
        with pytest.raises(RuntimeError, match="The log is in the container"):
            _ = waypost.log
        running.process.kill()
        running.process.wait()
        assert "does not answer. It runs in a container." in reporting.text(waypost)
    assert engine.removed == [running.root.name]
    assert running.process.returncode is not None


def test_settings_and_tables_reach_the_server(engine):
    given = {
        "subaddressing": "example.com",
        "testing": False,
        "route": [{"match": "out@example.com", "to": "smtp://127.0.0.1:1", "fault": "permfail"}],
    }
    with testing.WaypostContainer("another:1.0", settings=given) as container:
        waypost = container.waypost
        waypost.address("support@example.com")
        waypost.send(to="support+1@example.com", subject="Hello")
        waypost.send(to=waypost.address("out@example.com"))
        assert [mail.to for mail in waypost.inbox("support@example.com")] == ["support+1@example.com"]
        waypost.wait_for(address="out@example.com", status="dead")
        with pytest.raises(testing.ServerRefused, match="--testing yes"):
            waypost.reset()
        (running,) = engine.containers.values()
        assert running.given["Image"] == "another:1.0"


def test_a_server_that_ends_is_reported_at_once_with_its_log(engine):
    with pytest.raises(Exception, match=r"has ended\. Its log:\n.*WAYPOST_SERVE_LIMITS"):
        testing.WaypostContainer(settings={"limits": "none"}).__enter__()
    assert not engine.containers


def test_a_server_that_is_not_ready_in_time_is_reported_with_the_last_error(engine, monkeypatch):
    def not_ready(container):
        raise error

    error = testing.NoServer("It does not answer.")
    monkeypatch.setattr(containers, "_is_ready", not_ready)
    with pytest.raises(TimeoutError, match="was not ready within 0 s") as failed:
        containers._UntilReady().with_startup_timeout(0).wait_until_ready(testing.WaypostContainer())
    assert failed.value.__cause__ is error


def test_a_setting_of_the_wrong_type_is_refused(engine):
    with pytest.raises(TypeError, match="route"):
        testing.WaypostContainer(settings={"route": "smtp://127.0.0.1:1"})


@pytest.mark.parametrize(
    ("host", "given", "names"),
    [
        ("docker", {}, "docker"),
        ("docker", {"http_names": "other"}, "other"),
        ("127.0.0.1", {}, None),
        ("localhost", {}, None),
    ],
)
def test_clients_may_use_the_name_of_the_host_of_the_engine(engine, monkeypatch, host, given, names):
    container = testing.WaypostContainer(settings=given)
    monkeypatch.setattr(container.get_docker_client(), "host", lambda: host)
    container._configure()
    assert container.env.get("WAYPOST_SERVE_HTTP_NAMES") == names


def test_mail_is_accepted_from_the_network_of_the_engine(engine):
    with testing.WaypostContainer() as container, smtplib.SMTP(*container.waypost.smtp) as mail:
        assert mail.noop()[0] == 250
    (trusted,) = (each for each in container.env if each == "WAYPOST_SERVE_TRUSTED_NETWORKS")
    assert "172.16.0.0/12" in container.env[trusted]
