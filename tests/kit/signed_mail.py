"""Signed mail, and its SPF, DKIM and DMARC verdicts, computed in this process with a test zone as the DNS."""

import base64
import hashlib
from functools import lru_cache

import dkim
import nacl.signing
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.kit.patience import PATIENCE
from waypost.domain.mailauth.verdicts import Claim
from waypost.mailauth import checks
from waypost.mailauth.resolver import Resolver

MESSAGE = (
    b"From: Ann <ann@example.com>\r\nTo: bob@example.net\r\nSubject: Hello\r\nDate: Mon, 2 Nov 2026 08:00:00 +0000\r\n"
    b"\r\nHello,  Bob! \r\n\r\nA line.\r\n\r\n"
)
CLAIM = Claim("192.0.2.1", "mx.example.com", "ann@example.com")
SIGNED = [b"from", b"to", b"subject"]


@lru_cache
def key(bits=2048):
    """Return a private RSA key in PEM, and the DNS record of its public key."""
    private = rsa.generate_private_key(65_537, bits)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    public = private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return pem, f"v=DKIM1; k=rsa; p={base64.b64encode(public).decode()}"


@lru_cache
def ed25519():
    private = nacl.signing.SigningKey.generate()
    public = base64.b64encode(bytes(private.verify_key)).decode()
    return base64.b64encode(bytes(private)), f"v=DKIM1; k=ed25519; p={public}"


def sign(message=MESSAGE, *, domain=b"example.com", selector=b"sel", pem=None, canonical=b"relaxed/relaxed", **more):
    """Return the message with a DKIM signature in front of it."""
    arguments = {"include_headers": SIGNED, "canonicalize": tuple(canonical.split(b"/"))} | more
    return dkim.sign(message, selector, domain, pem or key()[0], **arguments) + message


def sign_by_hand(header, body=b"Hello\r\n", *, canonical, names, field=b"DKIM-Signature:"):
    """Sign a header exactly as it is written, even if the library cannot parse it (RFC 6376 sections 3.4 and 3.7).

    `header` has one string for each field. `names` are the names in `h=`; each name is in the header at most once.
    """
    tags = b" v=1; a=rsa-sha256; c=%s/simple; d=example.com; s=sel;\r\n\th=%s; bh=%s; b="
    digest = base64.b64encode(hashlib.sha256(body).digest())
    signature = field + tags % (canonical, b":".join(names), digest)
    chosen = [each for name in names for each in header if each.partition(b":")[0].strip().lower() == name.lower()]
    signed = [*chosen, signature]
    if canonical == b"relaxed":
        signed = [_relaxed(each) for each in signed]
    private = serialization.load_pem_private_key(key()[0], None)
    octets = b"\r\n".join(each.removesuffix(b"\r\n") for each in signed)
    value = base64.b64encode(private.sign(octets, padding.PKCS1v15(), hashes.SHA256()))
    return signature + value + b"\r\n" + b"".join(header) + b"\r\n" + body


def _relaxed(field):
    name, _, value = field.partition(b":")
    return name.strip().lower() + b":" + b" ".join(value.split())


def zone_of(*, spf="v=spf1 ip4:192.0.2.1 -all", dkim_record=None, dmarc="v=DMARC1; p=reject"):
    """Return the records of a correctly configured domain example.com."""
    return {
        "example.com": {"TXT": [spf]},
        "sel._domainkey.example.com": {"TXT": [dkim_record or key()[1]]},
        "_dmarc.example.com": {"TXT": [dmarc]},
    }


def verdicts(zone, message=MESSAGE, claim=CLAIM, seconds=PATIENCE):
    return checks.check(claim, [message], Resolver([zone.address]), seconds)[0]
