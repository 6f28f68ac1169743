"""boto3 with the server of a test. Only this module and `environment` import boto3 and botocore, which are optional."""

from typing import TYPE_CHECKING, Any

try:
    import boto3
except ImportError as error:
    raise ImportError("This needs the AWS SDK. Install it with: pip install boto3") from error
from botocore.config import Config

if TYPE_CHECKING:
    from waypost.testing.process import Server


def session(server: "Server") -> Any:
    """Return a `boto3.Session` with a server's access key and region, whose Connect clients use the server."""
    return _Session(server)


class _Session(boto3.Session):  # type: ignore[misc]  # boto3 has no types
    def __init__(self, server: "Server") -> None:
        given = server.client_arguments
        self._endpoint = {"endpoint_url": given.pop("endpoint_url")}
        super().__init__(**given)

    def client(self, service_name: str, *arguments: Any, **options: Any) -> Any:
        """Return a client. A client for Connect uses the server, without a proxy."""
        if service_name == "connect":
            config = Config(proxies={}).merge(options.pop("config", None) or Config())
            options = {**self._endpoint, **options, "config": config}
        return super().client(service_name, *arguments, **options)
