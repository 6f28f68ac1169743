"""A Waypost server in a container, for Testcontainers (`waypost[testcontainers]`)."""

import io
import tarfile
import time
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any

try:
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.exceptions import ContainerStartException
    from testcontainers.core.waiting_utils import WaitStrategy, WaitStrategyTarget
except ImportError as error:
    raise ImportError("WaypostContainer needs Testcontainers. Install it with: pip install testcontainers") from error

from waypost.client import clock
from waypost.client.http import Connection, NoServer, ServerRefused
from waypost.config.rows import environment_name
from waypost.host import credentials_file
from waypost.host.credentials_file import Profile
from waypost.host.run_file import Run
from waypost.testing.kit import Waypost
from waypost.testing.process import Server
from waypost.testing.settings import file_text, given, words

HTTP, SMTP = 8025, 1025
"""The ports on which the server in the image listens."""

CREDENTIALS = "/data/credentials"
"""The file in the image that has the server's access key."""

CONFIG = "/tmp/waypost.toml"  # noqa: S108 - in the container
"""The place of the settings file in the container."""

BY_DEFAULT: Mapping[str, Any] = {
    "authentication": "off",
    # The server sees the address of the engine's network as that of the client.
    "trusted_networks": "127.0.0.0/8,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,::1,fc00::/7",
}
"""The settings that the server in a container has in addition to those of the kit, unless a test gives others."""

LOOK_EVERY = 0.1
"""The time, in seconds, between two looks whether the server is ready."""


class WaypostContainer(DockerContainer):
    """A Waypost server in a container: a `DockerContainer` of Testcontainers, whose `waypost` is the kit.

    As a context manager, it starts the container, waits until the server is ready, and removes the container at the
    end, with its data.
    """

    def __init__(self, image: str = "waypost", *, settings: Mapping[str, Any] | None = None, **options: Any) -> None:
        """Prepare a container without starting it.

        `image` is an image that was built from the Containerfile. `settings` are those of `Waypost`, such as
        `{"limits": "aws"}`. All other arguments are those of `DockerContainer`. Raises `TypeError` for a setting of the
        wrong type.
        """
        super().__init__(image, **options)
        self._settings = given({**BY_DEFAULT, **(settings or {})})
        self._kit: Waypost | None = None
        self.with_exposed_ports(HTTP, SMTP).waiting_for(_UntilReady())
        for name, value in words(self._settings).items():
            self.with_env(environment_name(name), value)
        if text := file_text(self._settings):
            self.with_copy_into_container(text.encode(), CONFIG)
            self.with_env(environment_name("config"), CONFIG)

    def _configure(self) -> None:
        """Let clients use the name of the engine's host. `DockerContainer.start` calls this method."""
        host = self.get_docker_client().host()
        if not _is_known(host) and "http_names" not in self._settings:
            self.with_env(environment_name("http_names"), host)

    def stop(self, force: bool = True, delete_volume: bool = True) -> None:
        """Stop the server, and remove the container with its data."""
        self._kit = None
        super().stop(force=force, delete_volume=delete_volume)

    @property
    def waypost(self) -> Waypost:
        """The kit for the server in the container. Raises `ContainerStartException` if the container was not started.

        `waypost.log` is not available; use `get_logs()` of the container.
        """
        if self._kit is None:
            (profile, *_) = credentials_file.parse(self._text_of(CREDENTIALS))
            self._kit = _Kit(_Server(self, profile))
        return self._kit

    def _text_of(self, file: str) -> str:
        """Return the text of a file in the container."""
        parts, _ = self.get_wrapped_container().get_archive(file)
        with tarfile.open(fileobj=io.BytesIO(b"".join(parts))) as archive:
            (member,) = archive.getmembers()
            content = archive.extractfile(member)
            assert content is not None
            return content.read().decode()

    def address_of(self, port: int) -> str:
        """Return the HOST:PORT at which a port of the container can be reached."""
        host = self.get_container_host_ip()
        return f"{f'[{host}]' if ':' in host else host}:{self.get_exposed_port(port)}"


class _UntilReady(WaitStrategy):
    """Waits until the server answers. Fails at once if the server has ended, for example because of a bad setting."""

    def wait_until_ready(self, container: WaitStrategyTarget) -> None:
        assert isinstance(container, WaypostContainer)
        deadline = clock.monotonic() + self._startup_timeout
        last: Exception | None = None
        while True:
            try:
                if _is_ready(container):
                    return
            except (NoServer, ServerRefused) as error:
                last = error
            if clock.monotonic() > deadline:
                raise TimeoutError(f"The server was not ready within {self._startup_timeout:g} s.") from last
            time.sleep(LOOK_EVERY)


def _is_ready(container: WaypostContainer) -> bool:
    """Return whether the server runs and is ready. Raises `ContainerStartException` if it has ended, and `NoServer` or
    `ServerRefused` if it does not answer so.
    """
    container.reload()
    if container.status in {"exited", "dead"}:
        log = b"".join(container.get_logs()).decode(errors="replace")
        raise ContainerStartException(f"The server has ended. Its log:\n{log}")
    if container.status == "running":
        Connection(container.address_of(HTTP), key_id="", secret="").get("ready")
        return True
    return False


def _is_known(host: str) -> bool:
    """Return whether clients may use a host name for the inspection API without a setting."""
    with suppress(ValueError):
        ip_address(host)
        return True
    return host == "localhost"


class _Server(Server):
    """The server in a container."""

    def __init__(self, container: WaypostContainer, profile: Profile) -> None:
        self._container = container
        self.run = Run(http=container.address_of(HTTP), smtp=container.address_of(SMTP))
        self.profile = profile
        self.default_session = None

    def start(self) -> None:
        raise RuntimeError("Start the container instead.")

    def stop(self) -> int:
        self._container.stop()
        return 0

    def kill(self) -> None:
        self._container.stop()

    @property
    def log(self) -> Path:  # type: ignore[override]  # other servers have a file
        raise RuntimeError("The log is in the container. Use `get_logs()` of the container.")


class _Kit(Waypost):
    """The kit for a server in a container."""

    def __init__(self, server: _Server) -> None:
        super().__init__()
        self._use(server, when_unreachable=" It runs in a container.")
