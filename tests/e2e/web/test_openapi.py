"""A real server behaves as the OpenAPI description of the inspection API says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CALLS = 10
"""The maximum number of calls for each operation."""


def test_the_description_needs_no_credentials(system):
    answer = system.get("openapi.json", key=())
    assert answer.status == 200
    assert answer.json()["openapi"] == "3.1.0"


@pytest.mark.long
@pytest.mark.slow
def test_a_real_server_fulfils_the_description(system, tmp_path):
    key = system.server.profile.key
    schemathesis = Path(sys.executable).with_name("schemathesis")
    done = subprocess.run(
        [
            schemathesis,
            "run",
            f"{system.server.url}/_waypost/openapi.json",
            "--seed=1",
            f"--max-examples={CALLS}",
            "--auth",
            f"{key.id}:{key.secret}",
            "--phases=coverage,fuzzing",
            "--exclude-path=/_waypost/events",  # its response does not end
            "--exclude-operation-id=post_explained",  # schemathesis cannot write a message
            "--checks=not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
            "--no-color",
        ],
        cwd=tmp_path,
        env={**os.environ, "NO_PROXY": "*"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
