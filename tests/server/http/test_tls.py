"""HTTPS addresses: the handshake, its limits, renewed certificates, and clients that use the wrong protocol."""

import http.client
import ssl

import pytest

from tests.kit.certificates import authority, client_context, client_hello, issued, tls_setup
from tests.kit.patience import NEVER, PATIENCE, wait_until
from tests.kit.servers.http_server import ECHOES, all_of, echo, is_open, read_body, served, until
from tests.kit.servers.http_server import answer as answer_with
from waypost.observe import events
from waypost.server.http.limits import HttpBounds
from waypost.server.http.tls import NOT_TLS, PROTOCOLS

NAME = "mail.example"
REQUEST = b"GET /_asgi/x HTTP/1.1\r\nHost: mail.example\r\n\r\n"


@pytest.fixture
def setup():
    """The certificate of a server, with the protocols of HTTPS."""
    with tls_setup() as found:
        found.certificates._protocols = PROTOCOLS
        found.certificates.reload()
        yield found


def secured(server, *, context=None, source=""):
    """Connect a client, make the TLS handshake, and return its socket."""
    return (context or client_context()).wrap_socket(server.client(source=source), server_hostname=NAME)


def failures(server):
    return [event.reason for event in server.emitted if isinstance(event, events.TlsFailed)]


@pytest.mark.parametrize("kind", ECHOES)
def test_requests_are_answered_over_tls(setup, kind):
    path = "/_asgi/x" if kind == "ASGI" else "/x"
    with served(echo, certificates=setup.certificates, **ECHOES[kind]) as server:
        client = http.client.HTTPSConnection(*server.address, context=client_context(), timeout=PATIENCE)
        client.sock = secured(server)
        for body in (b"one", b"x" * 200_000):
            client.request("POST", path, body)
            assert client.getresponse().read() == f"POST {path} ".encode() + body
        client.close()
        wait_until(lambda: not server.connections)


def test_an_application_sees_the_scheme_and_the_addresses(setup):
    seen = {}

    async def application(scope, receive, send):
        seen.update(scope)
        await read_body(receive)
        await answer_with(send, b"done")

    with served(application, certificates=setup.certificates) as server, secured(server) as client:
        client.sendall(REQUEST)
        until(client, b"done")
        assert (seen["scheme"], seen["client"], seen["server"]) == ("https", client.getsockname(), server.address)


def test_calls_learn_that_they_came_over_tls(setup):
    seen = []

    class Calls:
        body_limit = 100

        async def answer(self, request, *, peer, request_id, is_secure):
            seen.append((peer, is_secure))
            raise ValueError

    for certificates in (setup.certificates, None):
        with served(echo, calls=Calls(), certificates=certificates) as server:
            client = secured(server) if certificates else server.client()
            client.sendall(REQUEST)
            until(client, b"500")
            client.close()
    assert seen == [("127.0.0.1", True), ("127.0.0.1", False)]


@pytest.mark.parametrize(
    ("offered", "chosen"), [(["h2", "http/1.1"], "http/1.1"), (["http/1.1"], "http/1.1"), (["h2"], None), ([], None)]
)
def test_only_http_1_1_is_offered(setup, offered, chosen):
    context = client_context()
    if offered:
        context.set_alpn_protocols(offered)
    with served(echo, certificates=setup.certificates) as server, secured(server, context=context) as client:
        assert client.selected_alpn_protocol() == chosen
        client.sendall(REQUEST)
        assert until(client, b"GET /_asgi/x").startswith(b"HTTP/1.1 200 OK")


def test_old_versions_of_tls_are_refused(setup):
    with served(echo, certificates=setup.certificates) as server:
        received = all_of(server.client(client_hello(0x0302, 0xC013)))
        assert received[:1] == b"\x15"  # an alert
        wait_until(lambda: failures(server) == ["the client offers only TLS versions before 1.2"])
        assert server.connections == []


def test_a_client_that_sends_http_learns_that_the_port_expects_https(setup):
    with served(echo, certificates=setup.certificates) as server:
        received = all_of(server.client(REQUEST))
        assert received.startswith(b"HTTP/1.1 400 Bad Request")
        assert NOT_TLS.encode() in received
        assert failures(server) == ["the client did not begin a TLS handshake"]
        assert all_of(server.client(b"\0\1\2")) == b""
        wait_until(lambda: not server.connections)
        with secured(server) as client:  # the server still answers
            client.sendall(REQUEST)
            until(client, b"GET /_asgi/x")


def test_a_client_that_sends_tls_to_the_http_port_does_no_harm():
    with served(echo) as server:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            secured(server)
        client = server.client(REQUEST)
        until(client, b"GET /_asgi/x")
        client.close()


def test_a_client_that_does_not_trust_the_certificate_is_logged(setup):
    with served(echo, certificates=setup.certificates) as server:
        with pytest.raises(ssl.SSLCertVerificationError):
            secured(server, context=client_context(authority("another")))
        unknown = "the client does not know the authority that signed the server's certificate"
        wait_until(lambda: failures(server) == [unknown])
        wait_until(lambda: not server.connections)


def test_connections_count_from_their_first_moment_and_refused_ones_are_closed(setup):
    bounds = HttpBounds(connections=10, connections_each=2, handshake=NEVER)
    with served(echo, bounds, certificates=setup.certificates) as server:
        silent = server.client(source="127.0.0.2")
        with secured(server, source="127.0.0.2") as second:
            assert all_of(server.client(source="127.0.0.2")) == b""
            with secured(server, source="127.0.0.3") as other:
                other.sendall(REQUEST)
                until(other, b"GET /_asgi/x")
            second.sendall(REQUEST)
            until(second, b"GET /_asgi/x")
        silent.close()
        wait_until(lambda: not server.connections)
        with secured(server, source="127.0.0.2") as again:
            again.sendall(REQUEST)
            until(again, b"GET /_asgi/x")


def test_a_client_that_does_not_finish_its_handshake_is_disconnected(setup):
    bounds = HttpBounds(handshake=5)
    hello = client_hello(0x0303, 0xC02B)
    with served(echo, bounds, certificates=setup.certificates) as server:
        clients = [server.client(), server.client(hello[:20])]
        wait_until(lambda: len(server.connections) == 2)
        server.seconds(5)
        assert all(map(is_open, clients))
        server.seconds(1)
        assert [all_of(client) for client in clients] == [b"", b""]
        wait_until(lambda: not server.connections)


def test_a_stop_ends_a_handshake(setup):
    with served(echo, HttpBounds(handshake=NEVER), certificates=setup.certificates) as server:
        client = server.client(client_hello(0x0303, 0xC02B)[:20])
        wait_until(lambda: server.connections)
    assert all_of(client) == b""


def test_a_client_that_disconnects_during_the_handshake_is_forgotten(setup):
    with served(echo, HttpBounds(handshake=NEVER), certificates=setup.certificates) as server:
        server.client(client_hello(0x0303, 0xC02B)[:20]).close()
        server.client().close()
        wait_until(lambda: server.opened == 2 and not server.connections)


def test_a_request_that_is_refused_is_answered_over_tls(setup):
    with served(echo, certificates=setup.certificates) as server, secured(server) as client:
        client.sendall(b"no http\r\n\r\n")
        received = all_of(client)
        assert received.startswith(b"HTTP/1.1 400 Bad Request")
        wait_until(lambda: not server.connections)


def test_a_client_that_does_not_read_is_disconnected(setup):
    """The bytes that TLS has passed to the transport below, but that the client has not read, count too."""

    async def application(_, receive, send):
        await read_body(receive)
        await answer_with(send, b"x" * 5_000_000)

    bounds = HttpBounds(answer_start=5, slowest=NEVER)
    with served(application, bounds, certificates=setup.certificates) as server:
        client = client_context().wrap_socket(server.client(receive_buffer=4096), server_hostname=NAME)
        client.sendall(REQUEST)
        wait_until(
            lambda: server.on_loop(
                lambda: all(getattr(each, "_unread", 0) for each in server._server.shared.connections)
            )
        )
        server.seconds(7)
        wait_until(lambda: not server.connections)
        client.close()


def test_a_renewed_certificate_is_used_for_the_next_handshake(setup):
    with served(echo, certificates=setup.certificates) as server:
        with secured(server) as client:
            assert serial(client) == issued().x509.serial_number
            setup.replace(issued("second").both)
            with secured(server) as other:
                assert serial(other) == issued("second").x509.serial_number
                assert other.selected_alpn_protocol() is None  # this client offers none
            client.sendall(REQUEST)  # a connection keeps the certificate with which it began
            until(client, b"GET /_asgi/x")
        context = client_context()
        context.set_alpn_protocols(["http/1.1"])
        with secured(server, context=context) as third:
            assert third.selected_alpn_protocol() == "http/1.1"


def serial(client):
    from cryptography import x509

    return x509.load_der_x509_certificate(client.getpeercert(binary_form=True)).serial_number
