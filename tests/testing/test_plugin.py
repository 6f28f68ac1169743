"""The pytest plugin, run on the tests of another project by pytest's own plugin for tests of plugins."""

import gc

import pytest

from tests.kit.patience import PATIENCE
from waypost.testing import cases, environment, mocking, pytest_plugin, reporting, shared

_LOADED = (cases, environment, mocking, reporting, shared)
"""pytester forgets the modules that a run in this process loads. The plugin would then load some of them twice."""

pytest_plugins = ["pytester"]

QUIETLY = ("-p", "no:randomly", "-p", "no:cacheprovider", "-p", "no:cov")


@pytest.fixture(autouse=True)
def _strict(pytester):
    gc.collect()  # otherwise, what earlier tests have left open could be an error of the run
    pytester.makeini("[pytest]\naddopts = --strict-markers --strict-config\nfilterwarnings = error\n")


def test_each_test_has_an_empty_server_with_its_settings(pytester):
    pytester.makepyfile(
        """
        import os
        import boto3
        import pytest
        from waypost.testing import Waypost

        used = []

        @pytest.fixture(scope="session")
        def waypost_settings():
            return {"region": "eu-west-1"}

        @pytest.mark.parametrize("number", range(3))
        def test_is_empty(waypost, waypost_client, number):
            used.append(waypost.url)
            assert waypost.mail() == []
            waypost.send(to=waypost.address("support@example.com"))
            assert len(waypost.mail()) == 1
            assert waypost_client.meta.endpoint_url == waypost.url
            assert waypost_client.meta.region_name == "eu-west-1"
            assert len(set(used)) == 1

        def test_shares_a_server(waypost_server):
            assert isinstance(waypost_server, Waypost)
            assert waypost_server.url == used[0]
            assert len(waypost_server.mail()) == 1

        def test_points_boto3_at_it(waypost_environment):
            assert os.environ["AWS_ENDPOINT_URL_CONNECT"] == waypost_environment.url == used[0]
            assert boto3.client("connect").list_instances()["InstanceSummaryList"][0]["Id"]

        def test_restores_the_environment():
            assert "AWS_ENDPOINT_URL_CONNECT" not in os.environ

        @pytest.mark.waypost(limits="aws")
        class TestWithOtherSettings:
            def test_has_them(self, waypost):
                assert waypost.url != used[0]
                assert waypost.settings["limits"] == "aws"
                assert waypost.settings["region"] == "eu-west-1"

            @pytest.mark.waypost(limits="relaxed")
            def test_overrides_them(self, waypost):
                assert waypost.settings["limits"] == "relaxed"
        """
    )
    pytester.runpytest_inprocess(*QUIETLY).assert_outcomes(passed=8)


FAILING = """
    import smtplib
    import unittest
    from waypost.testing import WaypostMixin, mock_connect_email

    def test_fails(waypost):
        link = waypost.alias(primary="queue@example.com", alias="support@example.com")
        waypost.send(to=link.alias, subject="An order")
        try:
            waypost.send(to="suport@example.com")
        except smtplib.SMTPRecipientsRefused:
            pass
        assert False

    def test_passes(waypost):
        waypost.send(to=waypost.address(), subject="Of a test that passes")

    def test_fails_without_mail(waypost):
        assert False

    def test_ends_the_server(waypost):
        waypost.server.kill()
        assert False

    def test_has_another_server_then(waypost):
        assert waypost.mail() == []

    class TestCase(WaypostMixin, unittest.TestCase):
        def test_fails(self):
            self.waypost.send(to=self.waypost.address(), subject="Of a test case")
            self.fail()

    def test_does_not_use_it():
        assert False

    mock = mock_connect_email()

    @mock
    def test_fails_with_the_mock():
        mock.waypost.send(to=mock.waypost.address(), subject="Of a mock")
        assert False

    def test_fails_with_the_shared_server(waypost_server):
        assert False

"""


def test_the_report_of_a_failed_test_has_the_traces_of_its_mail(pytester):
    pytester.makepyfile(FAILING)
    result = pytester.runpytest_inprocess(*QUIETLY)
    result.assert_outcomes(passed=2, failed=7)
    sections = result.stdout.str().split("- Waypost -")
    assert len(sections) == 7
    of_first = sections[1].splitlines()
    for expected in (
        "  subject    An order",
        "  delivered  queue@example.com  (through support@example.com)",
        "  reply      550 5.1.1 No such address here",
    ):
        assert expected in of_first
    assert any("accepted from 127.0.0.1" in line for line in of_first)
    assert "No mail has arrived." in sections[2]
    assert "does not answer" in sections[3]
    assert '"event":"listening"' in sections[3]  # the end of the log
    assert "  subject    Of a test case" in sections[4]
    assert "  subject    Of a mock" in sections[5]
    assert "  subject    Of a mock" in sections[6]  # the same server
    assert "Of a test that passes" not in result.stdout.str()


def test_a_fixture_of_another_kind_with_the_same_name_is_left_alone(pytester):
    pytester.makepyfile(
        """
        import pytest
        from waypost.testing.kit import Waypost

        @pytest.fixture
        def waypost():
            return "something else"

        def test_fails(waypost):
            assert False

        class TestOther:
            waypost = "something else"

            def test_fails(self):
                assert False
        """
    )
    result = pytester.runpytest_inprocess(*QUIETLY)
    result.assert_outcomes(failed=2)
    assert "- Waypost -" not in result.stdout.str()


def test_an_error_in_the_report_does_not_end_the_run(pytester, monkeypatch):
    def fail(kit):
        raise AttributeError("log")

    monkeypatch.setattr(reporting, "text", fail)
    pytester.makepyfile(
        """
        def test_fails(waypost):
            assert False

        def test_passes(waypost):
            pass
        """
    )
    result = pytester.runpytest_inprocess(*QUIETLY)
    result.assert_outcomes(failed=1, passed=1)
    assert "The traces of the mail cannot be shown: AttributeError('log')" in result.stdout.str()


def test_a_marker_with_values_without_names_is_a_mistake(pytester):
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.waypost("aws")
        def test_has_settings(waypost):
            pass
        """
    )
    result = pytester.runpytest_inprocess(*QUIETLY)
    result.assert_outcomes(errors=1)
    assert "The marker `waypost` takes settings by name, such as limits='aws', not 'aws'." in result.stdout.str()


def test_the_plugin_loads_nothing_if_no_test_uses_it(pytester):
    pytester.makepyfile(
        """
        import sys

        def test_nothing_is_loaded():
            loaded = {name for name in sys.modules if name.startswith("waypost")}
            assert loaded == {"waypost", "waypost.testing", "waypost.testing.pytest_plugin"}
            assert "boto3" not in sys.modules
        """
    )
    options = ("-p", "no:schemathesis", "-p", "no:anyio", "-p", "no:hypothesispytest")
    pytester.runpytest_subprocess(*QUIETLY, *options).assert_outcomes(passed=1)


def test_the_marker_and_the_option_are_documented(pytester):
    pytester.runpytest_inprocess("--markers").stdout.fnmatch_lines(["@pytest.mark.waypost(*): *"])
    pytester.runpytest_inprocess("--help").stdout.fnmatch_lines(["waypost:", "*--waypost-log=FILE*"])


def test_each_worker_of_xdist_has_a_server_and_a_log(pytester):
    pytester.makepyfile(
        f"""
        import pathlib, time

        def test_uses_a_server(waypost, worker_id):
            address = waypost.address("support@example.com")
            of_other = {{"gw0": "gw1", "gw1": "gw0"}}[worker_id]
            here, other = (pathlib.Path(f"{{name}}.url") for name in (worker_id, of_other))
            here.write_text(waypost.url)
            give_up = time.monotonic() + {PATIENCE}
            while not other.exists():  # both tests run at the same time
                assert time.monotonic() < give_up
                time.sleep(0.01)
            waypost.send(to=address)
            assert len(waypost.mail()) == 1
            assert other.read_text() != waypost.url
        """
    )
    result = pytester.runpytest_subprocess(*QUIETLY, "-n", "2", "--dist", "each", "--waypost-log", "waypost.log")
    result.assert_outcomes(passed=2)
    logs = sorted(pytester.path.glob("*.log"))
    assert [log.name for log in logs] == ["waypost-gw0.log", "waypost-gw1.log"]
    assert all('"event":"message_accepted"' in log.read_text() for log in logs)


def test_without_xdist_the_log_has_the_given_name(tmp_path):
    assert pytest_plugin.log_file(tmp_path / "waypost.log", None) == tmp_path / "waypost.log"
    assert pytest_plugin.log_file(tmp_path / "waypost.log", "gw7") == tmp_path / "waypost-gw7.log"
