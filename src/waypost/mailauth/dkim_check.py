"""Check DKIM signatures (RFC 6376).

The library dkimpy verifies each signature. This module enforces limits, and makes some checks that the library lacks.
"""

import base64
import binascii
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import dkim
import dkim.crypto
import dkim.util
from msgspec import Struct, field

from waypost.domain.mailauth.from_header import Authors
from waypost.domain.mailauth.verdicts import MAX_LISTED, Dkim, Outcome
from waypost.mailauth import message as messages
from waypost.mailauth.body_hash import body_hash
from waypost.mailauth.message import Field, Message
from waypost.mailauth.resolver import NotAnswered, Questions

MAX_VERIFIED = 5
"""The maximum number of signatures that are verified for one message (RFC 6376 section 6.1 allows such a limit)."""

KEY_BITS = range(1024, 4096 + 1)
"""The allowed sizes of RSA keys, in bits (RFC 8301 section 3.2)."""

HEADER_LIMIT = 256 * 1024
FIELDS_LIMIT = 1_000
SIGNATURE_LIMIT = 8 * 1024
SIGNED_FIELDS_LIMIT = 200
SIGNED_OCTETS_LIMIT = 64 * 1024
"""The maximum total size of the fields that one signature covers, in bytes.

The size is limited because the library reads all of these fields again for each signature.
"""
KEY_LIMIT = 4 * 1024
EXPONENT_BITS = 32

_LONG_SPACE = 100
_SPACES = re.compile(rb"\s+")
_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\Z", re.IGNORECASE)
_ALGORITHMS = {b"rsa-sha256": b"rsa", b"ed25519-sha256": b"ed25519"}


class _NotPassed(Exception):
    """Raised for a signature that does not pass. The exception contains the outcome and the reason."""

    def __init__(self, outcome: Outcome, reason: str) -> None:
        super().__init__(reason)
        self.outcome = outcome


class _Signature(Struct):
    """The parts of one signature that could be read. The signature may be invalid."""

    index: int
    value: bytes
    tags: dict[bytes, bytes] = field(default_factory=dict)

    def text(self, tag: bytes) -> str:
        return self.tags.get(tag, b"").decode("utf-8", "replace")


class _Name(bytes):
    """A field's name with the white space before its colon. The white space is hashed, but ignored in comparisons.

    The "simple" canonicalization keeps this white space (RFC 6376 section 3.4.1), but the library itself cannot
    represent it.
    """

    __slots__ = ()

    def lower(self) -> bytes:
        return self.rstrip().lower()


def check(message: Message, authors: Authors, questions: Questions) -> tuple[Dkim, ...]:
    """Return the results for all signatures of a message, in their order in the header.

    Signatures from the domains in From, or from their subdomains or parent domains, are verified first.
    """
    values = messages.named(message.fields, b"dkim-signature")
    signatures = [_Signature(index, value, _tags(value)) for index, value in enumerate(values[:MAX_LISTED])]
    signatures.sort(key=lambda signature: not _is_related(signature.text(b"d").lower(), authors.domains))
    hashes: dict[tuple[bool, int | None], tuple[bytes, int]] = {}
    results: dict[int, Dkim] = {}
    for number, signature in enumerate(signatures):
        outcome, reason = Outcome.PASS, ""
        try:
            if number >= MAX_VERIFIED:
                raise _NotPassed(Outcome.POLICY, f"only {MAX_VERIFIED} signatures are verified")
            _verify(message, signature, questions, hashes)
        except _NotPassed as refusal:
            outcome, reason = refusal.outcome, str(refusal)
        except NotAnswered as error:
            outcome, reason = Outcome.TEMPERROR, str(error)
        except MemoryError:
            raise  # the worker itself has too little memory, which says nothing about the message
        except Exception as error:  # noqa: BLE001 - the library raises many kinds of exceptions on hostile input
            outcome, reason = Outcome.PERMERROR, f"cannot be verified: {type(error).__name__}"
        results[signature.index] = Dkim(
            outcome, signature.text(b"d"), signature.text(b"s"), signature.text(b"i"), reason
        )
    return tuple(results[index] for index in sorted(results))


def _tags(value: bytes) -> dict[bytes, bytes]:
    if len(value) > SIGNATURE_LIMIT:
        return {}
    try:
        tags: dict[bytes, bytes] = dkim.util.parse_tag_value(value)
    except dkim.util.InvalidTagValueList:
        return {}
    return tags


def _is_related(domain: str, authors: Sequence[str]) -> bool:
    return any(f".{author}".endswith(f".{domain}") or domain.endswith(f".{author}") for author in authors)


def _verify(
    message: Message,
    signature: _Signature,
    questions: Questions,
    hashes: dict[tuple[bool, int | None], tuple[bytes, int]],
) -> None:
    """Verify a signature.

    Raises `_NotPassed` if the signature does not pass, or `NotAnswered` if its key cannot be looked up.
    """
    _refuse_if_too_costly(message.fields, signature.value)
    verifier = dkim.DKIM()
    verifier.headers = [(_Name(name), value) for name, value in message.fields]
    try:
        tags, signed, fields = verifier.verify_headerprep(signature.index)
        policy = dkim.CanonicalizationPolicy.from_c_value(tags.get(b"c"))
    except dkim.ValidationError as error:
        expired = "x= value is past" in str(error)
        raise _NotPassed(Outcome.POLICY if expired else Outcome.NEUTRAL, "expired" if expired else str(error)) from None
    except (dkim.DKIMException, dkim.InvalidCanonicalizationPolicyError) as error:
        raise _NotPassed(Outcome.NEUTRAL, f"malformed: {error}") from None
    _refuse_by_policy(signature, signed)
    verifier.headers = _only_signed(verifier.headers, signed)

    verifier.pk, verifier.keysize, verifier.ktag, verifier.seqtlsrpt = _key(signature, questions)
    _check_body(message.body, tags, hashes, relaxed=policy.body_algorithm.name == b"relaxed")
    # The body was already checked. Without `bh`, the library does not hash it again.
    header_tags = {tag: value for tag, value in tags.items() if tag != b"bh"}
    if not verifier.verify_sig_process(header_tags, signed, fields[signature.index], None):
        raise _NotPassed(Outcome.FAIL, "the signature does not match the header")


def _refuse_if_too_costly(fields: Sequence[Field], value: bytes) -> None:
    """Raise `_NotPassed` for input on which the library's regular expressions may take quadratic time."""
    if len(fields) > FIELDS_LIMIT or sum(len(name) + len(value) for name, value in fields) > HEADER_LIMIT:
        raise _NotPassed(Outcome.POLICY, "the header is too large")
    if len(value) > SIGNATURE_LIMIT or max(map(len, _SPACES.findall(value)), default=0) >= _LONG_SPACE:
        raise _NotPassed(Outcome.POLICY, "the signature is too large")


def _only_signed(fields: Sequence[Field], signed: Sequence[bytes]) -> list[Field]:
    """Return only the fields that a signature covers, so that the library does not canonicalize all fields.

    Fields are selected in reverse order, from the last field upwards (RFC 6376 section 5.4.2). To detect an added From
    field, the library hashes one more From field than the signature covers, so the result contains one more From field,
    too.
    """
    wanted = Counter([*signed, b"from"])
    kept: list[Field] = []
    for name, value in reversed(fields):
        key = name.lower()
        if wanted[key]:
            wanted[key] -= 1
            kept.append((name, value))
    if sum(len(name) + len(value) for name, value in kept) > SIGNED_OCTETS_LIMIT:
        raise _NotPassed(Outcome.POLICY, "the signed fields are too large")
    return kept[::-1]


def _refuse_by_policy(signature: _Signature, signed: Sequence[bytes]) -> None:
    if signature.tags[b"a"] not in _ALGORITHMS:
        raise _NotPassed(Outcome.POLICY, "rsa-sha1 is obsolete")  # RFC 8301 section 3.1
    if b"from" not in signed:
        raise _NotPassed(Outcome.PERMERROR, "From is not signed")  # RFC 6376 section 6.1.1
    if len(signed) > SIGNED_FIELDS_LIMIT:
        raise _NotPassed(Outcome.POLICY, "too many fields are signed")
    if not (_NAME.match(signature.text(b"d")) and _NAME.match(signature.text(b"s"))):
        raise _NotPassed(Outcome.NEUTRAL, "d= or s= is not a valid name")


def _key(signature: _Signature, questions: Questions) -> tuple[Any, int, bytes, bool]:
    """Look up the public key of a signature (RFC 6376 section 3.6.1), and return the key in the library's format.

    The result contains the key, its size in bits, its type, and whether it is for TLS reports.
    """
    name = f"{signature.text(b's')}._domainkey.{signature.text(b'd')}"
    records = questions.texts(name)
    if not records:
        raise _NotPassed(Outcome.PERMERROR, "no key")
    record = records[0]  # if there are several records, the result is undefined (section 3.6.2.2)
    try:
        tags = dkim.util.parse_tag_value(record[:KEY_LIMIT])
    except dkim.util.InvalidTagValueList:
        raise _NotPassed(Outcome.PERMERROR, "the key is malformed") from None
    if not re.sub(rb"\s", b"", tags.get(b"p", b"")):
        raise _NotPassed(Outcome.PERMERROR, "the key is revoked" if b"p" in tags else "the key is malformed")
    if tags.get(b"k", b"rsa") != _ALGORITHMS[signature.tags[b"a"]]:
        raise _NotPassed(Outcome.PERMERROR, "the key is for another algorithm")
    if b"sha256" not in _parts(tags.get(b"h", b"sha256")[:200]):
        raise _NotPassed(Outcome.PERMERROR, "the key is not for sha256")
    domain = signature.text(b"i").rpartition("@")[2] or signature.text(b"d")
    if b"s" in _parts(tags.get(b"t", b"")[:200]) and domain.lower() != signature.text(b"d").lower():
        raise _NotPassed(Outcome.PERMERROR, "the key is not for subdomains")
    try:
        key, bits, kind, for_reports = dkim.evaluate_pk(name, record[:KEY_LIMIT])
    except (dkim.DKIMException, ValueError, LookupError, TypeError):
        raise _NotPassed(Outcome.PERMERROR, "the key is malformed") from None
    if kind == b"rsa" and bits not in KEY_BITS:
        raise _NotPassed(Outcome.POLICY, f"a key of {bits} bits")
    if kind == b"rsa" and key["publicExponent"].bit_length() > EXPONENT_BITS:
        raise _NotPassed(Outcome.POLICY, "a key with a large exponent")
    return key, bits, kind, for_reports


def _parts(value: bytes) -> list[bytes]:
    """Split a tag's value into its elements, which are separated by colons (RFC 6376 section 3.6.1)."""
    return [part.strip() for part in value.split(b":")]


def _check_body(
    body: Sequence[memoryview],
    tags: dict[bytes, bytes],
    hashes: dict[tuple[bool, int | None], tuple[bytes, int]],
    *,
    relaxed: bool,
) -> None:
    length = int(tags[b"l"]) if b"l" in tags else None
    if (relaxed, length) not in hashes:
        hashes[relaxed, length] = body_hash(body, relaxed=relaxed, length=length)
    digest, size = hashes[relaxed, length]
    try:
        claimed = base64.b64decode(re.sub(rb"\s+", b"", tags[b"bh"]))
    except binascii.Error:
        raise _NotPassed(Outcome.NEUTRAL, "bh= is not valid base64") from None
    if digest != claimed or (length is not None and length > size):
        raise _NotPassed(Outcome.FAIL, "the body was changed")
    if length is not None and length < size:
        # Anyone could append text that a mail reader shows instead of the signed part (section 8.2).
        raise _NotPassed(Outcome.POLICY, f"only {length} bytes of the body are signed")
