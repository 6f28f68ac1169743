"""Replaces moto in moto's own tests: `mock_aws` gives each test a Waypost server without instances."""

import functools
import os
from unittest import mock

import boto3

from waypost import testing


def mock_aws(test):
    @functools.wraps(test)
    def on_waypost(*args, **kwargs):
        with testing.server() as server:
            arguments = server.client_arguments
            environment = {
                "AWS_ENDPOINT_URL_CONNECT": arguments["endpoint_url"],
                "AWS_ACCESS_KEY_ID": arguments["aws_access_key_id"],
                "AWS_SECRET_ACCESS_KEY": arguments["aws_secret_access_key"],
                "NO_PROXY": "127.0.0.1",
            }
            with mock.patch.dict(os.environ, environment):
                boto3.setup_default_session()
                client = boto3.client("connect", region_name="us-east-1")
                for instance in client.list_instances()["InstanceSummaryList"]:  # moto starts without an instance
                    client.delete_instance(InstanceId=instance["Id"])
                return test(*args, **kwargs)

    return on_waypost
