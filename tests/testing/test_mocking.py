"""`mock_connect_email` points boto3 at a server, and restores everything, also beside moto's mocks."""

import asyncio
import io
import os
import subprocess
import sys
import unittest

import boto3
import pytest
from botocore import handlers
from moto import mock_aws

from waypost.testing import Waypost, mock_connect_email

NEW = {"EmailAddress": "support@example.com"}


def instance_id():
    return boto3.client("connect").list_instances()["InstanceSummaryList"][0]["Id"]


def make_address():
    """What the tested software does: it makes an email address with a client of its own."""
    connect = boto3.client("connect")
    return connect.create_email_address(InstanceId=os.environ["WAYPOST_INSTANCE_ID"], **NEW)["EmailAddressId"]


def keep_in_s3(octets):
    s3 = boto3.client("s3", region_name="us-east-1")
    s3.create_bucket(Bucket="mail")
    s3.put_object(Bucket="mail", Key="1", Body=octets)
    return s3.get_object(Bucket="mail", Key="1")["Body"].read()


@pytest.fixture(autouse=True)
def _everything_is_restored():
    before, session, builtin = dict(os.environ), boto3.DEFAULT_SESSION, list(handlers.BUILTIN_HANDLERS)
    yield
    changed = {name for name in {*before, *os.environ} if before.get(name) != os.environ.get(name)}
    assert changed - {"PYTEST_CURRENT_TEST"} == set()
    assert boto3.DEFAULT_SESSION is session
    # moto's handler stays, by its design
    ours = [handler for handler in handlers.BUILTIN_HANDLERS if handler not in builtin and "waypost" in repr(handler)]
    assert ours == []


def test_a_context_manager_yields_the_kit(monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "of-production")
    monkeypatch.setenv("AWS_ENDPOINT_URL_CONNECT", "https://connect.example")
    with mock_connect_email() as waypost:
        make_address()
        waypost.send(to="support@example.com", subject="Hello")
        assert waypost.wait_for(subject="Hello")
        assert "AWS_PROFILE" not in os.environ
    assert os.environ["AWS_PROFILE"] == "of-production"
    assert os.environ["AWS_ENDPOINT_URL_CONNECT"] == "https://connect.example"


def test_each_use_begins_empty_with_the_same_server():
    urls = set()
    for _ in range(3):
        with mock_connect_email() as waypost:
            make_address()
            urls.add(waypost.url)
    assert len(urls) == 1


def test_a_mock_inside_another_one_keeps_what_the_outer_one_has_made():
    with mock_connect_email() as outer:
        make_address()
        with mock_connect_email() as inner:
            assert inner is outer
            inner.send(to="support@example.com")
        assert len(outer.inbox("support@example.com")) == 1
        assert instance_id() == outer.instance_id


@mock_connect_email
def test_it_decorates_a_function():
    make_address()


mock = mock_connect_email(limits="aws")


@mock
def test_a_decorated_function_can_use_the_kit():
    make_address()
    assert isinstance(mock.waypost, Waypost)
    mock.waypost.send(to="support@example.com")
    assert mock.waypost.settings["limits"] == "aws"


def test_the_kit_of_a_mock_that_is_off_is_an_error():
    with pytest.raises(RuntimeError, match="The mock is off"):
        _ = mock_connect_email(region="us-east-1").waypost


def test_it_decorates_a_coroutine_function():
    @mock_connect_email
    async def work():
        await asyncio.sleep(0)
        return make_address()

    assert asyncio.run(work())


class Inherited:
    def test_an_inherited_test_uses_the_mock(self):
        assert instance_id() == os.environ["WAYPOST_INSTANCE_ID"]


@mock_connect_email
class TestOfAClass(Inherited):
    def setup_method(self):
        self.client = boto3.client("connect")
        make_address()

    def teardown_method(self, method):
        assert method.__name__.startswith("test_")
        assert self.client.list_instances()["InstanceSummaryList"]
        assert "AWS_ENDPOINT_URL_CONNECT" in os.environ

    def test_its_tests_use_the_mock(self):
        with pytest.raises(self.client.exceptions.DuplicateResourceException):
            make_address()

    def test_the_mock_begins_empty_for_each_test(self):
        assert self.client.list_instances()["InstanceSummaryList"]

    async def helper(self):
        assert "AWS_ENDPOINT_URL_CONNECT" in os.environ

    def test_helpers_use_the_mock_of_the_test(self):
        asyncio.run(self.helper())


@mock_connect_email
class TestOfAClassWithoutMethods(Inherited):
    pass


@mock_connect_email
class TestOfAFailingClass:
    def setup_method(self):
        pytest.skip("the environment is restored")

    def test_is_skipped(self):
        raise AssertionError


def test_the_environment_is_restored_after_an_error():
    with pytest.raises(ZeroDivisionError), mock_connect_email():
        raise ZeroDivisionError


@mock_connect_email()
def test_the_aws_cli_of_a_child_process_uses_the_server_too():
    code = "import boto3; print(boto3.client('connect').list_instances()['InstanceSummaryList'][0]['Id'])"
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert printed.strip() == os.environ["WAYPOST_INSTANCE_ID"]


# With moto


@mock_connect_email
@mock_aws
def test_mocks_of_moto_work_inside():
    assert make_address()
    assert keep_in_s3(b"mail") == b"mail"


@mock_aws
@mock_connect_email
def test_mocks_of_moto_work_outside():
    assert make_address()
    assert keep_in_s3(b"mail") == b"mail"


def test_mocks_of_moto_may_begin_and_end_in_between():
    with mock_connect_email() as waypost:
        connect = boto3.client("connect")
        make_address()
        with mock_aws():
            assert os.environ["AWS_ACCESS_KEY_ID"] != waypost.server.profile.key.id
            assert instance_id() == waypost.instance_id
            assert connect.list_instances()["InstanceSummaryList"]
            (mail,) = [waypost.send(to="support@example.com", text="Hi") and waypost.wait_for(to="support@example.com")]
            assert keep_in_s3(mail.raw) == mail.raw
        assert instance_id() == waypost.instance_id


def test_a_client_that_was_made_before_still_calls_aws():
    client = boto3.Session("x", "y", region_name="us-east-1").client("connect")
    with mock_connect_email():
        assert client.meta.endpoint_url == "https://connect.us-east-1.amazonaws.com"


# Beside the fixtures


def test_the_fixture_and_the_mock_share_the_server(waypost):
    support = waypost.address("support@example.com")
    with mock_connect_email() as kit:
        assert kit is waypost
        assert instance_id() == waypost.instance_id
    waypost.send(to=support)


def test_it_decorates_classes_of_unittest():
    class Case(unittest.TestCase):
        def setUp(self):
            self.connect = boto3.client("connect")
            make_address()
            if self._testMethodName == "test_is_not_reached":
                raise ZeroDivisionError

        def tearDown(self):
            assert self.connect.list_instances()["InstanceSummaryList"]
            assert "AWS_ENDPOINT_URL_CONNECT" in os.environ

        def test_makes_clients_before(self):
            assert self.connect.meta.endpoint_url == os.environ["AWS_ENDPOINT_URL_CONNECT"]
            with pytest.raises(self.connect.exceptions.DuplicateResourceException):
                make_address()

        def test_is_not_reached(self):
            raise AssertionError

    class AsyncCase(unittest.IsolatedAsyncioTestCase):
        async def asyncSetUp(self):
            make_address()

        async def test_makes_clients_before(self):
            assert instance_id() == os.environ["WAYPOST_INSTANCE_ID"]

    @mock_connect_email()
    class DerivedCase(Case):
        pass

    @mock_connect_email(limits="aws")
    class DerivedAsyncCase(AsyncCase):
        pass

    load = unittest.defaultTestLoader.loadTestsFromTestCase
    result = unittest.TextTestRunner(io.StringIO()).run(unittest.TestSuite(map(load, (DerivedCase, DerivedAsyncCase))))
    assert result.testsRun == 3
    (error,) = [*result.errors, *result.failures]
    assert "ZeroDivisionError" in error[1]


def test_a_generator_function_cannot_be_decorated():
    def generator():
        yield

    async def asynchronous():
        yield

    for function in (generator, asynchronous):
        with pytest.raises(TypeError, match=rf"cannot decorate the generator function {function.__name__}"):
            mock_connect_email(function)


def test_a_mistake_in_the_settings_is_an_error_of_the_decorator():
    with pytest.raises(TypeError, match="`log` is no setting"):
        mock_connect_email(log="waypost.log")


class TestCases(unittest.TestCase):
    def test_a_patched_environment_needs_no_mock(self):
        with Waypost() as waypost, waypost.environment():
            assert instance_id() == waypost.instance_id
            assert waypost.variables["AWS_PROFILE"] is None
