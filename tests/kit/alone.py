"""A plugin for pytest: a test that starts a process or uses a socket fails (`make quick`).

So what is in `make quick` stays quick, and does not depend on the machine.
"""

import os
import socket
import subprocess

import pytest


class NotAlone(AssertionError):
    """A test of `make quick` has started a process or used a socket. It belongs in another folder."""


def _refused(what):
    def refuse(*_, **__):
        raise NotAlone(f"a test of `make quick` must not {what}: see QUICK in the Makefile")

    return refuse


class _Socket(socket.socket):
    """A socket that reaches nothing."""

    connect = connect_ex = bind = listen = _refused("use a socket")


@pytest.fixture(autouse=True, scope="session")
def _alone():
    """Before all other fixtures, so that theirs fail too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "Popen", _refused("start a process"))
        patch.setattr(os, "fork", _refused("fork"))
        patch.setattr(socket, "socket", _Socket)
        yield
