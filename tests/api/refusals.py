"""The table of the errors that each operation can return, with one row for each case.

`test_refusals.py` provokes every row. `scripts/write_reference.py` writes the first three fields to
docs/aws-compatibility.md, so this module must not need a test runner.
"""

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from waypost.api.wire import shapes
from waypost.api.wire.http import Request
from waypost.domain.directory.instances import ALIAS_IS_USED

MODEL = shapes.load()

STATUS = {
    "InvalidParameterException": 400,
    "InvalidRequestException": 400,
    "ServiceQuotaExceededException": 402,
    "AccessDeniedException": 403,
    "ResourceNotFoundException": 404,
    "DuplicateResourceException": 409,
    "IdempotencyException": 409,
    "ResourceConflictException": 409,
    "ThrottlingException": 429,
}
MISSING_ID = "00000000-0000-4000-8000-000000000000"
NO_JSON = b"<html>"
INSTANCE = {"IdentityManagementType": "SAML", "InboundCallsEnabled": True, "OutboundCallsEnabled": False}

OWNER, GUEST, HURRY, FULL, NEIGHBOUR = "owner", "guest", "hurry", "full", "neighbour"
"""The callers: the server's owner, a key without permissions, a caller with too many calls, a caller whose instance is
full, and another account that may do everything in its own instance. The third and fourth have the limits of AWS."""


class Scene:
    """A new instance, and methods that create the resources of a case in it."""

    def __init__(self, connect: Any) -> None:
        self.connect = connect
        self.instance: str = connect.create_instance(**INSTANCE)["Id"]

    def spelling(self) -> str:
        """Return an address that does not exist yet."""
        return f"{uuid.uuid4().hex}@waypost.example"

    def address(self, **members: Any) -> str:
        """Create an email address; return its id."""
        wanted = {"InstanceId": self.instance, "EmailAddress": self.spelling(), **members}
        found: str = self.connect.create_email_address(**wanted)["EmailAddressId"]
        return found

    def address_in_own_domain(self) -> str:
        """Return an address that does not exist yet, in a domain that belongs to this account."""
        self.address(EmailAddress=f"{uuid.uuid4().hex}@own.example")
        return f"{uuid.uuid4().hex}@own.example"

    def arn(self, kind: str, *, partition: str = "aws", region: str = "us-east-1", account: str = "0" * 12) -> str:
        """Return the ARN of a resource in the instance, such as `email-address/ID`, or of the instance itself."""
        return f"arn:{partition}:connect:{region}:{account}:instance/{self.instance}{kind and f'/{kind}'}"

    def one(self, **members: Any) -> dict[str, Any]:
        """Create an email address; return the members of a call that names it."""
        return {"InstanceId": self.instance, "EmailAddressId": self.address(), **members}

    def pair(self, primary: str | None = None, alias: str | None = None, **members: Any) -> dict[str, Any]:
        """Return the members of a call for a primary and an alias, which are created unless they are given."""
        configuration = {"EmailAddressId": alias or self.address()}
        own = {"InstanceId": self.instance, "EmailAddressId": primary or self.address()}
        return {**own, "AliasConfiguration": configuration, **members}

    def linked(self, **members: Any) -> tuple[str, str]:
        """Create a primary with an alias; return both ids."""
        made = self.pair(**members)
        self.connect.associate_email_address_alias(**made)
        return made["EmailAddressId"], made["AliasConfiguration"]["EmailAddressId"]


Members = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """One case in which an operation returns an error."""

    operation: str
    case: str
    """The description of the case, which appears in the documentation."""
    error: str
    members: Callable[[Scene], Members]
    """A function that prepares the case, and returns the members of the refused call."""
    says: tuple[str, ...] = ()
    """Texts that the message must contain. `{Member}` stands for a member of the call."""
    body: bytes | None = None
    """The body to send instead of the members that belong in the body."""
    who: str = OWNER

    @property
    def status(self) -> int:
        return STATUS[self.error]


PROVOKED: list[Refusal] = []


def _row(operation: str, error: str, case: str, members: Callable[[Scene], Members], *says: str, **more: Any) -> None:
    PROVOKED.append(Refusal(operation=operation, error=error, case=case, members=members, says=says, **more))


INVALID, INVALID_REQUEST, NOT_FOUND = (
    "InvalidParameterException",
    "InvalidRequestException",
    "ResourceNotFoundException",
)
CONFLICT, REUSED, DUPLICATE = "ResourceConflictException", "IdempotencyException", "DuplicateResourceException"
QUOTA, DENIED, THROTTLED = "ServiceQuotaExceededException", "AccessDeniedException", "ThrottlingException"

_VALID: dict[str, Callable[[Scene], Members]] = {
    "AssociateEmailAddressAlias": lambda scene: scene.pair(),
    "CreateEmailAddress": lambda scene: {"InstanceId": scene.instance, "EmailAddress": scene.spelling()},
    "CreateInstance": lambda _: dict(INSTANCE),
    "DeleteEmailAddress": lambda scene: scene.one(),
    "DeleteInstance": lambda scene: {"InstanceId": scene.instance},
    "DescribeEmailAddress": lambda scene: scene.one(),
    "DescribeInstance": lambda scene: {"InstanceId": scene.instance},
    "DisassociateEmailAddressAlias": lambda scene: scene.pair(*scene.linked()),
    "ListInstances": lambda _: {},
    "ListTagsForResource": lambda scene: {"resourceArn": scene.arn("")},
    "SearchEmailAddresses": lambda scene: {"InstanceId": scene.instance},
    "TagResource": lambda scene: {"resourceArn": scene.arn(""), "tags": {"key": "value"}},
    "UntagResource": lambda scene: {"resourceArn": scene.arn(""), "tagKeys": ["key"]},
    "UpdateEmailAddressMetadata": lambda scene: scene.one(DisplayName="name"),
}
"""A function for each operation that returns the members of a successful call."""

ON_EMAIL_ADDRESSES = (
    "AssociateEmailAddressAlias",
    "DeleteEmailAddress",
    "DescribeEmailAddress",
    "DisassociateEmailAddressAlias",
    "UpdateEmailAddressMetadata",
)
IN_INSTANCES = (*ON_EMAIL_ADDRESSES, "CreateEmailAddress", "SearchEmailAddresses")
ON_PAIRS = ("AssociateEmailAddressAlias", "DisassociateEmailAddressAlias")
ON_TAGS = ("ListTagsForResource", "TagResource", "UntagResource")


def _changed(operation: str, **changes: Any) -> Callable[[Scene], Members]:
    """Return a function for a valid call with some members changed. A change may be a function of the scene."""

    def members(scene: Scene) -> Members:
        values = {name: value(scene) if callable(value) else value for name, value in changes.items()}
        return {**_VALID[operation](scene), **values}

    return members


def _without(operation: str, name: str) -> Callable[[Scene], Members]:
    return lambda scene: {member: value for member, value in _VALID[operation](scene).items() if member != name}


for _name, _valid in _VALID.items():
    _row(_name, INVALID_REQUEST, "the body is not JSON", _valid, "not valid JSON", body=NO_JSON)
    _row(_name, INVALID_REQUEST, "the body is a JSON array", _valid, "JSON object", body=b"[]")
    _row(_name, DENIED, "the policy of the key does not allow the call", _valid, f"perform: connect:{_name}", who=GUEST)
    _row(_name, THROTTLED, "more calls than the limits profile allows", _valid, "Rate exceeded", who=HURRY)

for _name in IN_INSTANCES:
    _row(
        _name,
        NOT_FOUND,
        "the instance does not exist",
        _changed(_name, InstanceId=MISSING_ID),
        "Instance {InstanceId} was",
    )
    for _what, _error, _arn in (
        ("in another region", NOT_FOUND, lambda scene: scene.arn("", region="eu-west-1")),
        ("in another account", NOT_FOUND, lambda scene: scene.arn("", account="1" * 12)),
        ("in another partition", INVALID, lambda scene: scene.arn("", partition="aws-cn")),
        ("that is malformed", INVALID, lambda _: "arn:instance"),
    ):
        _row(_name, _error, f"InstanceId is an ARN {_what}", _changed(_name, InstanceId=_arn), "{InstanceId}")
    _row(_name, INVALID, "InstanceId is longer than 100", _changed(_name, InstanceId="x" * 101), "equal to 100")
    _row(
        _name,
        INVALID,
        "InstanceId is the ARN of an email address",
        _changed(_name, InstanceId="arn:aws:connect:us-east-1:000000000000:instance/i/email-address/e"),
        "{InstanceId}",
        "not of an instance",
    )

for _name in ON_EMAIL_ADDRESSES:
    _row(
        _name,
        NOT_FOUND,
        "the email address does not exist",
        _changed(_name, EmailAddressId=MISSING_ID),
        "{EmailAddressId} was not found in instance {InstanceId}",
    )
    _row(
        _name,
        NOT_FOUND,
        "the email address is in another instance",
        _changed(_name, EmailAddressId=lambda scene: Scene(scene.connect).address()),
        "{EmailAddressId} was not found in instance {InstanceId}",
    )
    _row(_name, INVALID, "EmailAddressId is longer than 500", _changed(_name, EmailAddressId="x" * 501), "equal to 500")
    for _what, _error, _arn in (
        ("in another region", NOT_FOUND, lambda scene: scene.arn("email-address/e", region="eu-west-1")),
        ("in another account", NOT_FOUND, lambda scene: scene.arn("email-address/e", account="1" * 12)),
        ("in another instance", NOT_FOUND, lambda scene: Scene(scene.connect).arn("email-address/e")),
        ("in another partition", INVALID, lambda scene: scene.arn("email-address/e", partition="aws-us-gov")),
        ("of an instance", INVALID, lambda scene: scene.arn("")),
        ("of another type of resource", INVALID, lambda scene: scene.arn("queue/q")),
    ):
        _row(
            _name, _error, f"EmailAddressId is an ARN {_what}", _changed(_name, EmailAddressId=_arn), "{EmailAddressId}"
        )

for _name in ON_PAIRS:
    _alias = "{AliasConfiguration[EmailAddressId]}"
    _row(
        _name,
        NOT_FOUND,
        "the alias does not exist",
        lambda scene: scene.pair(alias=MISSING_ID),
        f"{_alias} was not found in instance {{InstanceId}}",
    )
    _row(
        _name,
        NOT_FOUND,
        "the alias is in another instance",
        lambda scene: scene.pair(alias=Scene(scene.connect).address()),
        f"{_alias} was not found in instance {{InstanceId}}",
    )
    _row(_name, NOT_FOUND, "the alias is an ARN of another instance", lambda scene: scene.pair(
        alias=Scene(scene.connect).arn("email-address/e")), _alias)  # fmt: skip
    _row(_name, INVALID, "the alias is the ARN of an instance", lambda scene: scene.pair(alias=scene.arn("")), _alias)
    _row(_name, INVALID, "AliasConfiguration is missing", _without(_name, "AliasConfiguration"), "'aliasConfiguration'")
    _row(
        _name,
        INVALID,
        "the alias has no id",
        _changed(_name, AliasConfiguration={}),
        "'aliasConfiguration.emailAddressId'",
    )
    _row(
        _name,
        INVALID_REQUEST,
        "a member has the wrong JSON type",
        _VALID[_name],
        "'aliasConfiguration'",
        body=b'{"AliasConfiguration":"a"}',
    )
    _row(_name, INVALID, "ClientToken is longer than 500", _changed(_name, ClientToken="x" * 501), "'clientToken'")


def _same(scene: Scene) -> Members:
    both = scene.address()
    return scene.pair(both, both)


def _with_linked(primary: int | None, alias: int | None) -> Callable[[Scene], Members]:
    """Return a function for a pair with addresses of an existing link: 0 stands for its primary, 1 for its alias."""

    def members(scene: Scene) -> Members:
        linked = scene.linked()
        return scene.pair(
            linked[primary] if primary is not None else None, linked[alias] if alias is not None else None
        )

    return members


_ASSOCIATE, _DISASSOCIATE = ON_PAIRS
_BOTH = ("{EmailAddressId}", "{AliasConfiguration[EmailAddressId]}")
_row(_ASSOCIATE, INVALID, "primary and alias are the same", _same, "{EmailAddressId}")
_row(_ASSOCIATE, CONFLICT, "the same link already exists", _with_linked(0, 1), *_BOTH)
_row(_ASSOCIATE, CONFLICT, "the link exists with the roles reversed", _with_linked(1, 0), *_BOTH)
_row(_ASSOCIATE, CONFLICT, "the primary already has an alias", _with_linked(0, None), "{EmailAddressId}")
_row(_ASSOCIATE, CONFLICT, "the primary is itself an alias", _with_linked(1, None), "{EmailAddressId}")
_row(_ASSOCIATE, CONFLICT, "the alias has an alias of its own", _with_linked(None, 0), _BOTH[1])
_row(_ASSOCIATE, CONFLICT, "the alias is already the alias of another address", _with_linked(None, 1), _BOTH[1])
_row(_DISASSOCIATE, NOT_FOUND, "there is no such link", lambda scene: scene.pair(), *_BOTH)
_row(_DISASSOCIATE, NOT_FOUND, "the link has the roles reversed", _with_linked(1, 0), *_BOTH)
_row(_DISASSOCIATE, NOT_FOUND, "the primary has another alias", _with_linked(0, None), *_BOTH)
_row(_DISASSOCIATE, NOT_FOUND, "the alias has another primary", _with_linked(None, 1), *_BOTH)


def _token_used_to_associate(scene: Scene) -> Members:
    scene.linked(ClientToken="once")
    return scene.pair(ClientToken="once")


def _token_used_to_disassociate(scene: Scene) -> Members:
    scene.connect.disassociate_email_address_alias(**scene.pair(*scene.linked(), ClientToken="once"))
    return scene.pair(ClientToken="once")


def _token_used_to_create(scene: Scene) -> Members:
    scene.address(ClientToken="once")
    return {"InstanceId": scene.instance, "EmailAddress": scene.spelling(), "ClientToken": "once"}


def _token_used_to_update(scene: Scene) -> Members:
    members = scene.one(ClientToken="once")
    scene.connect.update_email_address_metadata(**members)
    return {**members, "DisplayName": "another"}


def _token_used_to_create_an_instance(scene: Scene) -> Members:
    token = scene.spelling()
    scene.connect.create_instance(**INSTANCE, ClientToken=token)
    return {**INSTANCE, "InboundCallsEnabled": False, "ClientToken": token}


_USED = "the ClientToken was used with different parameters"
_row(_ASSOCIATE, REUSED, _USED, _token_used_to_associate, "ClientToken")
_row(_DISASSOCIATE, CONFLICT, _USED, _token_used_to_disassociate, "ClientToken")
_row("CreateEmailAddress", REUSED, _USED, _token_used_to_create, "ClientToken")
_row("UpdateEmailAddressMetadata", REUSED, _USED, _token_used_to_update, "ClientToken")
_row("CreateInstance", INVALID_REQUEST, _USED, _token_used_to_create_an_instance, "ClientToken")

_CREATE = "CreateEmailAddress"
_UPDATE = "UpdateEmailAddressMetadata"
_FIFTY_ONE = {f"key{number}": "" for number in range(51)}


def _taken(scene: Scene) -> Members:
    taken = scene.spelling()
    scene.address(EmailAddress=taken)
    return {"InstanceId": scene.instance, "EmailAddress": taken.upper()}


def _taken_elsewhere(scene: Scene) -> Members:
    taken = scene.spelling()
    Scene(scene.connect).address(EmailAddress=taken)
    return {"InstanceId": scene.instance, "EmailAddress": taken}


_row(_CREATE, DUPLICATE, "the address exists in the instance, in any letter case", _taken, "already exists")
_row(_CREATE, DUPLICATE, "the address exists in another instance", _taken_elsewhere, "already exists")
_row(_CREATE, INVALID, "EmailAddress is missing", _without(_CREATE, "EmailAddress"), "'emailAddress'")
_row(_CREATE, INVALID, "EmailAddress has no @", _changed(_CREATE, EmailAddress="support"), "'emailAddress'", "pattern")
_row(
    _CREATE, INVALID, "EmailAddress is longer than 255", _changed(_CREATE, EmailAddress=f"a@{'x' * 250}.example"), "255"
)
for _case, _address in {
    "has two @": "a@b@c.example",
    "has a space": "a b@c.example",
    "has two dots in a row": "a..b@c.example",
    "has an invalid domain name": "a@-c.example",
    "has an underscore in its domain": "a@c_d.example",
    "has more than 64 octets before the @": f"{'x' * 65}@c.example",
}.items():
    _row(
        _CREATE, INVALID, f"EmailAddress {_case}", _changed(_CREATE, EmailAddress=_address), "EmailAddress is not valid"
    )
_row(_CREATE, INVALID, "a tag key is reserved", _changed(_CREATE, Tags={"aws:team": "x"}), "'tags.key'", "aws:")
_row(_CREATE, INVALID, "a tag key is reserved, in capitals", _changed(_CREATE, Tags={"AWS:team": "x"}), "'AWS:team'")
_row(_CREATE, INVALID, "Tags has more than 50 tags", _changed(_CREATE, Tags=_FIFTY_ONE), "equal to 50")
_row(_CREATE, INVALID, "Tags is empty", _changed(_CREATE, Tags={}), "'tags'", "equal to 1")
_row(
    _CREATE,
    CONFLICT,
    "another account has an email address in the domain, and the domain is not shared",
    lambda scene: {**_VALID[_CREATE](scene), "EmailAddress": scene.address_in_own_domain()},
    "Domain own.example belongs to another account",
    who=NEIGHBOUR,
)
_row(_CREATE, QUOTA, "the instance has reached its quota", _VALID[_CREATE], "100 email addresses", who=FULL)
for _name in (_CREATE, _UPDATE):
    _long = {"DisplayName": 256, "Description": 4096, "ClientToken": 500}
    for _member, _most in _long.items():
        _row(
            _name,
            INVALID,
            f"{_member} is longer than {_most:,}",
            _changed(_name, **{_member: "x" * (_most + 1)}),
            f"'{_member[0].lower()}{_member[1:]}'",
            f"equal to {_most}",
        )
    _row(
        _name,
        INVALID_REQUEST,
        "a member has the wrong JSON type",
        _VALID[_name],
        "'displayName'",
        body=b'{"EmailAddress":"a@b.example","DisplayName":1}',
    )

_SEARCH = "SearchEmailAddresses"
_TEXT = {"FieldName": "description", "ComparisonType": "EXACT", "Value": "x"}
for _case, _members, *_says in (
    ("InstanceId is missing", None, "'instanceId'"),
    ("MaxResults is 0", {"MaxResults": 0}, "'maxResults'", "equal to 1"),
    ("MaxResults is more than 100", {"MaxResults": 101}, "'maxResults'", "equal to 100"),
    ("NextToken was not returned by an earlier call", {"NextToken": "x"}, "NextToken"),
    ("NextToken is longer than 2,500", {"NextToken": "x" * 2501}, "'nextToken'", "2500"),
    (
        "FieldName is not a searchable field",
        {"SearchCriteria": {"StringCondition": {**_TEXT, "FieldName": "name"}}},
        "'name'",
        "emailAddress",
    ),
    ("a StringCondition lacks a member", {"SearchCriteria": {"StringCondition": {"FieldName": "x"}}}, "needs Value"),
    (
        "ComparisonType is not a known type",
        {"SearchCriteria": {"StringCondition": {**_TEXT, "ComparisonType": "LIKE"}}},
        "STARTS_WITH",
    ),
    (
        "a node of SearchCriteria has several kinds of condition",
        {"SearchCriteria": {"StringCondition": _TEXT, "AndConditions": [{"StringCondition": _TEXT}]}},
        "only one kind of condition",
    ),
    (
        "a TagFilter has several kinds of condition",
        {"SearchFilter": {"TagFilter": {"TagCondition": {"TagKey": "x"}, "AndConditions": [{"TagKey": "x"}]}}},
        "only one kind of condition",
    ),
    ("a TagCondition has no TagKey", {"SearchFilter": {"TagFilter": {"TagCondition": {}}}}, "needs TagKey"),
    (
        "there are more than 100 conditions",
        {"SearchCriteria": {"AndConditions": [{"StringCondition": _TEXT}] * 101}},
        "at most 100 conditions, not 101",
    ),
    (
        "a value is longer than 4,096 characters",
        {"SearchCriteria": {"StringCondition": {**_TEXT, "Value": "x" * 4097}}},
        "at most 4096 characters in its values",
    ),
):
    _row(
        _SEARCH, INVALID, _case, _changed(_SEARCH, **_members) if _members else _without(_SEARCH, "InstanceId"), *_says
    )
_row(
    _SEARCH,
    INVALID_REQUEST,
    "a member has the wrong JSON type",
    _VALID[_SEARCH],
    "'maxResults'",
    body=b'{"InstanceId":"i","MaxResults":"1"}',
)

_row("CreateInstance", INVALID_REQUEST, "the InstanceAlias exists, in any letter case", lambda scene: {
    **INSTANCE, "InstanceAlias": _take_alias(scene).upper()}, ALIAS_IS_USED)  # fmt: skip
for _member in INSTANCE:
    _row(
        "CreateInstance",
        INVALID_REQUEST,
        f"{_member} is missing",
        _without("CreateInstance", _member),
        "must not be null",
    )
for _case, _members, *_says in (
    ("IdentityManagementType is not a known type", {"IdentityManagementType": "x"}, "SAML"),
    ("InstanceAlias begins with d-", {"InstanceAlias": "d-alias"}, "'instanceAlias'"),
    ("InstanceAlias is longer than 45", {"InstanceAlias": "x" * 46}, "equal to 45"),
    ("DirectoryId is malformed", {"DirectoryId": "d-XXXXXXXXXX"}, "'directoryId'"),
    ("a tag key is reserved, in capitals", {"Tags": {"AWS:team": "x"}}, "'AWS:team'"),
    ("Tags has more than 50 tags", {"Tags": _FIFTY_ONE}, "equal to 50"),
):
    _row("CreateInstance", INVALID_REQUEST, _case, _changed("CreateInstance", **_members), *_says)


def _take_alias(scene: Scene) -> str:
    alias = f"w{uuid.uuid4().hex}"
    scene.connect.create_instance(**INSTANCE, InstanceAlias=alias)
    return alias


_FIELD = "Invalid input for field InstanceId"
for _name in ("DescribeInstance", "DeleteInstance"):
    _row(
        _name,
        NOT_FOUND,
        "the instance does not exist",
        _changed(_name, InstanceId=MISSING_ID),
        "Instance {InstanceId} was",
    )
    _row(
        _name, INVALID_REQUEST, "InstanceId is an ARN", _changed(_name, InstanceId=lambda scene: scene.arn("")), _FIELD
    )
    _row(_name, INVALID_REQUEST, "InstanceId is longer than 100", _changed(_name, InstanceId="x" * 101), "equal to 100")
_row(
    "ListInstances",
    INVALID_REQUEST,
    "MaxResults is more than 10",
    _changed("ListInstances", MaxResults=11),
    "equal to 10",
)
_row(
    "ListInstances",
    INVALID_REQUEST,
    "MaxResults is not a number",
    _changed("ListInstances", MaxResults="x"),
    "maxResults",
)
_row(
    "ListInstances",
    INVALID_REQUEST,
    "NextToken was not returned by an earlier call",
    _changed("ListInstances", NextToken="x"),
    "NextToken",
)

for _name in ON_TAGS:
    for _what, _error, _arn in (
        ("an instance that does not exist", NOT_FOUND, lambda scene: scene.arn("").replace(scene.instance, MISSING_ID)),
        ("an email address that does not exist", NOT_FOUND, lambda scene: scene.arn(f"email-address/{MISSING_ID}")),
        ("an email address, with the id of another instance", NOT_FOUND, lambda scene: Scene(scene.connect).arn(
            f"email-address/{scene.address()}")),
        ("another region", NOT_FOUND, lambda scene: scene.arn("", region="eu-west-1")),
        ("another account", NOT_FOUND, lambda scene: scene.arn("", account="1" * 12)),
        ("another partition", INVALID, lambda scene: scene.arn("", partition="aws-cn")),
        ("another service", INVALID, lambda scene: scene.arn("").replace("connect", "s3")),
        ("another type of resource", INVALID, lambda scene: scene.arn("queue/q")),
    ):  # fmt: skip
        _says = MISSING_ID if "not exist" in _what else "was not found" if _error == NOT_FOUND else "{resourceArn}"
        _row(_name, _error, f"the ARN is of {_what}", _changed(_name, resourceArn=_arn), _says)
    _row(
        _name,
        INVALID,
        "resourceArn is not an ARN",
        _changed(_name, resourceArn=lambda scene: scene.instance),
        "{resourceArn}",
    )


def _tagged(**tags: str) -> Callable[[Scene], Members]:
    return _changed("TagResource", tags=tags)


def _fifty_one_in_all(scene: Scene) -> Members:
    members = {"resourceArn": scene.arn("")}
    scene.connect.tag_resource(**members, tags=dict(list(_FIFTY_ONE.items())[:30]))
    return {**members, "tags": dict(list(_FIFTY_ONE.items())[30:])}


_row("TagResource", INVALID, "tags is missing", _without("TagResource", "tags"), "'tags'")
_row("TagResource", INVALID, "tags is empty", _tagged(), "'tags'")
_row("TagResource", INVALID, "tags has more than 50 tags", _tagged(**_FIFTY_ONE), "equal to 50")
_row("TagResource", INVALID, "the resource would have more than 50 tags", _fifty_one_in_all, "at most 50 tags", "51")
_row("TagResource", INVALID, "a tag key is empty", _tagged(**{"": "x"}), "'tags.key'")
_row("TagResource", INVALID, "a tag key is longer than 128", _tagged(**{"x" * 129: "x"}), "equal to 128")
_row("TagResource", INVALID, "a tag value is longer than 256", _tagged(x="x" * 257), "equal to 256")
_row("TagResource", INVALID, "a tag key has a character that is not allowed", _tagged(**{"a!": "x"}), "'tags.key'")
_row("TagResource", INVALID, "a tag key is reserved", _tagged(**{"aws:x": "x"}), "'tags.key'")
_row("TagResource", INVALID, "a tag key is reserved, in capitals", _tagged(**{"AWS:x": "x"}), "'AWS:x'")
_row(
    "TagResource",
    INVALID_REQUEST,
    "a tag value is not a string",
    _VALID["TagResource"],
    "tags.a.value",
    body=b'{"tags":{"a":1}}',
)
_row("UntagResource", INVALID, "tagKeys is missing", _without("UntagResource", "tagKeys"), "'tagKeys'")
_row("UntagResource", INVALID, "tagKeys has more than 50 keys", _changed("UntagResource", tagKeys=[*_FIFTY_ONE]), "50")
_row("UntagResource", INVALID, "a key is reserved", _changed("UntagResource", tagKeys=["aws:x"]), "'tagKeys.1.member'")

REFUSALS = tuple(PROVOKED)
"""All cases in which an operation returns an error."""

_LOCKED = (
    "With PostgreSQL, this error occurs only if another call locks the email address for too long "
    "(`tests/store/contract/test_waiting.py`). With SQLite, this error never occurs."
)
NEVER = {
    ("CreateInstance", NOT_FOUND): "The call does not name a resource that must exist.",
    ("CreateInstance", QUOTA): "The number of instances is not limited.",
    ("DeleteEmailAddress", CONFLICT): _LOCKED,
}
"""The exceptions in the model that an operation never returns, with the reasons."""


def rest_json(operation: str, members: Members, body: bytes | None = None) -> Request:
    """Return the request that an SDK sends, with another body if `body` is given."""
    found = MODEL.operations[operation]
    rest = dict(members)
    labels = {member.wire_name: quote(rest.pop(member.name), safe="") for member in found.input.labels}
    path = "".join(f"/{labels[part[1:-1]] if part.startswith('{') else part}" for part in found.segments)
    query = {member.wire_name: rest.pop(member.name) for member in found.input.query if member.name in rest}
    if body is None:
        body = json.dumps(rest).encode() if rest else b""
    return Request(found.method, path, urlencode(query, doseq=True, quote_via=quote), (), body)


def json_1_1(operation: str, members: Members) -> Request:
    """Return the request in the form of the examples in the API Reference."""
    headers = (
        ("x-amz-target", f"AmazonConnectService.{operation}"),
        ("content-type", "application/x-amz-json-1.1"),
    )
    return Request("POST", "/", "", headers, json.dumps(members).encode())
