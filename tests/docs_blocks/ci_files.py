"""What a CI service would run for the jobs of its file, as scripts for a shell."""

from typing import Any

import yaml

PASSED_ON = """
export GITHUB_ENV="$PWD/.github-env"
touch "$GITHUB_ENV"
while IFS= read -r line; do export "$line"; done < "$GITHUB_ENV"
"""
"""A step of GitHub Actions begins with the variables that earlier steps wrote to the file GITHUB_ENV."""


def scripts_of(text: str) -> list[str]:
    """Return a script for each shell that GitHub Actions or GitLab CI starts, for jobs whose steps succeed."""
    file: dict[str, Any] = yaml.safe_load(text)
    if "jobs" in file:
        steps = [step for job in file["jobs"].values() for step in job["steps"]]
        return [PASSED_ON + step["run"] for step in steps if "run" in step and "if" not in step]
    return ["\n".join([*job.get("before_script", []), *job["script"]]) for job in file.values()]
