"""The process that reads messages: `python -m waypost.mime.worker`.

The process reads frames from standard input, and writes answers to standard output. It serves one request after the
other, and ends when standard input is closed.
"""

import json
import os
import resource
from typing import Any, BinaryIO

from waypost.mime import reading, safe_html, wire
from waypost.mime.message import CannotRead, NoSuchPart
from waypost.sandbox import frames
from waypost.sandbox.worker import confine

LIMITS = {resource.RLIMIT_AS: 448 * 1024 * 1024}
"""The resource limits of the process, which allow memory for one message of 50 MB."""

SECONDS = 4
"""The maximum processor time for one request. The reader's time limit is shorter, but a server that is itself killed
or stopped cannot enforce it.
"""


def serve(stream: BinaryIO, answers: BinaryIO) -> None:
    """Process frames until the input ends."""
    raw = bytearray()
    for number, kind, octets in frames.read(stream):
        if kind == frames.OCTETS:
            raw += octets
        elif kind == frames.FORGET:
            raw = bytearray()
        else:
            _allow_time()
            answers.writelines(_answer(number, wire.Kind(kind), raw, json.loads(octets)))
            answers.flush()
            raw = bytearray()


def _answer(number: int, kind: wire.Kind, raw: bytearray, question: dict[str, Any]) -> list[bytes]:
    try:
        return _result(number, kind, raw, question)
    except NoSuchPart:
        refusal = f"The message has no part {question['number']}."
    except CannotRead as error:
        refusal = str(error)
    except MemoryError:
        refusal = "The message cannot be read, because reading it needs too much memory."
    except Exception:  # noqa: BLE001 - a message that cannot be read must not end the worker
        refusal = "The message cannot be read, because an error occurred while reading it."
    return frames.answer(number, refused=refusal)


def _result(number: int, kind: wire.Kind, raw: bytearray, question: dict[str, Any]) -> list[bytes]:
    match kind:
        case wire.Kind.READY:
            return frames.answer(number)
        case wire.Kind.READ:
            return frames.answer(number, **wire.message_to_json(reading.read(raw)))
        case wire.Kind.TEXT:
            return frames.answer(number, text=reading.read(raw).text)
        case wire.Kind.PART:
            content = reading.part(raw, question["number"])
            about = {"content_type": content.content_type, "charset": content.charset, "filename": content.filename}
            return frames.answer(number, content.octets, **about)
        case wire.Kind.HTML:
            content = reading.part(raw, question["number"])
            if content.content_type != "text/html":
                raise CannotRead(f"Part {question['number']} is not HTML.")
            html, problems = reading.html_of(content)
            urls = {cid: question["urls"][part - 1] for cid, part in reading.parts_by_content_id(raw).items()}
            safe = safe_html.sanitised(html, parts_by_cid=urls, allow_remote=question["allow_remote"])
            members = wire.html_to_json(safe)
            return frames.answer(number, **members | {"problems": [*problems, *members["problems"]]})


def _allow_time() -> None:
    """Let the process use `SECONDS` more of processor time."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(usage.ru_utime + usage.ru_stime) + 1 + SECONDS, hard))


def main() -> None:
    """Process frames."""
    stream, answers = confine(LIMITS)
    try:
        serve(stream, answers)
    finally:
        os._exit(0)


if __name__ == "__main__":
    main()
