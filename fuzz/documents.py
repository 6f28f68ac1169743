"""Fuzzes the readers of documents that operators and account owners write: `fuzz/documents.py NAME`, with options.

A document is read, or refused with its documented error. The same document always has the same meaning.
"""

import json
import re
import tempfile
from pathlib import Path

from engine import Target, fuzz_one_of, instrumented

with instrumented():
    from tests.domain.iam.asking_policies import ADDRESS, a_document, a_statement
    from waypost.config import file, sources
    from waypost.config.types import BadSetting
    from waypost.domain import errors
    from waypost.domain.iam import decisions, policies
    from waypost.domain.iam.decisions import Decision

ACTIONS = ["connect:DescribeEmailAddress", "connect:CreateEmailAddress", "waypost:Inspect"]
VALUES = {
    "aws:sourceip": ("192.0.2.7",),
    "aws:currenttime": ("2026-12-01T12:00:00Z",),
    "aws:securetransport": ("true",),
    "aws:useragent": ("aws-cli/2",),
    "aws:tagkeys": ("team", "cost"),
    "aws:resourcetag/Team": ("support",),
}
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def check_policy(octets: bytes) -> None:
    """Check that a policy is refused with an error, or gives the same decisions with and without a cache, and that one
    more Deny statement allows nothing more.
    """
    text = octets.decode("utf-8", "replace")
    try:
        policy = policies.parse(text)
    except errors.Invalid as error:
        str(error).encode()
        return
    denied = policies.Policy(policy.denials + EVERYTHING.denials, policy.permissions, policy.keys)
    for action in ACTIONS:
        found = decisions.decide(policy, action=action, resource=ADDRESS, lookup=VALUES.get)
        assert found is decisions.decide(policies.parse(text), action=action, resource=ADDRESS, lookup=VALUES.get)
        assert found in set(Decision)
        assert decisions.decide(denied, action=action, resource=ADDRESS, lookup=VALUES.get) is Decision.EXPLICIT_DENY
        if decisions.decide_for_all(policy, action=action, lookup=VALUES.get) is Decision.ALLOWED:
            assert decisions.decide(policy, action=action, resource="*", lookup=VALUES.get) is Decision.ALLOWED


def check_settings(octets: bytes) -> None:
    """Check that a settings file is refused with an error that names the file, or gives the same settings twice."""
    with tempfile.NamedTemporaryFile(suffix=".toml") as written:
        Path(written.name).write_bytes(octets)
        try:
            settings = sources.read({}, {}, file.read(Path(written.name)))
        except BadSetting as error:
            refusal = str(error)
        else:
            refusal = ""
        assert not CONTROL.search(refusal), refusal
        assert not refusal or written.name in refusal, refusal
        if not refusal:
            assert settings == sources.read({}, {}, file.read(Path(written.name)))


EVERYTHING = policies.parse(a_document(a_statement("Deny")))

POLICIES = [
    a_document(a_statement()),
    a_document(a_statement("Deny", Condition={"IpAddress": {"aws:SourceIp": ["192.0.2.0/24"]}}), a_statement()),
    a_document(a_statement(NotAction=["connect:Create*"], Resource=[ADDRESS])),
    a_document(
        a_statement(
            Condition={
                "ForAllValues:StringLike": {"aws:TagKeys": ["t*"]},
                "DateLessThan": {"aws:CurrentTime": "2027-01-01T00:00:00Z"},
                "Null": {"aws:UserAgent": "false"},
            }
        )
    ),
    a_document(a_statement(Resource="arn:aws:connect:*:*:instance/${aws:ResourceTag/Team}/*")),
]

SETTINGS = [
    b'hostname = "mail.example"\nlimits = "aws"\n',
    b'[[route]]\nmatch = "*@a.example"\nto = "smtp://127.0.0.1:25"\nkeep = true\nfault = "tempfail"\n',
    b'[[retention]]\nmatch = "*"\nage = "30d"\n[delivery]\nexpire = "5d"\nown_domains = ["a.example"]\n',
    b'testing = true\n[[fault]]\nstage = "rcpt"\naction = "refuse"\nsender = "*@b.example"\nprobability = 0.5\n',
    b'smtp = "127.0.0.1:2525"\ndisk_reserve = "1GiB"\nworkers = 2\nclock = "virtual"\n',
]

WORDS = [b'"', b"[", b"]", b"{", b"}", b"=", b"\\u0000", b"'''", b'"""', b"\n", b"#", b"1e999", b"inf", b"-1", b"true"]

TARGETS = {
    "policy": Target(
        check_policy,
        [document.encode() for document in POLICIES],
        [
            *(json.dumps(word).encode() for word in ("Version", "Statement", "NotAction", "NotResource", "Condition")),
            *(word.encode() for word in ("StringEquals", "IfExists", "ForAnyValue:", "ArnLike", "NumericLessThan")),
            *(
                word.encode()
                for word in ("BinaryEquals", "Bool", "NotIpAddress", "::/0", "${*}", "${aws:", "connect:*")
            ),
        ],
    ),
    "settings": Target(check_settings, SETTINGS, WORDS),
}

if __name__ == "__main__":
    fuzz_one_of(TARGETS)
