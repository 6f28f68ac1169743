"""Runs all fuzzers, two at a time, and keeps their corpora and results (`make fuzz`).

A fuzzer runs in slices, and a run continues where the last one stopped: it adds to the results in the repository. A
target is finished when it has had enough processor time, and enough of it without reaching new code. The inputs that
together reach all code that was reached are kept in the folder `corpus`, and are the seeds of the next run.
"""

import argparse
import base64
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).parent
CORPUS, RESULTS = HERE / "corpus", HERE / "results.json"
FOUND = HERE.parent / ".cache" / "fuzz"
"""A folder for each target, with all inputs that reached new code on this machine."""
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
    """What all runs of a target did."""

    target: str
    inputs: int = 0
    seconds: int = 0
    """The processor time."""
    coverage: int = 0
    """libFuzzer's greatest number of reached edges of the code."""
    features: int = 0
    seconds_without_new_code: int = 0
    """The processor time since a slice last reached more code."""
    failure: str = ""
    """The end of the output, if the fuzzer found a bug."""

    def needs_more(self, least: int, without_new_code: int) -> bool:
        """Return whether the target needs another slice to have these processor times, in seconds."""
        return not self.failure and (self.seconds < least or self.seconds_without_new_code < without_new_code)


class Results:
    """The results of all targets, which are written to their file after each slice."""

    def __init__(self, path: Path) -> None:
        self._path = path
        read = json.loads(path.read_text()) if path.exists() else []
        self._of = {each["target"]: Result(**each) for each in read}
        self._lock = threading.Lock()

    def of(self, target: str) -> Result:
        """Return the result of a target until now."""
        return self._of.get(target) or Result(target)

    def put(self, result: Result) -> None:
        """Replace the result of a target."""
        with self._lock:
            self._of[result.target] = result
            lines = [asdict(self._of[name]) for name in sorted(self._of)]
            self._path.write_text(json.dumps(lines, indent=1) + "\n")


def main() -> None:
    options = _options()
    results = Results(RESULTS)
    chosen = [(program, name) for program, names in PROGRAMS.items() for name in names]
    if options.only:
        chosen = [(program, name) for program, name in chosen if name in options.only]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        done = list(pool.map(lambda one: _run(*one, results, options), chosen))
    sys.exit(any(result.failure for result in done))


def _run(program: str, name: str, results: Results, options: argparse.Namespace) -> Result:
    """Run slices of a target until it needs no more, and keep its corpus."""
    before = Result(name) if options.again else results.of(name)
    result = Result(**asdict(before) | {"failure": ""})
    least = options.least if options.long else before.seconds + options.least
    arguments = [sys.executable, str(HERE / program), *([name] if len(PROGRAMS[program]) > 1 else [])]
    found = FOUND / name
    found.mkdir(parents=True, exist_ok=True)
    while result.needs_more(least, options.without_new_code if options.long else 0):
        _slice(result, [*arguments, str(found)], options.slice)
        results.put(result)
        _say(result)
    if not result.failure and result.seconds > before.seconds:
        _keep(name, [*arguments, "-merge=1", f"-max_len={MAX_LENGTH}"], found)
    return result


def _slice(result: Result, command: Sequence[str], seconds: int) -> None:
    """Run the fuzzer for some seconds, and add to the result what it did."""
    limits = [f"-max_total_time={seconds}", f"-max_len={MAX_LENGTH}", "-timeout=20"]
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen([*command, *limits], stdout=output, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        said = output.read().decode(errors="replace")
    reached, ran = _REACHED.search(said), _DONE.search(said)
    if reached and ran:
        coverage, processor_time = int(reached[1]), round(used.ru_utime + used.ru_stime)
        is_new = coverage > result.coverage
        result.coverage = max(coverage, result.coverage)
        result.features = max(int(reached[2]), result.features)
        result.seconds_without_new_code = 0 if is_new else result.seconds_without_new_code + processor_time
        result.inputs, result.seconds = result.inputs + int(ran[1]), result.seconds + processor_time
    if process.returncode or not ran:
        result.failure = said[-4_000:]


def _keep(name: str, command: Sequence[str], found: Path) -> None:
    """Write the smallest inputs that reach everything to the file with the corpus of a target, up to its limit."""
    with tempfile.TemporaryDirectory(prefix=f"waypost-fuzz-{name}-") as merged:
        subprocess.run([*command, merged, str(found)], capture_output=True, check=True)
        inputs = [file.read_bytes() for file in Path(merged).iterdir()]
    lines, size = [], 0
    for octets in sorted(inputs, key=lambda octets: (len(octets), octets)):
        size += len(octets)
        if octets and size <= CORPUS_LIMIT:
            lines.append(base64.b64encode(octets).decode() + "\n")
    CORPUS.mkdir(exist_ok=True)
    (CORPUS / f"{name}.txt").write_text("".join(lines))


def _say(result: Result) -> None:
    what = f"FOUND A BUG:\n{result.failure}" if result.failure else f"reached {result.coverage:,} edges"
    print(f"{result.target}: {result.inputs:,} inputs in {result.seconds:,} s, {what}", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", help="only these targets")
    parser.add_argument("--slice", type=int, default=120, help="the length of a slice, in seconds (default: 120)")
    parser.add_argument(
        "--least", type=int, default=100, help="the processor time that this run adds, in seconds (default: 100)"
    )
    parser.add_argument(
        "--long", action="store_true", help="--least is the processor time of all runs, and --without-new-code holds"
    )
    parser.add_argument(
        "--without-new-code", type=int, default=600, help="the processor time without new code (default: 600)"
    )
    parser.add_argument("--again", action="store_true", help="begin the results again from zero")
    return parser.parse_args()


if __name__ == "__main__":
    main()
