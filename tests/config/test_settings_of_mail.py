"""The settings of the mail edge: valid values are parsed, and the message for an invalid value names the option."""

from datetime import timedelta
from ipaddress import ip_network

import pytest

from waypost.config.settings import Settings
from waypost.config.sources import from_options
from waypost.config.types import NETWORKS, RESOLVERS, BadSetting

TLS = {"tls_certificate": "self-signed"}
BAD = {
    "smtps": ["25", "localhost", "localhost:", ":25", "localhost:65536", "localhost:-1", "localhost:smtp", " "],
    "lmtp": ["25", "localhost", "localhost:", ":25", "localhost:99999", "localhost:٢٥"],
    "tls_required": ["", "Yes", "true", "1", "maybe"],
    "proxy_networks": ["10.0.0.1/8", "10.0.0.0/33", "balancer.example", "10.0.0.0/8;192.0.2.7", "2001:db8::/129", "-"],
    "trusted_networks": ["10.0.0.1/8", "localhost", "127.0.0.1;::1", "*", "::1/129"],
    "smtp_connections": ["", "9", "1000001", "many", "-10", "1e4", "20 000", "٢٠٠٠"],
    "smtp_connections_each": ["", "0", "1000001", "-1", "1.5"],
    "smtp_messages_each": ["", "-1", "1000001", "0.5", "ten"],
    "smtp_unknown_recipients": ["", "0", "1000001", "none"],
    "smtp_memory": ["", "15", "1000001", "128MiB", "0x80"],
    "greeting_delay": ["2", "0s", "2 s", "-1s", "1.5s", "s", "2y", "99999d"],
    "authentication": ["", "yes", "Record", "on", "record,enforce"],
    "shared_domains": [" ", "example.com,", "support@example.com", "*,example.com", "-", "a b"],
    "subaddressing": [" ", "example.com,", "support@example.com", "*", "-", "a b", "example.com;example.org"],
    "dns": ["resolver.example:53", "127.0.0.1:99999", "127.0.0.1:53,example:53", "resolver"],
}
CASES = [(name, value) for name, values in BAD.items() for value in values]


@pytest.mark.parametrize(("name", "value"), CASES)
def test_the_message_for_an_invalid_value_names_the_option(name, value):
    option = f"--{name.replace('_', '-')}"
    with pytest.raises(BadSetting) as refused:
        from_options(**TLS | {name: value})
    assert str(refused.value).startswith(f"{option} must ")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"smtps": "127.0.0.1:0"}, "--smtps needs --tls-certificate"),
        ({"tls_key": "key.pem"}, "--tls-key needs --tls-certificate"),
        ({"tls_clients": "clients.pem"}, "--tls-clients needs --tls-certificate"),
        ({"tls_required": "yes"}, "--tls-required yes needs --tls-certificate"),
        (
            TLS | {"tls_key": "key.pem"},
            "--tls-key cannot be given with --tls-certificate self-signed, which makes its own key",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_the_message_for_a_setting_without_its_certificate_names_both(given, said):
    with pytest.raises(BadSetting) as refused:
        from_options(**given)
    assert str(refused.value) == said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"dns": "dns.google"}, f"--dns must be {RESOLVERS.words}, not 'dns.google'"),
        ({"dns": "192.0.2.53,dns.google:53"}, f"--dns must be {RESOLVERS.words}, not 'dns.google:53'"),
        (
            {"trusted_networks": "::1,10.1.0.1/16"},
            f"--trusted-networks must be {NETWORKS.words}, not '10.1.0.1/16': did you mean 10.1.0.0/16?",
        ),
        (
            {"proxy_networks": "2001:db8::1/64"},
            f"--proxy-networks must be {NETWORKS.words}, not '2001:db8::1/64': did you mean 2001:db8::/64?",
        ),
        ({"trusted_networks": "loopback"}, f"--trusted-networks must be {NETWORKS.words}, not 'loopback'"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_the_message_for_a_malformed_value_describes_a_valid_value(given, said):
    with pytest.raises(BadSetting) as refused:
        from_options(**given)
    assert str(refused.value) == said


def test_the_descriptions_of_resolvers_and_networks_have_examples():
    assert "192.0.2.53 or 192.0.2.53:53" in RESOLVERS.words
    assert "for loopback 127.0.0.0/8,::1" in NETWORKS.words


def test_valid_values_are_parsed():
    settings = from_options(
        **TLS,
        smtps="[::1]:465",
        lmtp="127.0.0.1:24",
        tls_required="yes",
        tls_clients="clients.pem",
        proxy_networks="10.0.0.0/8, 192.0.2.7,,2001:db8::/32",
        trusted_networks="127.0.0.0/8, ::1",
        smtp_connections="10",
        smtp_connections_each="1",
        smtp_messages_each="0",
        smtp_unknown_recipients="1",
        smtp_memory="16",
        greeting_delay="2s",
        authentication="enforce",
        dns="127.0.0.1:53,[::1]:5353",
    )
    assert list(settings.proxy_networks) == [
        ip_network(text) for text in ("10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32")
    ]
    assert list(settings.trusted_networks) == [ip_network("127.0.0.0/8"), ip_network("::1")]
    assert settings.dns == (("127.0.0.1", 53), ("::1", 5353))
    assert settings.greeting_delay == timedelta(seconds=2)


def test_by_default_there_is_no_tls_no_lmtp_and_no_trusted_client():
    settings = Settings()
    assert settings.smtps == settings.lmtp == settings.proxy_networks == settings.trusted_networks == settings.dns == ()
    assert (settings.tls_certificate, settings.tls_required) == (None, False)
    assert settings.greeting_delay == timedelta(0)


MAIL_IS_CHECKED = [
    ({}, False),
    ({"smtp": "localhost:1025,[::1]:1025"}, False),
    ({"trusted_networks": "127.0.0.0/8"}, False),
    ({"smtp": "0.0.0.0:25"}, True),
    ({"smtp": "127.0.0.1:25", "smtps": "0.0.0.0:465"} | TLS, True),
    ({"proxy_networks": "127.0.0.1"}, True),
    ({"authentication": "enforce"}, True),
    ({"smtp": "0.0.0.0:25", "authentication": "off"}, False),
]


@pytest.mark.parametrize(("given", "is_checked"), MAIL_IS_CHECKED, ids=str)
def test_senders_are_not_checked_with_record_if_only_this_machine_can_connect(given, is_checked):
    assert from_options(**given).checks_senders is is_checked


def test_shared_domains_are_stored_as_a_labels_and_an_asterisk_means_all():
    assert Settings().shared_domains == frozenset()
    assert from_options(shared_domains="Example.com, Bücher.example").shared_domains == {
        "example.com",
        "xn--bcher-kva.example",
    }
    assert from_options(shared_domains="*").shared_domains == {"*"}


def test_domains_with_subaddresses_are_stored_as_a_labels():
    assert Settings().subaddressing == frozenset()
    found = from_options(subaddressing="Example.com, Bücher.example").subaddressing
    assert found == {"example.com", "xn--bcher-kva.example"}


@pytest.mark.parametrize(
    ("hostname", "domain"), [("MX.Example.com", "mx.example.com"), ("mx.example.com.", "mx.example.com"), ("a..b", "")]
)
def test_the_host_name_is_an_email_domain_if_an_address_can_have_it(hostname, domain):
    assert from_options(hostname=hostname).domain_of_hostname == domain
