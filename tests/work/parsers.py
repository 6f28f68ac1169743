"""The table of parsers: every one of octets that an untrusted client, peer or DNS server sends.

`test_growth.py` runs each row at its largest input and at a quarter of it; `make worst` prints the time of each. A new
parser gets a row in one of these modules, or several: one for each kind of input that makes it do as much as it can.
"""

from tests.work import of_calls, of_checks, of_messages, of_sessions

ROWS = [*of_messages.ROWS, *of_sessions.ROWS, *of_calls.ROWS, *of_checks.ROWS]
