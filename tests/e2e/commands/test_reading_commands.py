"""The commands that read mail: `inbox --follow`, `show`, `search` and `watch`."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

from tests.kit.patience import PATIENCE, wait_until
from tests.kit.servers.running import System, waypost
from waypost.cli.outcomes import Exit

HELLO = b"Subject: hello\r\n\r\nHello.\r\n"

LETTER = """From: =?utf-8?q?J=C3=BCrgen?= <j@client.example>
To: support@example.com
Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=
X-Folded: one
 two
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=b

--b
Content-Type: multipart/alternative; boundary=a

--a
Content-Type: text/plain; charset=utf-8

Grüße!\x1b]0;title\x07
--a
Content-Type: text/html; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable

<p onclick=3Dx()>Gr=FC=DFe\x1b[2J</p>
--a--
--b
Content-Type: application/pdf; name="../invoice.pdf"
Content-Disposition: attachment
Content-Transfer-Encoding: base64

JVBERi0xAA==
--b
Content-Type: text/csv
Content-Disposition: attachment; filename*=utf-8''%E2%82%AC%1b[31m.csv

1;2
--b--
""".replace("\n", "\r\n").encode()


def output(system, *arguments) -> str:
    """Run a command that must succeed, and return its output."""
    done = waypost(*arguments, "--data", system.server.data)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def refused(system, *arguments, code=Exit.REFUSED) -> str:
    """Run a command that must fail, and return its error message."""
    done = waypost(*arguments, "--data", system.server.data)
    assert (done.returncode, done.stdout) == (code, "")
    return done.stderr


class Running:
    """A command that runs until it is interrupted."""

    def __init__(self, process):
        self._process = process

    def line(self) -> str:
        """Wait for the next line of the output."""
        return self._process.stdout.readline().rstrip("\n")

    def note(self) -> str:
        """Wait for the next note on the error output, which is JSON if the other output is."""
        line = self._process.stderr.readline().rstrip("\n")
        return json.loads(line)["note"] if line.startswith("{") else line

    def interrupt(self) -> tuple[int, str, str]:
        """Press Ctrl-C, and return the exit code and the rest of both outputs."""
        self._process.send_signal(signal.SIGINT)
        out, err = self._process.communicate(timeout=PATIENCE)
        return self._process.returncode, out, err

    def wait(self) -> tuple[int, str, str]:
        """Wait until the command ends, and return the exit code and the rest of both outputs."""
        out, err = self._process.communicate(timeout=PATIENCE)
        return self._process.returncode, out, err


@contextmanager
def running(server, *arguments):
    """Run a command in another process, and wait until it follows the server."""
    command = [sys.executable, "-m", "waypost", *arguments, "--data", server.data]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        following = Running(process)
        assert following.note() == "Waiting for new mail. Ctrl-C ends this command."
        yield following
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


@pytest.fixture(scope="module")
def letter(system):
    """The id of a message with text, HTML and two attachments."""
    return system.deliver(LETTER, system.new_address())


# Following


def test_inbox_prints_new_mail_as_it_arrives(system):
    alias, primary = system.linked_pair()
    other = system.new_address()
    system.deliver(HELLO, primary)
    with running(system.server, "inbox", primary, "--follow", "--limit", "2") as following:
        system.deliver(HELLO, other)
        ids = [system.deliver(HELLO, alias), system.deliver(HELLO, primary)]
        assert re.fullmatch(rf"{ids[0]}  \S+  {len(HELLO)} bytes  forwarded through {alias}", following.line())
        assert following.line() == "    from <a@client.example>: hello"
        assert re.fullmatch(rf"{ids[1]}  \S+  {len(HELLO)} bytes  direct", following.line())
        following.line()
        assert following.wait() == (0, "", "")


def test_inbox_follows_all_addresses_and_prints_json(system):
    alias, primary = system.linked_pair()
    with running(system.server, "inbox", "--follow", "--json") as following:
        message_id = system.deliver(HELLO, alias)
        found = [json.loads(following.line()), json.loads(following.line())]
        assert {(one["id"], one["address"]) for one in found} == {(message_id, alias), (message_id, primary)}
        listed = system.json("messages", limit=2)["messages"]
        assert sorted(found, key=lambda one: one["delivery"]) == sorted(listed, key=lambda one: one["delivery"])
        assert following.interrupt() == (0, "", "")


@pytest.mark.parametrize("command", [("inbox", "--follow"), ("watch",)], ids=str)
def test_ctrl_c_ends_a_command_that_follows_quietly(system, command):
    with running(system.server, *command) as following:
        assert following.interrupt() == (0, "", "")


def test_inbox_continues_after_a_restart_of_the_server(new_server):
    new_server.start()
    system = System(new_server)
    address = system.new_address()
    with running(new_server, "inbox", address, "--follow") as following:
        first = system.deliver(HELLO, address)
        assert following.line().startswith(first)
        following.line()
        new_server.stop()
        assert "This command continues when the server answers again." in following.note()
        new_server.start()
        system.connect.close()
        second = System(new_server).deliver(HELLO, address)
        assert following.line().startswith(second)
        following.line()
        assert following.note() == "The server answers again."
        assert following.interrupt() == (0, "", "")


def test_following_an_address_that_does_not_exist_is_refused(system):
    assert "unknown@example.com" in refused(system, "inbox", "unknown@example.com", "--follow")


@pytest.mark.parametrize("options", [("--after", "x"), ("--limit", "0")], ids=str)
def test_inbox_cannot_follow_a_page(system, options):
    refused(system, "inbox", "--follow", *options, code=Exit.MISUSED)


# One message


def test_show_prints_the_text_without_control_characters(system, letter):
    assert (
        output(system, "show", letter, "--text") == "Grüße!\N{REPLACEMENT CHARACTER}]0;title\N{REPLACEMENT CHARACTER}\n"
    )


def test_show_prints_the_html_in_utf_8_without_control_characters(system, letter):
    assert output(system, "show", letter, "--html") == "<p onclick=x()>Grüße\N{REPLACEMENT CHARACTER}[2J</p>\n"


def test_show_prints_each_header_field_on_one_line(system, letter):
    lines = output(system, "show", letter, "--headers").splitlines()
    assert lines[:4] == [
        "From: Jürgen <j@client.example>",
        "To: support@example.com",
        "Subject: Grüße",
        "X-Folded: one two",
    ]


def test_show_lists_the_parts(system, letter):
    assert output(system, "show", letter, "--parts").splitlines() == [
        "PART  TYPE                     SIZE  NAME",
        "   1  multipart/mixed           522",
        "   2    multipart/alternative   206",
        "   3      text/plain             18",
        "   4      text/html              28",
        "   5    application/pdf           7  invoice.pdf",
        "   6    text/csv                  3  € [31m.csv",
    ]


def test_show_saves_the_attachments(system, letter, tmp_path):
    folder = tmp_path / "new"
    lines = output(system, "show", letter, "--save", folder).splitlines()
    assert lines == [
        f"{folder}/invoice.pdf  application/pdf  7 bytes",
        f"{folder}/€ [31m.csv  text/csv  3 bytes",
    ]
    assert (folder / "invoice.pdf").read_bytes() == b"%PDF-1\0"
    again = output(system, "show", letter, "--save", folder).splitlines()
    assert again[0].startswith(f"{folder}/invoice-2.pdf")
    assert len([*folder.iterdir()]) == 4


@pytest.mark.parametrize(("option", "what"), [("--html", "HTML"), ("--save", "attachments")])
def test_show_names_the_parts_of_a_message_that_lacks_what_is_wanted(system, tmp_path, option, what):
    message_id = system.deliver(HELLO, system.new_address())
    arguments = [option, tmp_path / "new"] if option == "--save" else [option]
    assert refused(system, "show", message_id, *arguments) == (
        f"waypost: Message {message_id} has no {what}; its parts are text/plain. "
        "Use --raw to print the whole message.\n"
    )
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("option", ["--text", "--html", "--headers", "--parts", "--raw"])
def test_show_explains_how_to_find_the_id_of_a_message(system, option):
    assert "`waypost inbox` lists the ids of messages" in refused(system, "show", "x", option)


@pytest.mark.parametrize(
    "options", [("--html", "--parts"), ("--headers", "--json"), ("--save", "x", "--text")], ids=str
)
def test_show_accepts_only_one_form(system, options):
    refused(system, "show", "x", *options, code=Exit.MISUSED)


def on_terminal(server, *arguments, until=b"") -> bytes:
    """Run a command on a terminal until it ends, or until it has printed something, and return what it printed."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "waypost", *arguments, "--data", server.data]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "160", "LINES": "24"}
    process = subprocess.Popen(command, stdout=theirs, stderr=subprocess.DEVNULL, env=environment)
    os.close(theirs)
    printed = b""
    try:
        while not until or until not in printed:
            printed += os.read(ours, 65536)
    except OSError:  # on Linux, this is the end of the output
        pass
    finally:
        process.send_signal(signal.SIGINT)
        # The rest is read, because the command must not wait for the terminal.
        while process.poll() is None:
            try:
                printed += os.read(ours, 65536)
            except OSError:
                process.wait(PATIENCE)
        os.close(ours)
    assert process.returncode == 0
    return printed


def test_show_prints_no_control_characters_on_a_terminal(system, letter):
    printed = on_terminal(system.server, "show", letter, "--raw")
    assert b"X-Folded: one\r\n two\r\n" in printed
    assert b"\x1b" not in printed
    assert b"\x07" not in printed


# Searching


def test_search_finds_mail_by_words_and_operators(system):
    alias, primary = system.linked_pair()
    word = f"w{os.urandom(4).hex()}"
    ids = [system.deliver(f"Subject: {word} {n}\r\n\r\nText {word}text.\r\n".encode(), alias) for n in range(3)]
    found = wait_until(lambda: len(lines := output(system, "search", word).splitlines()) == 6 and lines)
    assert [line[:36] for line in found[::2]] == ids[::-1]
    assert found[1] == f"    from <a@client.example>: {word} 2"
    assert output(system, "search", f"{word}text", "subject:1", f"to:{primary}").startswith(ids[1])
    *_, more = output(system, "search", word, "--limit", "2").splitlines()
    after = re.fullmatch(r"There may be more: --after (\S+)", more)[1]
    assert output(system, "search", word, "--after", after).startswith(ids[0])
    assert output(system, "search", f"{word}nothing") == "No mail matches.\n"
    assert json.loads(output(system, "search", word, "--json")) == system.json("search", q=word)


def test_search_finds_refusals(system):
    address = f"{os.urandom(4).hex()}@example.com"
    assert system.rcpt(address)[0] == 550
    found = wait_until(
        lambda: (text := output(system, "search", "is:refused", f"to:{address}")) != "No mail matches.\n" and text
    )
    assert f"for <{address}>" in found
    assert "550 5.1.1" in found


def test_a_mistake_in_a_query_is_explained(system):
    assert "is: must be" in refused(system, "search", "is:lost")


# Watching


def test_watch_prints_new_mail_and_new_statuses(late):
    alias, primary = late.new_address("help"), late.make("never.example")
    late.link(alias, primary)
    with running(late.server, "watch") as following:
        message_id = late.deliver(HELLO, alias)
        late.settle()
        lines = [following.line()]
        while "dead" not in lines[-1]:
            lines.append(following.line())
        about = f"<a@client.example> to {alias} -> {primary}: hello"
        assert lines[-1].split("  ", 2)[1:] == [message_id, f"delivered, dead  {about}"]
        assert all(line.endswith(about) for line in lines)
        assert following.interrupt() == (0, "", "")


def test_watch_shows_a_table_on_a_terminal(system):
    word = f"w{os.urandom(4).hex()}"
    system.deliver(f"Subject: [red]{word}\r\n\r\n".encode(), system.new_address())
    printed = on_terminal(system.server, "watch", until=word.encode())
    assert f"[red]{word}".encode() in printed
    assert b"Time (UTC)" in printed
    assert printed.endswith(b"\x1b[?25h")  # the cursor is shown again
