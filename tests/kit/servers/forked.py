"""Server processes for tests, forked from a process that has imported all modules. A start takes a third of the time.

That process is a forkserver of `multiprocessing`, which runs no Waypost code. After the fork, a server parses its
command line and runs like a server that Python starts. The tests of commands and of documentation start servers without
a fork.

tests/conftest.py replaces `subprocess` in `waypost.testing.process` with this module.
"""

import multiprocessing
import multiprocessing.resource_sharer  # tests of the pytest plugin forget what they import first
import os
import runpy
import signal
import subprocess
import sys
from multiprocessing.reduction import DupFd
from pathlib import Path

LOADED = ["tests.kit.servers.forked", "waypost.server.service", "waypost.cli", "waypost.server.http.server", "uvloop"]

PIPE, TimeoutExpired = subprocess.PIPE, subprocess.TimeoutExpired

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(LOADED)


class Popen:
    """The part of `subprocess.Popen` that is needed to start and end `python -m MODULE …`."""

    def __init__(self, command, *, stdout, stderr, text, env, stdin=subprocess.DEVNULL, process_group=None):
        python, option, *words = (word for word in command if word != "-P")
        assert (python, option, stdout, text) == (sys.executable, "-m", subprocess.PIPE, True)
        assert process_group in {None, 0}
        read, write = os.pipe()
        self.stdout = os.fdopen(read, encoding="utf-8")
        null = os.open(os.devnull, os.O_RDONLY)
        streams = (null if stdin == subprocess.DEVNULL else stdin, write, stderr.fileno())
        ignored = [number for number in signal.valid_signals() if signal.getsignal(number) is signal.SIG_IGN]
        arguments = (words, env, Path.cwd(), [*map(DupFd, streams)], (ignored, process_group))
        self._process = _context.Process(target=_run, args=arguments, daemon=True)
        self._process.start()
        os.close(write)
        os.close(null)

    @property
    def pid(self):
        return self._process.pid

    @property
    def returncode(self):
        return self._process.exitcode

    def poll(self):
        return self.returncode

    def wait(self, timeout=None):
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout)
        return self.returncode

    def send_signal(self, number):
        if self.returncode is None:
            os.kill(self.pid, number)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def kill(self):
        self.send_signal(signal.SIGKILL)


def _run(words, environment, directory, streams, of_process):
    """In the new process, run a module with these arguments, like `python -m`."""
    ignored, process_group = of_process
    if process_group is not None:
        os.setpgid(0, process_group)
    for number, stream in enumerate(streams):
        given = stream.detach()
        os.dup2(given, number)
        os.close(given)
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)  # multiprocessing had replaced it
    for number in signal.valid_signals():  # as in a child of this process, not of the fork server
        if (signal.getsignal(number) is signal.SIG_IGN) != (number in ignored):
            signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(directory)
    sys.argv = words
    runpy.run_module(words[0], run_name="__main__", alter_sys=True)
