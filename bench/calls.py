"""Creates signed calls of the Amazon Connect API as bytes, with the headers that boto3 sends."""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import botocore.session
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from waypost.testing.process import Server

_USER_AGENT = f"Boto3 md/Botocore#{botocore.__version__} ua/2.1 os/linux lang/python cfg/retry-mode#standard"


@dataclass(frozen=True, slots=True)
class Pair:
    """The ids of two email addresses that can be linked."""

    primary_id: str
    alias_id: str


class Calls:
    """Creates signed calls for one instance on one server. AWS's signatures are valid for 15 minutes."""

    def __init__(self, server: Server, instance_id: str) -> None:
        self._instance_id = instance_id
        self._path = f"/email-addresses/{instance_id}"
        self._url = server.url
        self._host = server.url.removeprefix("http://")
        credentials = Credentials(server.profile.key.id, server.profile.key.secret)
        self._signer = SigV4Auth(credentials, "connect", server.profile.region)

    def create(self, address: str) -> bytes:
        return self._signed("PUT", self._path, {"EmailAddress": address})

    def describe(self, email_address_id: str) -> bytes:
        return self._signed("GET", f"{self._path}/{email_address_id}")

    def describe_instance(self) -> bytes:
        return self._signed("GET", f"/instance/{self._instance_id}")

    def associate(self, pair: Pair) -> bytes:
        return self._with_alias("associate-alias", pair)

    def disassociate(self, pair: Pair) -> bytes:
        return self._with_alias("disassociate-alias", pair)

    def search(self, field: str, comparison: str, value: str) -> bytes:
        condition = {"FieldName": field, "ComparisonType": comparison, "Value": value}
        members = {"InstanceId": self._instance_id, "SearchCriteria": {"StringCondition": condition}}
        return self._signed("POST", "/search-email-addresses", members)

    def _with_alias(self, verb: str, pair: Pair) -> bytes:
        # SDKs send a new client token with every such call, which Waypost must store. So the benchmark does the same.
        members = {"AliasConfiguration": {"EmailAddressId": pair.alias_id}, "ClientToken": str(uuid.uuid4())}
        return self._signed("POST", f"{self._path}/{pair.primary_id}/{verb}", members)

    def _signed(self, method: str, path: str, members: Mapping[str, Any] | None = None) -> bytes:
        body = json.dumps(members).encode() if members else b""
        headers = {"Host": self._host}
        if members:
            headers["Content-Type"] = "application/json"
        request = AWSRequest(method, self._url + path, headers=headers, data=body)
        self._signer.add_auth(request)
        sent = {
            "Accept-Encoding": "identity",
            **dict(request.headers.items()),
            "User-Agent": _USER_AGENT,
            "amz-sdk-invocation-id": str(uuid.uuid4()),
            "amz-sdk-request": "attempt=1",
        }
        if members:
            sent["Content-Length"] = str(len(body))
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items()), "", ""]
        return "\r\n".join(lines).encode() + body
