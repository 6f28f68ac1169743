"""A small container engine: an HTTP server that answers the requests that Testcontainers makes, in Docker's API.

It has no images and no isolation. Each container is a process of `waypost serve` on this machine, with the environment
that an image from the Containerfile would give it, and with a directory for the root of its file system.
"""

import base64
import http.server
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

BIN = Path(sys.executable).parent
PORTS = {"http": "8025/tcp", "smtp": "1025/tcp"}
SERVES = [BIN / "waypost", "serve", "--ready-json"]


@dataclass
class Container:
    """A container."""

    root: Path
    given: dict[str, Any]
    """The request that made it."""
    process: subprocess.Popen[bytes] | None = None
    ports: dict[str, int] = field(default_factory=dict)
    """The ports on this machine, by those of the container."""

    @property
    def environment(self) -> dict[str, str]:
        """The variables of the image, and those of the request. Paths are those on this machine."""
        image = {
            "WAYPOST_SERVE_DATA": "/data",
            "WAYPOST_SERVE_HTTP": "127.0.0.1:0",
            "WAYPOST_SERVE_SMTP": "127.0.0.1:0",
        }
        given = dict(one.split("=", 1) for one in self.given.get("Env") or [])
        return {
            "PATH": f"{BIN}:{os.environ['PATH']}",
            **{name: self.here(value) if value.startswith("/") else value for name, value in (image | given).items()},
        }

    def here(self, path: str) -> str:
        """Return the path on this machine."""
        return str(self.root / path.lstrip("/"))

    def start(self) -> None:
        """Start the server, and wait until it listens, because an engine knows the ports at once."""
        with (self.root / "log").open("wb") as log:
            self.process = subprocess.Popen(SERVES, stdout=subprocess.PIPE, stderr=log, env=self.environment)
        line = self.process.stdout.readline()
        if line:
            self.ports = {inside: json.loads(line)[name]["port"] for name, inside in PORTS.items()}
        else:
            self.process.wait()

    def remove(self) -> None:
        """End the server at once."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()

    @property
    def state(self) -> dict[str, Any]:
        """The description of the container."""
        status = "created" if not self.process else "running" if self.process.poll() is None else "exited"
        ports = {inside: [{"HostIp": "127.0.0.1", "HostPort": str(port)}] for inside, port in self.ports.items()}
        return {
            "Id": self.root.name,
            "Image": self.given["Image"],
            "State": {"Status": status, "Running": status == "running"},
            "Config": {"Tty": False},
            "HostConfig": {"LogConfig": {"Type": "json-file"}},
            "NetworkSettings": {"Ports": ports},
        }


class ContainerEngine:
    """The engine. As a context manager, it ends all containers at the end."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.containers: dict[str, Container] = {}
        self.removed: list[str] = []
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"engine": self}))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def variables(self) -> dict[str, str]:
        """The variables with which Testcontainers uses this engine."""
        return {
            "DOCKER_HOST": f"tcp://127.0.0.1:{self._server.server_port}",
            "TESTCONTAINERS_RYUK_DISABLED": "true",  # a container that removes others
            "TESTCONTAINERS_CONNECTION_MODE": "docker_host",  # also where these tests run in a container themselves
        }

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        for container in self.containers.values():
            container.remove()

    def create(self, given: dict[str, Any]) -> Container:
        """Make a container."""
        root = self._directory / f"{len(self.containers) + len(self.removed):064x}"
        (root / "tmp").mkdir(parents=True)
        self.containers[root.name] = Container(root, given)
        return self.containers[root.name]


class _Handler(http.server.BaseHTTPRequestHandler):
    engine: ContainerEngine
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        url = urlsplit(self.path)
        request = f"{self.command} {re.sub('^/v[0-9.]+', '', url.path)}"
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        for pattern, name in _REQUESTS.items():
            if found := re.fullmatch(pattern, request):
                getattr(self, f"_{name}")(body, *found.groups())
                return
        self._send({"message": f"This engine does not know {request}."}, status=501)

    do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815 - http.server finds them by these names

    def _send(self, answer: object = None, *, status: int = 200, **headers: str) -> None:
        octets = answer if isinstance(answer, bytes) else json.dumps(answer).encode() if answer is not None else b""
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(octets)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(octets)

    def _version(self, _: bytes) -> None:
        self._send({"ApiVersion": "1.44", "MinAPIVersion": "1.24", "Version": "28.0.0"})

    def _image(self, _: bytes, name: str) -> None:
        self._send({"Id": name, "RepoTags": [name]})

    def _create(self, body: bytes) -> None:
        self._send({"Id": self.engine.create(json.loads(body)).root.name, "Warnings": []}, status=201)

    def _inspect(self, _: bytes, name: str) -> None:
        self._send(self.engine.containers[name].state)

    def _start(self, _: bytes, name: str) -> None:
        self.engine.containers[name].start()
        self._send(status=204)

    def _put(self, body: bytes, name: str) -> None:
        with tarfile.open(fileobj=io.BytesIO(body)) as archive:
            archive.extractall(self.engine.containers[name].root, filter="data")
        self._send()

    def _get(self, _: bytes, name: str) -> None:
        (path,) = parse_qs(urlsplit(self.path).query)["path"]
        archived = io.BytesIO()
        with tarfile.open(fileobj=archived, mode="w") as archive:
            archive.add(self.engine.containers[name].here(path), Path(path).name)
        stat = base64.b64encode(json.dumps({"name": Path(path).name}).encode()).decode()
        self._send(archived.getvalue(), **{"x-docker-container-path-stat": stat})

    def _logs(self, _: bytes, name: str) -> None:
        is_error = "stderr=1" in self.path
        log = (self.engine.containers[name].root / "log").read_bytes() if is_error else b""
        self._send(_frame(2, log))

    def _remove(self, _: bytes, name: str) -> None:
        self.engine.containers.pop(name).remove()
        self.engine.removed.append(name)
        self._send(status=204)

    def log_message(self, *_: object) -> None:
        """Suppress the log."""


_REQUESTS = {
    "GET /version": "version",
    "GET /images/(.*)/json": "image",
    "POST /containers/create": "create",
    "GET /containers/(.*)/json": "inspect",
    "POST /containers/(.*)/start": "start",
    "PUT /containers/(.*)/archive": "put",
    "GET /containers/(.*)/archive": "get",
    "GET /containers/(.*)/logs": "logs",
    "DELETE /containers/(.*)": "remove",
}
"""The requests that the engine answers, and the methods that do."""


def _frame(stream: int, octets: bytes) -> bytes:
    """Return a part of the output of a process without a terminal: the stream, the size and the bytes."""
    return bytes([stream, 0, 0, 0]) + len(octets).to_bytes(4, "big") + octets if octets else b""
