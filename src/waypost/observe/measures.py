"""What happens too often for the log, and is only counted.

Each part of the server that measures something is given a `Measures` object. Its methods are called on the event loop
only (`spans` on a thread of its own), and get no email addresses.
"""


class Measures:
    """The complete list of measurements. This class ignores all of them; `metrics.measuring` counts them."""

    def api_call(self, operation: str, status: int, seconds: float) -> None:
        """Count an answered call of the Amazon Connect API.

        `operation` is empty if the caller was not authenticated, or if there is no such operation. `status` is the HTTP
        status of the response, and `seconds` the time from the complete request to the response.
        """

    def attempt(self, destination: str, seconds: float) -> None:
        """Count an attempt to deliver a message that has ended. Only the scheme of the destination is counted."""

    def commit(self, writes: int, seconds: float) -> None:
        """Count a transaction that the store has committed.

        `writes` is the number of writes that shared it, and `seconds` the time from its beginning until its data was on
        disk.
        """

    def session_opened(self, listener: str) -> None:
        """Count a mail client that has connected and was admitted. `listener` is `smtp`, `smtps` or `lmtp`."""

    def session_closed(self, listener: str) -> None:
        """Count the end of the connection of an admitted mail client."""

    def tls_made(self, protocol: str, version: str) -> None:
        """Count a TLS handshake with a client that has succeeded. `protocol` is `smtp` or `http`, and `version` is as
        in `TLSv1.3`.
        """

    def spans(self, result: str, count: int) -> None:
        """Count spans that were `sent` to the collector of traces, were not taken by it (`failed`), or were `dropped`
        because too many wait. Only the thread that sends spans calls this method.
        """

    def probed(self, result: str) -> None:
        """Count a self-probe that has ended with a result, such as `ok` (`domain.mail.probes.Result`)."""
