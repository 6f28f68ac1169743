"""The environment variables with which AWS SDKs, the AWS CLI and mail clients use a running server.

An SDK also reads profiles, proxies and other settings from environment variables. Some of these variables override the
endpoint or the access key, so they must be unset or changed.
"""

from collections.abc import Iterable, Mapping

from waypost.host.credentials_file import Profile
from waypost.host.run_file import Run

UNSET = (
    "AWS_PROFILE",  # Go and JavaScript prefer a profile to an access key; other SDKs fail if the profile is missing
    "AWS_DEFAULT_PROFILE",
    "AWS_SESSION_TOKEN",  # belongs to another access key
    "AWS_SECURITY_TOKEN",
    "AWS_CREDENTIAL_EXPIRATION",
    "AWS_ACCOUNT_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",  # an SDK may prefer it to an access key
)
"""Environment variables that could make an SDK use credentials other than the server's access key, or refuse to use
that key."""

SWITCHES = {
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "false",  # with true, even in a profile, an SDK would call AWS
    "AWS_USE_FIPS_ENDPOINT": "false",  # Amazon Connect's endpoint rules refuse true together with a custom endpoint
    "AWS_USE_DUALSTACK_ENDPOINT": "false",
    "AWS_PAGER": "",  # the AWS CLI would wait for input in its pager
}
"""Environment variables that the command sets, with their values. These variables override the same settings in a
profile of the AWS configuration file."""


def variables(run: Run, profile: Profile, *, instance_id: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the values of the variables that must be set. The variables in `UNSET` must be unset as well.

    `instance_id` is the id of the oldest instance, and `environment` the present values of all variables.
    """
    found = {
        "AWS_ENDPOINT_URL_CONNECT": run.https_url or run.url,
        "AWS_ACCESS_KEY_ID": profile.key.id,
        "AWS_SECRET_ACCESS_KEY": profile.key.secret,
        "AWS_REGION": profile.region,
        "AWS_DEFAULT_REGION": profile.region,
        "WAYPOST_INSTANCE_ID": instance_id,
        "WAYPOST_SMTP": run.smtp,
    }
    also = {
        "AWS_CA_BUNDLE": run.https_authority,
        "NODE_EXTRA_CA_CERTS": run.https_authority,
        "WAYPOST_HTTP": run.http,
        "WAYPOST_HTTPS": run.https_url.removeprefix("https://"),
        "WAYPOST_SMTPS": run.smtps,
        "WAYPOST_LMTP": run.lmtp,
        "WAYPOST_CERTIFICATE": run.certificate,
    }
    found |= {name: address for name, address in also.items() if address}
    urls = [run.http, f"{run.https_name}:443" if run.https else ""]
    no_proxy = without_proxy([*urls, run.smtp, run.smtps, run.lmtp], environment)
    return found | SWITCHES | {"NO_PROXY": no_proxy, "no_proxy": no_proxy}


def without_proxy(addresses: Iterable[str], environment: Mapping[str, str]) -> str:
    """Return a value for NO_PROXY: the hosts that it already contains, and the hosts of `addresses` (each HOST:PORT).

    The existing hosts come from both `no_proxy` and `NO_PROXY` in `environment`. An IPv6 address is listed both with
    and without brackets, because some clients expect brackets and others do not.
    """
    given = ",".join(environment.get(name, "") for name in ("no_proxy", "NO_PROXY"))
    hosts = [address.rpartition(":")[0] for address in addresses]
    names = [*given.split(","), *hosts, *(host.strip("[]") for host in hosts)]
    return ",".join(dict.fromkeys(name.strip() for name in names if name.strip()))
