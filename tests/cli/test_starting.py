"""A command imports only what it needs, so that it starts fast."""

import subprocess
import sys

import click
import pytest

from waypost.cli import program

SERVER = (
    "aiohttp",
    "cryptography",
    "dns",
    "httptools",
    "jinja2",
    "nh3",
    "sqlite3",
    "starlette",
    "uvloop",
    "waypost.api",
    "waypost.server",
    "waypost.store",
)
"""The modules that only the server and commands for its store need."""

SLOW_TO_IMPORT = (*SERVER, "asyncio", "waypost.app.ports", "waypost.config.settings")
"""The modules that a command which calls the server does not need. They take longer than all that it needs."""

NOTHING_BUT = {"waypost", "waypost.cli", "waypost.cli.output"}

CLIENTS = (
    "ready",
    "inbox",
    "search x",
    "show x",
    "watch",
    "explain a@example.com",
    "trace x",
    "queue",
    "dead list",
    "replay a@example.com",
    "env",
)


def imported(*arguments):
    """Return the names of the modules that `waypost` has imported when it ends."""
    code = (
        "import sys\n"
        "from waypost import cli\n"
        f"sys.argv = ['waypost', *{arguments!r}]\n"
        "try:\n    cli.main()\n"
        "finally:\n    sys.stderr.write('\\n' + ' '.join(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return set(done.stderr.splitlines()[-1].split())


def found(modules, heavy):
    return {name for name in modules for other in heavy if name == other or name.startswith(f"{other}.")}


@pytest.mark.parametrize("option", ["-V", "--version"])
def test_the_version_is_printed_without_a_library(option):
    modules = imported(option)
    assert {name for name in modules if name.partition(".")[0] == "waypost"} == NOTHING_BUT
    assert found(modules, (*SLOW_TO_IMPORT, "click", "json", "re", "typing")) <= {"re", "typing"}


@pytest.mark.parametrize("words", CLIENTS)
def test_a_command_that_calls_the_server_imports_no_part_of_the_server(words, tmp_path):
    modules = imported(*words.split(), "--data", str(tmp_path))
    assert "waypost.cli.client" in modules
    assert not found(modules, SLOW_TO_IMPORT)


@pytest.mark.parametrize("words", ["-h", "inbox -h", "completion bash"])
def test_help_and_completion_import_no_part_of_the_server(words):
    modules = imported(*words.split())
    assert "click" in modules
    assert not found(modules, SLOW_TO_IMPORT)


@pytest.mark.parametrize("name", program.SUMMARIES)
def test_the_list_of_commands_has_the_first_sentence_of_the_help_of_each_command(name):
    listed = program.app.commands[name]
    assert " ".join(listed.load().help.split()).startswith(listed.short_help)


def test_a_group_without_a_command_shows_its_help():
    with pytest.raises(click.exceptions.NoArgsIsHelpError):
        program.app.make_context("waypost", [])
