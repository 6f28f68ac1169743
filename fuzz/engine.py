"""Starts libFuzzer for each of the fuzzers, with a search path, a corpus of seeds, and a dictionary."""

import base64
import os
import random
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import atheris  # noqa: E402 - after the path

WORD_LIMIT = 64
"""The maximum length of a word in libFuzzer's dictionary, in bytes."""


@dataclass(frozen=True)
class Target:
    """The check of a parser, its seeds, and the words for its dictionary."""

    check: Callable[[bytes], None]
    seeds: Sequence[bytes]
    words: Sequence[bytes]


def fuzz_one_of(targets: Mapping[str, Target]) -> None:
    """Fuzz the target that the first argument names."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in targets:
        sys.exit(f"Name one of these: {', '.join(targets)}.")
    sys.argv[:2] = [f"{sys.argv[0]} {name}"]
    target = targets[name]
    fuzz(target.check, name=name, seeds=target.seeds, words=target.words)


def instrumented():
    """Return a context in which imported modules of Waypost are instrumented, so that libFuzzer sees their branches."""
    return atheris.instrument_imports(include=["waypost"])


def fuzz(
    check: Callable[[bytes], None],
    *,
    name: str,
    seeds: Iterable[bytes],
    words: Sequence[bytes],
    mutate: Callable[[random.Random, bytes], bytes] | None = None,
) -> None:
    """Run libFuzzer with the options of the command line until it finds a bug, or its time limit is reached.

    `name` is the name of the target's file in the folder `corpus`, whose inputs are seeds too. Half of the inputs are
    changed by `mutate`, which knows their structure, and the other half by libFuzzer's own mutation. If the command
    line names a directory, libFuzzer stores new inputs there; otherwise they are discarded. If the command line names
    files, libFuzzer only runs the inputs in these files.
    """

    def mutated(octets: bytes, limit: int, seed: int) -> bytes:
        chance = random.Random(seed)
        if mutate is None or chance.random() < 0.5:
            return atheris.Mutate(octets, limit)
        return mutate(chance, octets)[:limit]

    with tempfile.TemporaryDirectory(prefix="waypost-fuzz-") as place:
        corpus, dictionary = Path(place, "seeds"), Path(place, "dictionary")
        corpus.mkdir()
        for number, seed in enumerate([*seeds, *_corpus(name)]):
            (corpus / f"{number:04}").write_bytes(seed)
        dictionary.write_text("".join(f'"{_quoted(word)}"\n' for word in words if len(word) <= WORD_LIMIT))
        # libFuzzer stores new inputs in the first directory, which is the caller's if there is one. libFuzzer ends its
        # process without cleanup, so it runs in a child process, and the parent removes the directory with the seeds.
        child = os.fork()
        if child == 0:
            custom = {"custom_mutator": mutated} if mutate else {}
            options = [] if any(Path(word).is_file() for word in sys.argv[1:]) else [str(corpus), f"-dict={dictionary}"]
            # To merge corpora, libFuzzer runs its first argument as a command of the shell.
            atheris.Setup([f"{sys.executable} {sys.argv[0]}", *sys.argv[1:], *options], check, **custom)
            atheris.Fuzz()
        _, status = os.waitpid(child, 0)
    sys.exit(os.waitstatus_to_exitcode(status))


def _corpus(name: str) -> Iterable[bytes]:
    """Return the inputs that earlier runs of a target have kept: one in each line, in base64."""
    kept = ROOT / "fuzz" / "corpus" / f"{name}.txt"
    return map(base64.b64decode, kept.read_text().splitlines()) if kept.exists() else ()


def _quoted(word: bytes) -> str:
    return "".join(f"\\x{octet:02X}" for octet in word)
