"""Sender authentication: a separate process checks SPF, DKIM and DMARC, so that hostile mail cannot harm the server."""
