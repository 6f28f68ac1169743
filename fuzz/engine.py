"""Starts libFuzzer for each of the fuzzers, with a search path, a corpus of seeds, and a dictionary."""

import os
import random
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import atheris  # noqa: E402 - after the path

WORD_LIMIT = 64
"""The maximum length of a word in libFuzzer's dictionary, in bytes."""


def instrumented():
    """Return a context in which imported modules of Waypost are instrumented, so that libFuzzer sees their branches."""
    return atheris.instrument_imports(include=["waypost"])


def fuzz(
    check: Callable[[bytes], None],
    *,
    seeds: Iterable[bytes],
    words: Sequence[bytes],
    mutate: Callable[[random.Random, bytes], bytes] | None = None,
) -> None:
    """Run libFuzzer with the options of the command line until it finds a bug, or its time limit is reached.

    Half of the inputs are changed by `mutate`, which knows their structure, and the other half by libFuzzer's own
    mutation. If the command line names a directory, libFuzzer stores new inputs there; otherwise they are discarded. If
    the command line names files, libFuzzer only runs the inputs in these files.
    """

    def mutated(octets: bytes, limit: int, seed: int) -> bytes:
        chance = random.Random(seed)
        if mutate is None or chance.random() < 0.5:
            return atheris.Mutate(octets, limit)
        return mutate(chance, octets)[:limit]

    with tempfile.TemporaryDirectory(prefix="waypost-fuzz-") as place:
        corpus, dictionary = Path(place, "seeds"), Path(place, "dictionary")
        corpus.mkdir()
        for number, seed in enumerate(seeds):
            (corpus / f"{number:04}").write_bytes(seed)
        dictionary.write_text("".join(f'"{_quoted(word)}"\n' for word in words if len(word) <= WORD_LIMIT))
        # libFuzzer stores new inputs in the first directory, which is the caller's if there is one. libFuzzer ends its
        # process without cleanup, so it runs in a child process, and the parent removes the directory with the seeds.
        child = os.fork()
        if child == 0:
            custom = {"custom_mutator": mutated} if mutate else {}
            options = [] if any(Path(word).is_file() for word in sys.argv[1:]) else [str(corpus), f"-dict={dictionary}"]
            atheris.Setup([*sys.argv, *options], check, **custom)
            atheris.Fuzz()
        _, status = os.waitpid(child, 0)
    sys.exit(os.waitstatus_to_exitcode(status))


def _quoted(word: bytes) -> str:
    return "".join(f"\\x{octet:02X}" for octet in word)
