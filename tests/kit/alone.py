"""A plugin for pytest that fails each test that starts a process or uses a socket (`make quick`).

The tests of `make quick` therefore stay fast, and do not depend on the machine.
"""

import os
import socket
import subprocess

import pytest


class NotAlone(AssertionError):
    """A test of `make quick` has started a process or used a socket. The test belongs in another folder."""


def _refused(what):
    def refuse(*_, **__):
        raise NotAlone(f"a test of `make quick` must not {what}: see ISOLATED in the Makefile")

    return refuse


class _Socket(socket.socket):
    """A socket that cannot connect or listen."""

    connect = connect_ex = bind = listen = _refused("use a socket")


@pytest.fixture(autouse=True, scope="session")
def _alone():
    """A session fixture that runs before all other fixtures, so that they fail too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "Popen", _refused("start a process"))
        patch.setattr(os, "fork", _refused("fork"))
        patch.setattr(socket, "socket", _Socket)
        yield
