"""What the fuzzers have in common: the search path, a corpus of seeds, a dictionary, and the start of libFuzzer."""

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
"""Octets of a word that libFuzzer takes."""


def instrumented():
    """Have libFuzzer see the branches of those of our modules that are imported within this, and of no other."""
    return atheris.instrument_imports(include=["waypost"])


def fuzz(
    check: Callable[[bytes], None],
    *,
    seeds: Iterable[bytes],
    words: Sequence[bytes],
    mutate: Callable[[random.Random, bytes], bytes] | None = None,
) -> None:
    """Run libFuzzer with the options of the command line until it finds something, or its time is over.

    Of two inputs one is changed by `mutate`, which knows what it is about, and one by libFuzzer, which does not. A
    directory on the command line keeps what is found to be new; without one it is forgotten. Files there are inputs to
    try, and nothing else.
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
        # What is new is put into the first directory: the caller's, if there is one. libFuzzer ends the process, and
        # with it the seeds would stay behind: so it has a process of its own.
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
