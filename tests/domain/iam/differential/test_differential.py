"""Tests that evaluate generated policies with Waypost and with @cloud-copilot/iam-simulate, an independent program.

Every run uses the same cases. `WAYPOST_IAM_CASES` sets the number of cases, and `WAYPOST_IAM_SEED` selects other cases.

If the two programs disagree for a known reason, the reason is a row of EXPLAINED. The row has a function that detects
the cases, and the smallest example with both decisions. No other case may differ.
"""

import json
import os
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.domain.iam.differential.generated import ADDRESS, INSTANCE, Generator
from waypost.domain.iam import decisions, operands, policies

HERE = Path(__file__).parent
DEFAULT = HERE.parents[3] / ".venv" / "iam-simulate" / "node_modules"
MODULES = Path(os.environ.get("WAYPOST_IAM_SIMULATE", DEFAULT))
CASES = int(os.environ.get("WAYPOST_IAM_CASES", "800"))
SEED = int(os.environ.get("WAYPOST_IAM_SEED", "1"))

pytestmark = [
    pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed"),
    pytest.mark.skipif(
        not (MODULES / "@cloud-copilot" / "iam-simulate").is_dir(),
        reason=f"@cloud-copilot/iam-simulate is not installed in {MODULES}; set WAYPOST_IAM_SIMULATE to its directory",
    ),
]


class Part:
    """One entry of a Condition, or one value of an Action, NotAction, Resource or NotResource, with the request."""

    def __init__(self, case, element, key, values):
        self.context = {name.lower(): value for name, value in case["context"].items()}
        self.element = element
        self.key = key
        self.values = values
        self.found = self.context.get(key.lower())
        self.old = case["policy"]["Version"] == "2008-10-17"
        self.action = case["action"]

    @property
    def negated(self):
        return "Not" in self.element

    def variables(self):
        """Yield the value of each variable, and whether the variable has a default."""
        for inside in re.findall(r"\$\{([^}]*)\}", " ".join(self.values)):
            if inside not in {"*", "?", "$"}:
                key, _, default = inside.partition(", ")
                yield self.context.get(key.lower()), bool(default)


def parts_of(case):
    statements = case["policy"]["Statement"]
    for statement in statements if isinstance(statements, list) else [statements]:
        for element in ("Action", "NotAction", "Resource", "NotResource"):
            if element in statement:
                found = statement[element]
                for value in found if isinstance(found, list) else [found]:
                    yield Part(case, element, "", [value])
        for operator, lines in statement.get("Condition", {}).items():
            for key, values in lines.items():
                yield Part(case, operator, key, values if isinstance(values, list) else [values])


def has_variable_without_value(part):
    return any(not isinstance(value, str) and not default for value, default in part.variables())


def has_wildcard_in_resource_type(part):
    resource_type, separator, _ = re.match(r"([^/:]*)([/:]?)(.*)", part.values[0].split(":", 5)[-1]).groups()
    return part.element in {"Resource", "NotResource"} and bool(separator) and bool(set("*?$") & set(resource_type))


def is_of_another_kind(part):
    kinds = {
        "NumericNot": lambda: operands.number(part.found) is not None,
        "ArnNot": lambda: part.found.startswith("arn:"),
        "NotIpAddress": lambda: operands.network(part.found) is not None,
    }
    return isinstance(part.found, str) and any(kind in part.element and not fits() for kind, fits in kinds.items())


def mixes_dates_and_seconds(part):
    return "Date" in part.element and len({value.isdigit() for value in [*part.values, part.found or "0"]}) > 1


def compares_addresses_as_text(part):
    return "IpAddress" in part.element and any(
        "/" not in value and part.found != value and (":" in value or ":" in str(part.found)) for value in part.values
    )


def compares_one_with_several(part):
    several = isinstance(part.found, list) and len(part.found) > 1
    return several and not part.element.startswith(("For", "Null"))


def one(effect="Allow", version="2012-10-17", resource=ADDRESS, context=None, action="connect:TagResource", **elements):
    """Build a case with one statement that covers everything, unless an element says otherwise."""
    elements = {"Action": "*", "Resource": "*"} | elements
    for element in ("Action", "Resource"):
        if f"Not{element}" in elements:
            del elements[element]
    policy = {"Version": version, "Statement": [{"Effect": effect, **elements}]}
    return {"policy": policy, "action": action, "resource": resource, "context": context or {}}


def when(operator, key, value, **context):
    return one(Condition={operator: {key: value}}, context={"aws:" + name: found for name, found in context.items()})


YES, NO = "allowed", "implicit deny"

EXPLAINED = {
    # AWS says that operators for one value must not be used with several values, but not what the result is. The
    # caller may have chosen the number of values (in a search for two values of a tag), so a Deny applies here. In the
    # simulator, neither a Deny nor an Allow applies.
    "a Deny applies if an operator for one value meets several values": (
        compares_one_with_several,
        one(
            "Deny",
            Condition={"StringEquals": {"connect:SearchTag/team": "a"}},
            context={"connect:SearchTag/team": ["a", "b"]},
        ),
        "explicit deny",
        NO,
    ),
    # "Inverted condition operators like StringNotEquals or StringNotLike do match against a null value" (IAM User
    # Guide, "Policy variables with no value"). The simulator fails the condition.
    "a negated operator is true of a variable without a value": (
        lambda part: part.negated and part.key and has_variable_without_value(part),
        when("StringNotEquals", "aws:userid", "${aws:username}", userid="x"),
        YES,
        NO,
    ),
    # "The resource that includes a policy variable with no value will not match any resource" (ibid.), so NotResource
    # excludes no resource. The simulator fails the statement.
    "with a variable without a value, NotResource excludes no resource": (
        lambda part: part.element == "NotResource" and has_variable_without_value(part),
        one(NotResource=f"{INSTANCE}/${{aws:username}}"),
        YES,
        NO,
    ),
    # "AWS automatically completes the ARN by adding wildcard characters to all missing fields" (IAM User Guide,
    # "IAM identifiers"). The simulator does so for Resource, and fails the statement for NotResource.
    "an incomplete ARN is completed in NotResource, too": (
        lambda part: part.element == "NotResource" and part.values[0].count(":") in range(1, 5),
        one(NotResource="arn:aws:sqs"),
        YES,
        NO,
    ),
    # "You cannot use a wildcard in the portion of the ARN that specifies the resource type", but IAM stores such
    # policies for other services. The simulator treats the wildcard as a literal character.
    "a wildcard in the resource type is a wildcard": (
        has_wildcard_in_resource_type,
        one(Resource="arn:aws:connect:us-east-1:000000000000:inst*/i-1/email-address/e-1"),
        YES,
        NO,
    ),
    # A tag may have an empty value. The simulator treats it as a missing value, because JavaScript's empty string is
    # falsy.
    "a variable can have an empty value": (
        lambda part: any(value == "" for value, _ in part.variables()),
        when("StringEquals", "aws:userid", "x${aws:username}", userid="x", username=""),
        YES,
        NO,
    ),
    # Epoch time is in seconds (aws:EpochTime). The simulator compares the seconds with a date in milliseconds.
    "seconds since 1970 can be compared with dates": (
        mixes_dates_and_seconds,
        when("DateEquals", "aws:CurrentTime", "1798761600", CurrentTime="2027-01-01T00:00:00Z"),
        YES,
        NO,
    ),
    # One address has many spellings, and an IPv4 address never equals an IPv6 address. The simulator compares single
    # addresses as text, and only if both have the same version.
    "single addresses are compared as addresses": (
        compares_addresses_as_text,
        when("IpAddress", "aws:SourceIp", "2001:db8::1", SourceIp="2001:DB8:0::1"),
        YES,
        NO,
    ),
    # A value of the wrong type matches nothing, like a missing value: it is in no network, and it equals no number. The
    # simulator fails the condition, so a Deny of all callers outside a network would not apply to such a value.
    "a negated operator is true of a value of the wrong type": (
        is_of_another_kind,
        when("NotIpAddress", "aws:SourceIp", "192.0.2.0/24", SourceIp="nowhere"),
        YES,
        NO,
    ),
    # "Variables like ${aws:username} are treated as literal strings" (IAM User Guide, "Variables and tags"). The
    # simulator ignores the Version of a policy.
    "version 2008-10-17 has no variables": (
        lambda part: part.old and "$" in "".join(part.values),
        one(
            version="2008-10-17",
            Resource=f"{INSTANCE}/email-address/${{aws:username}}",
            context={"aws:username": "e-1"},
        ),
        NO,
        YES,
    ),
    # IAM accepts `*` as a service prefix, and it stands for all services.
    "the service prefix of an action can be *": (
        lambda part: "Action" in part.element and part.values[0].startswith("*:"),
        one(Action="*:TagResource"),
        YES,
        NO,
    ),
    # An empty list has no value (IAM User Guide, "Multivalued context keys"), so its key is missing.
    "a key without values is missing": (
        lambda part: part.found == [],
        when("Null", "aws:TagKeys", "true", TagKeys=[]),
        YES,
        NO,
    ),
    # ARNs are case-sensitive ("Invalid ARN service case"). The simulator ignores the case up to the account.
    "a region is case-sensitive": (
        lambda part: "Resource" in part.element and any(map(str.isupper, part.values[0].split(":")[:5])),
        one(Resource=ADDRESS.replace("us-east-1", "US-EAST-1")),
        NO,
        YES,
    ),
}


def reasons(case):
    """Return the reasons why the simulator may decide this case differently."""
    return {reason for part in parts_of(case) for reason, (is_about, *_) in EXPLAINED.items() if is_about(part)}


def our_decision(case):
    context = {name.lower(): value for name, value in case["context"].items()}

    def lookup(key):
        found = context.get(key.lower())
        return found if found is None else (found,) if isinstance(found, str) else tuple(found)

    policy = policies.parse(json.dumps(case["policy"]))
    return decisions.decide(policy, action=case["action"], resource=case["resource"], lookup=lookup).value


def their_decisions(cases):
    done = subprocess.run(
        ["node", HERE / "simulate.mjs", MODULES], input=json.dumps(cases), capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def answers():
    """The generated cases and then the examples, each with the decisions of Waypost and of the simulator."""
    generator = Generator(SEED)
    cases = [generator.case() for _ in range(CASES)] + [example for _, example, _, _ in EXPLAINED.values()]
    return list(zip(cases, map(our_decision, cases), their_decisions(cases), strict=True))


def test_waypost_and_the_simulator_agree_on_generated_policies(answers):
    different = [answer for answer in answers[:CASES] if answer[1] != answer[2] and not reasons(answer[0])]
    assert different == []


def test_the_generated_cases_have_all_decisions_and_few_explained_differences(answers):
    decided = Counter(ours for case, ours, _ in answers[:CASES] if not reasons(case))
    assert min(decided[decision.value] for decision in decisions.Decision) > CASES / 14
    assert decided.total() > CASES * 0.7


@pytest.mark.parametrize("reason", EXPLAINED)
def test_every_explained_difference_still_exists(answers, reason):
    example, ours, theirs = answers[CASES + list(EXPLAINED).index(reason)]
    assert (ours, theirs) == EXPLAINED[reason][2:]
    assert reasons(example) == {reason}
