"""Builders of policies, and shortcuts that evaluate them."""

import json

from waypost.domain.iam import decisions, policies

INSTANCE = "arn:aws:connect:us-east-1:000000000000:instance/i-1"
ADDRESS = f"{INSTANCE}/email-address/e-1"
ACTION = "connect:DescribeEmailAddress"


def a_statement(effect="Allow", **elements):
    """Build a statement that covers everything, unless an element says otherwise; None leaves an element out."""
    statement = {"Effect": effect, "Action": "*", "Resource": "*"} | elements
    for name in ("Action", "Resource"):
        if f"Not{name}" in elements and name not in elements:
            del statement[name]
    return {name: value for name, value in statement.items() if value is not None}


def a_document(*statements, version="2012-10-17"):
    return json.dumps({"Version": version, "Statement": list(statements)})


def lookup_in(context):
    """Build a lookup that ignores case, as the API's does. A value in `context` is a string or a list of strings."""
    by_key = {key.lower(): value for key, value in context.items()}

    def lookup(key):
        found = by_key.get(key.lower())
        return (found,) if isinstance(found, str) else None if found is None else tuple(found)

    return lookup


def decide(*statements, action=ACTION, resource=ADDRESS, context=None, version="2012-10-17"):
    """Evaluate a policy with these statements; return the decision as text, such as "implicit deny"."""
    policy = policies.parse(a_document(*statements, version=version))
    return decisions.decide(policy, action=action, resource=resource, lookup=lookup_in(context or {})).value
