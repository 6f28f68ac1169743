"""The table of all parsers for bytes that an untrusted client, peer or DNS server sends.

`test_growth.py` compares the times of each row for inputs of different sizes, and `make worst` prints the time of each
row. A new parser gets one or more rows in one of these modules: a row for each kind of input that takes much time.
"""

from tests.work import of_calls, of_checks, of_messages, of_reading, of_sessions

ROWS = [*of_messages.ROWS, *of_sessions.ROWS, *of_calls.ROWS, *of_checks.ROWS, *of_reading.ROWS]
