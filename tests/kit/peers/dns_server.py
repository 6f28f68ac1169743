"""A small DNS server on loopback, over UDP and TCP, for the duration of a test.

    with Zone({"example.com": {"TXT": ["v=spf1 -all"], "MX": ["10 mx.example.com."]}}) as zone:
        ... zone.address ...

The server knows the given records and the root. Every other name does not exist. A name may be `SILENT` or `SERVFAIL`
instead of records. `zone.silent = True` makes the whole server silent, and `zone.silent_below = NAME` makes it silent
for all names below NAME. `zone.questions` has the name, type and transport of each query.
"""

import selectors
import socket
import struct
import threading

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from tests.kit.patience import PATIENCE

SILENT = "silent"
SERVFAIL = "servfail"


class Zone:
    def __init__(self, records=None, ttl=300):
        self.silent = False
        self.silent_below = "."
        self.ttl = ttl
        self.questions = []
        self.records = {".": {"NS": ["ns."]}} | {name.lower(): kinds for name, kinds in (records or {}).items()}

    def __enter__(self):
        self._udp, self._tcp = _sockets()
        self.address = self._udp.getsockname()
        self._wakes, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._wakes.send(b".")
        self._thread.join()
        for each in (self._udp, self._tcp, self._wakes, self._woken):
            each.close()

    def asked(self, name, kind="TXT"):
        """Return the number of queries with this name and type."""
        return sum(question[:2] == (name, kind) for question in self.questions)

    def _serve(self):
        with selectors.DefaultSelector() as selector:
            for each in (self._udp, self._tcp, self._woken):
                selector.register(each, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is self._woken:
                        return
                    if key.fileobj is self._udp:
                        octets, peer = self._udp.recvfrom(65_535)
                        if reply := self._reply(octets, "udp"):
                            self._udp.sendto(reply, peer)
                    else:
                        self._serve_tcp()

    def _serve_tcp(self):
        connection, _ = self._tcp.accept()
        with connection, connection.makefile("rb") as stream:
            connection.settimeout(PATIENCE)
            (size,) = struct.unpack("!H", stream.read(2))
            if reply := self._reply(stream.read(size), "tcp"):
                connection.sendall(struct.pack("!H", len(reply)) + reply)

    def _reply(self, octets, transport):
        query = dns.message.from_wire(octets)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower() or "."
        kind = dns.rdatatype.to_text(question.rdtype)
        self.questions.append((name, kind, transport))
        found = self.records.get(name)
        if self.silent or found == SILENT or name.endswith(f".{self.silent_below}"):
            return None
        reply = dns.message.make_response(query, recursion_available=True)
        if found == SERVFAIL:
            reply.set_rcode(dns.rcode.SERVFAIL)
        elif found is None:
            if not any(known.endswith(f".{name}") for known in self.records):
                reply.set_rcode(dns.rcode.NXDOMAIN)
        elif values := found.get(kind):
            texts = [_quoted(value) if kind == "TXT" else value for value in values]
            reply.answer.append(dns.rrset.from_text_list(question.name, self.ttl, "IN", kind, texts))
        elif alias := found.get("CNAME"):
            reply.answer.append(dns.rrset.from_text(question.name, self.ttl, "IN", "CNAME", *alias))
            values = (self.records.get(alias[0].rstrip(".")) or {}).get(kind, [])
            texts = [_quoted(value) if kind == "TXT" else value for value in values]
            if texts:
                reply.answer.append(dns.rrset.from_text_list(alias[0], self.ttl, "IN", kind, texts))
        if transport == "tcp":
            return reply.to_wire(max_size=65_535)
        wire = reply.to_wire(max_size=65_535)
        if len(wire) > min(query.payload or 512, 1232):
            reply.answer.clear()
            reply.flags |= dns.flags.TC
            wire = reply.to_wire()
        return wire


def _quoted(text):
    """Return the text form of a TXT record, in strings of at most 255 octets."""
    octets = text.encode() if isinstance(text, str) else text
    pieces = [octets[start : start + 255] for start in range(0, len(octets), 255)] or [b""]
    return " ".join('"' + "".join(f"\\{octet:03d}" for octet in piece) + '"' for piece in pieces)


def _sockets():
    """Open a UDP and a TCP socket on the same free port."""
    while True:
        tcp = socket.create_server(("127.0.0.1", 0))
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            udp.bind(tcp.getsockname())
        except OSError:
            tcp.close()
            udp.close()
        else:
            return udp, tcp
