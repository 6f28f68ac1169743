"""`python -m tests.kit.servers.impatient_server serve …` runs `waypost serve` with short timeouts for HTTP clients."""

import runpy
import sys
from functools import partial

from waypost.server.assembly import http
from waypost.server.http.limits import HttpBounds

SECONDS = 2.0

if __name__ == "__main__":
    http.HttpBounds = partial(HttpBounds, head=SECONDS, body_start=SECONDS, answer_start=SECONDS, answer=SECONDS)
    sys.argv[0] = "waypost"
    runpy.run_module("waypost.testing.attached", run_name="__main__", alter_sys=True)
