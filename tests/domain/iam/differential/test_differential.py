"""Generated policies and requests, decided here and by @cloud-copilot/iam-simulate, which is not ours.

Every run asks the same questions; `WAYPOST_IAM_CASES` asks for more of them and `WAYPOST_IAM_SEED` for others.

Where the two disagree and we have a reason, the reason is a row of EXPLAINED: how to tell what it is about, and
the smallest example, with both answers. Nothing else may differ.
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
        reason=f"@cloud-copilot/iam-simulate is not installed in {MODULES}; WAYPOST_IAM_SIMULATE may say where it is",
    ),
]


class Part:
    """One line of a Condition, or one Resource or NotResource, and the request that it is asked about."""

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
        """Each variable, with the value it has and whether it has a default."""
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
    """A case of one statement about everything, except for what is said otherwise."""
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
    # AWS says that the operators for one value must not be used with several, not what comes of it. The caller may
    # have chosen how many there are (a search for two values of a tag), so a denial applies; the simulator has it that
    # neither a denial nor a permission does.
    "a denial applies where an operator for one value meets several": (
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
    # "The resource that includes a policy variable with no value will not match any resource" (ibid.), so it is
    # none of those that NotResource excepts. The simulator fails the statement.
    "a variable without a value excepts nothing from NotResource": (
        lambda part: part.element == "NotResource" and has_variable_without_value(part),
        one(NotResource=f"{INSTANCE}/${{aws:username}}"),
        YES,
        NO,
    ),
    # "AWS automatically completes the ARN by adding wildcard characters to all missing fields" (IAM User Guide,
    # "IAM identifiers"). The simulator does so for Resource, and fails the statement for NotResource.
    "an incomplete ARN is completed in NotResource as in Resource": (
        lambda part: part.element == "NotResource" and part.values[0].count(":") in range(1, 5),
        one(NotResource="arn:aws:sqs"),
        YES,
        NO,
    ),
    # "You cannot use a wildcard in the portion of the ARN that specifies the resource type", but IAM stores such
    # policies for services other than its own. The simulator takes the wildcard for that character itself.
    "a wildcard in the type of the resource is a wildcard": (
        has_wildcard_in_resource_type,
        one(Resource="arn:aws:connect:us-east-1:000000000000:inst*/i-1/email-address/e-1"),
        YES,
        NO,
    ),
    # A tag may have the empty value. The simulator takes it for no value (in JavaScript it is as good as none).
    "a variable can have an empty value": (
        lambda part: any(value == "" for value, _ in part.variables()),
        when("StringEquals", "aws:userid", "x${aws:username}", userid="x", username=""),
        YES,
        NO,
    ),
    # Epoch time is in seconds (aws:EpochTime). The simulator compares it with the milliseconds of dates.
    "seconds since 1970 compare with dates": (
        mixes_dates_and_seconds,
        when("DateEquals", "aws:CurrentTime", "1798761600", CurrentTime="2027-01-01T00:00:00Z"),
        YES,
        NO,
    ),
    # One address has many spellings, and none of one version is one of the other. The simulator compares single
    # addresses as text, and only if both are of the same version.
    "single addresses compare as addresses": (
        compares_addresses_as_text,
        when("IpAddress", "aws:SourceIp", "2001:db8::1", SourceIp="2001:DB8:0::1"),
        YES,
        NO,
    ),
    # What is no address is outside of every network, no number equals what is none, and so on, as a missing value
    # does. The simulator fails the condition, so that a Deny of strangers would not reach them.
    "a negated operator is true of a value of another kind": (
        is_of_another_kind,
        when("NotIpAddress", "aws:SourceIp", "192.0.2.0/24", SourceIp="nowhere"),
        YES,
        NO,
    ),
    # "Variables like ${aws:username} are treated as literal strings" (IAM User Guide, "Variables and tags"). The
    # simulator does not look at Version.
    "there are no variables in version 2008-10-17": (
        lambda part: part.old and "$" in "".join(part.values),
        one(
            version="2008-10-17",
            Resource=f"{INSTANCE}/email-address/${{aws:username}}",
            context={"aws:username": "e-1"},
        ),
        NO,
        YES,
    ),
    # IAM accepts `*` as a vendor, and it stands for all of them.
    "the vendor of an action can be *": (
        lambda part: "Action" in part.element and part.values[0].startswith("*:"),
        one(Action="*:TagResource"),
        YES,
        NO,
    ),
    # An empty list is no value (IAM User Guide, "Multivalued context keys"), so its key is missing.
    "a key without values is missing": (
        lambda part: part.found == [],
        when("Null", "aws:TagKeys", "true", TagKeys=[]),
        YES,
        NO,
    ),
    # ARNs compare with case ("Invalid ARN service case"). The simulator ignores it up to the account.
    "a region has its case": (
        lambda part: "Resource" in part.element and any(map(str.isupper, part.values[0].split(":")[:5])),
        one(Resource=ADDRESS.replace("us-east-1", "US-EAST-1")),
        NO,
        YES,
    ),
}


def reasons(case):
    """Why the simulator may see this case otherwise."""
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
    """Every case with our decision and theirs: the generated ones, then the examples."""
    generator = Generator(SEED)
    cases = [generator.case() for _ in range(CASES)] + [example for _, example, _, _ in EXPLAINED.values()]
    return list(zip(cases, map(our_decision, cases), their_decisions(cases), strict=True))


def test_generated_policies_are_decided_as_the_simulator_decides(answers):
    different = [answer for answer in answers[:CASES] if answer[1] != answer[2] and not reasons(answer[0])]
    assert different == []


def test_the_generated_questions_are_worth_asking(answers):
    decided = Counter(ours for case, ours, _ in answers[:CASES] if not reasons(case))
    assert min(decided[decision.value] for decision in decisions.Decision) > CASES / 14
    assert decided.total() > CASES * 0.7


@pytest.mark.parametrize("reason", EXPLAINED)
def test_every_explained_difference_is_one(answers, reason):
    example, ours, theirs = answers[CASES + list(EXPLAINED).index(reason)]
    assert (ours, theirs) == EXPLAINED[reason][2:]
    assert reasons(example) == {reason}
