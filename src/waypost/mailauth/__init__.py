"""Sender authentication: SPF, DKIM and DMARC, checked in a separate process, so that hostile mail cannot harm the
server.
"""
