"""The contents of the credentials file, which stores access keys as profiles in the AWS shared-credentials format."""

import configparser
import re

from msgspec import Struct

from waypost.domain.iam.access_keys import AccessKey

OWN_CREDENTIALS = "# The owner's access key for Waypost."
"""The text at the beginning of each credentials file that a server writes."""


class Profile(Struct, frozen=True):
    """A profile in the credentials file."""

    key: AccessKey
    region: str


class BadProfile(Exception):
    """A profile in the credentials file lacks a value, or has an invalid value."""


def text_of(key: AccessKey, *, region: str) -> str:
    """Return the text of a credentials file with the owner's access key."""
    return (
        f"{OWN_CREDENTIALS} This key is not used for anything else.\n"
        "[default]\n"
        f"aws_access_key_id = {key.id}\n"
        f"aws_secret_access_key = {key.secret}\n"
        f"aws_account_id = {key.account}\n"
        f"region = {region}\n"
    )


def parse(text: str) -> list[Profile]:
    """Return all profiles in a credentials file, in the order in which they appear. Raises `BadProfile` and
    `configparser.Error`.
    """
    parser = configparser.RawConfigParser(default_section="", interpolation=None)
    parser.read_string(text)
    return _each_key_once([_profile(parser[name]) for name in parser.sections()])


def _profile(section: configparser.SectionProxy) -> Profile:
    for name in ("aws_access_key_id", "aws_secret_access_key", "aws_account_id", "region"):
        if not section.get(name):
            raise BadProfile(f"the profile [{section.name}] lacks {name}.")
    if not re.fullmatch("[0-9]{12}", section["aws_account_id"]):
        raise BadProfile(f"aws_account_id of the profile [{section.name}] must be twelve digits.")
    key = AccessKey(
        id=section["aws_access_key_id"],
        secret=section["aws_secret_access_key"],
        account=section["aws_account_id"],
    )
    return Profile(key, section["region"])


def _each_key_once(profiles: list[Profile]) -> list[Profile]:
    """Return the first profile for each access key, because AWS tools allow several profiles with the same key."""
    first: dict[str, Profile] = {}
    for profile in profiles:
        if first.setdefault(profile.key.id, profile).key != profile.key:
            raise BadProfile(f"two profiles have access key {profile.key.id}, but different secrets or accounts.")
    return list(first.values())
