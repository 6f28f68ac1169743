"""Starts a real Waypost server for tests of other software, as a context manager.

with waypost.testing.server() as server:
    connect = boto3.client("connect", **server.client_arguments)
    smtplib.SMTP(*server.smtp).sendmail(…)
"""

from waypost.testing.process import Server, ServerDied, server

__all__ = ["Server", "ServerDied", "server"]
