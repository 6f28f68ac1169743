"""A generator of random policies and requests, from a seed and from few values, so that they often match."""

import random

INSTANCE = "arn:aws:connect:us-east-1:000000000000:instance/i-1"
ADDRESS = f"{INSTANCE}/email-address/e-1"
RESOURCES = [
    INSTANCE,
    ADDRESS,
    f"{INSTANCE}/email-address/ann",
    "arn:aws:connect:eu-west-1:000000000000:instance/i-2/email-address/e-2",
    "arn:aws:connect:us-east-1:111111111111:instance/i-1",
    "arn:aws:sqs:us-east-1:000000000000:queue:e-1",
    "*",
]
ACTIONS = [
    "connect:DescribeEmailAddress",
    "connect:DeleteEmailAddress",
    "connect:SearchEmailAddresses",
    "connect:TagResource",
    "connect:ListInstances",
]
WORDS = ["ann", "bob", "Ann", "team-a", "team-b", "", "10", "a*", "i-1", "true"]
VALUES = {
    "connect:InstanceId": ["i-1", "i-2", "I-1", "i-10"],
    "aws:ResourceTag/team": WORDS,
    "aws:RequestTag/team": WORDS,
    "aws:RequestTag/Cost Center": ["10", "10.0", "9", "-1", "10.5", "10", "9", "ten"],
    "connect:SearchTag/team": WORDS,
    "aws:TagKeys": ["team", "cost", "Team", "owner"],
    "aws:username": ["ann", "bob", "e-1", "ann", "bob", "e-1", "ann", "bob", "e-1", ""],
    "aws:SourceIp": ["192.0.2.1", "192.0.2.200", "198.51.100.7", "2001:db8::1", "2001:DB8:0::1", "nowhere"],
    "aws:SecureTransport": ["true", "false", "True"],
    "aws:CurrentTime": ["2027-01-01T00:00:00Z", "2026-12-31T23:59:59Z", "2027-01-01T01:00:00+01:00"],
    "aws:PrincipalArn": [*RESOURCES[:-1], "not an arn"],
    "aws:FederatedProvider": ["QQ==", "Qg=="],
}
POLICY_VALUES = {
    "aws:SourceIp": ["192.0.2.0/24", "192.0.2.1", "192.0.2.1/32", "198.51.0.0/16", "2001:db8::/32", "2001:db8::1"],
    "aws:CurrentTime": ["2027-01-01T00:00:00Z", "2027-01-01", "2026-06-01T12:00:00.5Z", "2027-01-01T00:30+00:30"],
    "aws:RequestTag/Cost Center": ["10", "9.5", "-1", "0"],
    "aws:SecureTransport": ["true", "false", "TRUE"],
}
STRINGS = ["StringEquals", "StringNotEquals", "StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase", "StringLike",
           "StringNotLike"]  # fmt: skip
NUMBERS = ["NumericEquals", "NumericNotEquals", "NumericLessThan", "NumericLessThanEquals", "NumericGreaterThan",
           "NumericGreaterThanEquals"]  # fmt: skip
OPERATORS = {
    "aws:SourceIp": ["IpAddress", "NotIpAddress", "StringLike"],
    "aws:SecureTransport": ["Bool", "StringEqualsIgnoreCase"],
    "aws:CurrentTime": [name.replace("Numeric", "Date") for name in NUMBERS],
    "aws:RequestTag/Cost Center": NUMBERS,
    "aws:PrincipalArn": ["ArnEquals", "ArnLike", "ArnNotEquals", "ArnNotLike", "StringLike", "StringNotEquals"],
    "aws:FederatedProvider": ["BinaryEquals"],
}
VARIABLES = ["${aws:username}", "${aws:ResourceTag/team}", "${aws:username, 'ann'}", "${aws:TagKeys}", "${*}", "${?}",
             "${$}", "${AWS:UserName}", "${aws:TagKeys, 'ann'}"]  # fmt: skip


class Generator:
    """A generator of policies and requests that share many of their values."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.focus = {}

    def from_request(self, name, choices):
        """Return the request's value in most cases, so that policies match, and otherwise a random choice."""
        return self.focus[name] if name in self.focus and self.chance(0.7) else self.random.choice(choices)

    def chance(self, share):
        return self.random.random() < share

    def some(self, make, most=3):
        return [make() for _ in range(self.random.choice([1, 1, 1, 2, most]))]

    def listed(self, values):
        return values[0] if len(values) == 1 and self.chance(0.5) else values

    def blurred(self, text):
        """Return the text with a part of it replaced by wildcards."""
        match self.random.randrange(5):
            case 0:
                at = self.random.randint(0, len(text))
                return text[:at] + "*"
            case 1 if text:
                at = self.random.randrange(len(text))
                return text[:at] + "?" + text[at + 1 :]
            case 2:
                start, end = sorted(self.random.randint(0, len(text)) for _ in range(2))
                return text[:start] + "*" + text[end:]
            case 3:
                return "*"
        return text

    def action(self):
        if self.chance(0.15):
            return "*"
        vendor, _, name = self.from_request("action", ACTIONS).partition(":")
        name = self.blurred(name) or "*"
        if self.chance(0.1):
            name = name.lower()
        return f"{'CONNECT' if self.chance(0.1) else vendor}:{name}"

    def arn(self, *, may_be_short):
        text = self.from_request("arn", RESOURCES[:-1])
        parts = text.split(":", 5)
        for at in range(3, len(parts)):
            if self.chance(0.3):
                parts[at] = self.blurred(parts[at])
        if self.chance(0.2):
            parts[-1] = parts[-1].rpartition("/")[0] + "/" + self.random.choice(VARIABLES)
        if may_be_short and self.chance(0.05):
            parts = parts[: self.random.randint(3, 5)]
        return ":".join(parts)

    def resource(self):
        return "*" if self.chance(0.3) else self.arn(may_be_short=True)

    def condition(self):
        key = self.random.choice(list(VALUES))
        operator = self.random.choice(OPERATORS.get(key, STRINGS))

        def value():
            text = (
                self.random.choice(POLICY_VALUES[key]) if key in POLICY_VALUES else self.from_request(key, VALUES[key])
            )
            if operator.startswith("Arn"):
                return self.arn(may_be_short=False)
            if operator.startswith("String"):
                text = self.random.choice(VARIABLES) if self.chance(0.15) else text
                text = self.blurred(text) if self.chance(0.3) and "$" not in text else text
            return text

        values = self.some(value)
        if self.chance(0.05):
            operator, values = "Null", [self.random.choice(["true", "false"])]
        elif self.chance(0.2):
            operator += "IfExists"
        if key == "aws:TagKeys" or self.chance(0.08):
            operator = self.random.choice(["ForAnyValue:", "ForAllValues:", ""]) + operator
        return operator, {key.upper() if "/" not in key and self.chance(0.1) else key: self.listed(values)}

    def statement(self):
        statement = {
            "Effect": self.random.choice(["Allow", "Allow", "Deny"]),
            "NotAction" if self.chance(0.15) else "Action": self.listed(self.some(self.action)),
            "NotResource" if self.chance(0.2) else "Resource": self.listed(self.some(self.resource)),
        }
        if self.chance(0.7):
            statement["Condition"] = dict(self.some(self.condition, most=2))
        return statement

    def context(self):
        context = {}
        for key, values in VALUES.items():
            if self.chance(0.85):
                is_list = key == "aws:TagKeys" or (key == "connect:SearchTag/team" and self.chance(0.1))
                fewest = 1 if key == "aws:TagKeys" else 2
                context[key] = (
                    self.random.sample(values, self.random.randint(fewest, 3))
                    if is_list
                    else self.random.choice(values)
                )
        return context

    def case(self):
        action, resource, context = self.random.choice(ACTIONS), self.random.choice(RESOURCES), self.context()
        self.focus = {key: value for key, value in context.items() if isinstance(value, str)} | {"action": action}
        if resource != "*":
            self.focus["arn"] = resource
        version = "2008-10-17" if self.chance(0.05) else "2012-10-17"
        policy = {"Version": version, "Statement": self.some(self.statement)}
        return {"policy": policy, "action": action, "resource": resource, "context": context}
