"""Runs all fuzzers, two at a time, and keeps their corpora and results (`make fuzz`).

A fuzzer runs in slices. It ends when it has run for long enough and its last slice has reached no new code. The inputs
that together reach all code that was reached are kept in the folder `corpus`, and are the seeds of the next run.
"""

import argparse
import base64
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).parent
CORPUS, RESULTS = HERE / "corpus", HERE / "results.json"
AT_ONCE = 2
MAX_LENGTH = 1_200
"""The maximum length of an input, in bytes."""
CORPUS_LIMIT = 24 * 1024
"""The maximum size of the corpus of a target in the repository, in bytes."""

PROGRAMS = {
    "session.py": ["session"],
    "headers.py": ["headers"],
    "mail.py": ["mail"],
    "parsers.py": [
        "from",
        "subject",
        "message-id",
        "report",
        "results",
        "bdat",
        "canonical",
        "json",
        "addresses",
        "traceparent",
    ],
    "documents.py": ["policy", "settings"],
    "peers.py": ["replies", "webhook"],
}
"""The targets of each program. A program with one target has no argument."""

_REACHED = re.compile(r"#\d+\s+DONE\s+cov: (\d+) ft: (\d+)")
_DONE = re.compile(r"Done (\d+) runs in (\d+) second")


@dataclass
class Result:
    """What one run of a target did."""

    target: str
    inputs: int = 0
    seconds: int = 0
    coverage: int = 0
    """libFuzzer's number of reached edges of the code."""
    features: int = 0
    slices_without_new_code: int = 0
    failure: str = ""
    """The end of the output, if the fuzzer found a bug."""


def main() -> None:
    options = _options()
    chosen = [(program, name) for program, names in PROGRAMS.items() for name in names]
    if options.only:
        chosen = [(program, name) for program, name in chosen if name in options.only]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = list(pool.map(lambda one: _run(*one, options), chosen))
    kept = {each["target"]: each for each in _read()} | {each.target: asdict(each) for each in results}
    RESULTS.write_text(json.dumps([kept[name] for name in sorted(kept)], indent=1) + "\n")
    sys.exit(any(result.failure for result in results))


def _run(program: str, name: str, options: argparse.Namespace) -> Result:
    """Run a target until it has run for long enough, and keep its corpus."""
    result = Result(name)
    arguments = [sys.executable, str(HERE / program), *([name] if len(PROGRAMS[program]) > 1 else [])]
    with tempfile.TemporaryDirectory(prefix=f"waypost-fuzz-{name}-") as place:
        corpus = Path(place, "corpus")
        corpus.mkdir()
        while not result.failure and (
            result.seconds < options.least or (options.until_nothing_new and not result.slices_without_new_code)
        ):
            _slice(result, [*arguments, str(corpus)], options.slice)
            _say(result)
        if not result.failure:
            _keep(name, [*arguments, "-merge=1", f"-max_len={MAX_LENGTH}"], Path(place), corpus)
    return result


def _slice(result: Result, command: Sequence[str], seconds: int) -> None:
    """Run the fuzzer for some seconds, and add to the result what it did."""
    limits = [f"-max_total_time={seconds}", f"-max_len={MAX_LENGTH}", "-timeout=20"]
    done = subprocess.run(
        [*command, *limits], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False
    )
    reached, ran = _REACHED.search(done.stdout), _DONE.search(done.stdout)
    if reached and ran:
        coverage = int(reached[1])
        result.slices_without_new_code = 0 if coverage > result.coverage else result.slices_without_new_code + 1
        result.coverage, result.features = coverage, int(reached[2])
        result.inputs, result.seconds = result.inputs + int(ran[1]), result.seconds + int(ran[2])
    if done.returncode or not ran:
        result.failure = done.stdout[-4_000:]


def _keep(name: str, command: Sequence[str], place: Path, corpus: Path) -> None:
    """Write the smallest inputs that reach everything to the file with the corpus of a target, up to its limit."""
    merged = place / "merged"
    merged.mkdir()
    subprocess.run([*command, str(merged), str(corpus)], capture_output=True, check=True)
    lines, size = [], 0
    for octets in sorted((file.read_bytes() for file in merged.iterdir()), key=lambda octets: (len(octets), octets)):
        size += len(octets)
        if octets and size <= CORPUS_LIMIT:
            lines.append(base64.b64encode(octets).decode() + "\n")
    CORPUS.mkdir(exist_ok=True)
    (CORPUS / f"{name}.txt").write_text("".join(lines))


def _say(result: Result) -> None:
    what = f"FOUND A BUG:\n{result.failure}" if result.failure else f"reached {result.coverage:,} edges"
    print(f"{result.target}: {result.inputs:,} inputs in {result.seconds:,.0f} s, {what}", flush=True)


def _read() -> list[dict[str, object]]:
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else []


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", help="only these targets")
    parser.add_argument("--slice", type=int, default=120, help="the length of a slice, in seconds (default: 120)")
    parser.add_argument("--least", type=int, default=120, help="the least time for a target, in seconds (default: 120)")
    parser.add_argument("--until-nothing-new", action="store_true", help="go on until a slice reaches no new code")
    return parser.parse_args()


if __name__ == "__main__":
    main()
