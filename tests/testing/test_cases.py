"""The mixin for `unittest`, run by `unittest` itself."""

import io
import os
import unittest
from typing import ClassVar

from waypost.testing import WaypostMixin

URLS = set()


class Plain(WaypostMixin, unittest.TestCase):
    def test_is_empty(self):
        URLS.add(self.waypost.url)
        assert self.waypost.mail() == []
        self.waypost.send(to=self.waypost.address("support@example.com"))
        assert "WAYPOST_INSTANCE_ID" not in os.environ

    test_is_empty_again = test_is_empty


class WithEnvironment(WaypostMixin, unittest.TestCase):
    waypost_environment = True

    def setUp(self):
        super().setUp()
        self.support = self.waypost.address("support")

    def test_boto3_is_pointed_at_the_server(self):
        URLS.add(self.waypost.url)
        assert os.environ["AWS_ENDPOINT_URL_CONNECT"] == self.waypost.url
        self.waypost.send(to=self.support)
        assert len(self.support.inbox()) == 1


class WithSettings(WaypostMixin, unittest.IsolatedAsyncioTestCase):
    waypost_settings: ClassVar = {"limits": "aws"}

    async def test_has_them(self):
        assert self.waypost.settings["limits"] == "aws"
        assert self.waypost.url not in URLS


def test_each_test_case_has_an_empty_server():
    URLS.clear()
    suite = unittest.TestSuite()
    for cases in (Plain, WithEnvironment, WithSettings):
        suite.addTests(unittest.defaultTestLoader.loadTestsFromTestCase(cases))
    output = io.StringIO()
    result = unittest.TextTestRunner(output).run(suite)
    assert result.testsRun == 4
    assert result.wasSuccessful(), output.getvalue()
    assert len(URLS) == 1
    assert "AWS_ENDPOINT_URL_CONNECT" not in os.environ
