"""`waypost queue`, `waypost dead` and `waypost replay`: waiting mail, dead letters, and repeated deliveries."""

import io
import stat
import subprocess
import sys

import pytest

from tests.kit.patience import PATIENCE
from tests.kit.servers.failing_deliveries import Commands
from waypost.cli.outcomes import Exit
from waypost.host.data_directory import DataDirectory

HELLO = b"Subject: hello\r\n\r\nHello \x01.\r\n"


@pytest.fixture
def letter(late):
    """The id of a dead letter."""
    address = late.make("never.example")
    message_id = late.deliver(HELLO, address)
    late.settle()
    return f"{message_id}.{late.ids[address]}"


def test_queue_reports_an_empty_queue(late, commands):
    assert commands("queue", "--destination", "smtp://elsewhere.example:25") == "The queue is empty.\n"


def test_queue_lists_waiting_deliveries_with_destination_and_time(late, commands):
    address = late.make("late.example")
    message_id = late.deliver(HELLO, address)
    late.settle()
    lines = commands("queue", "--limit", "500").splitlines()
    assert " for smtp://127.0.0.1:1, the first due 2" in lines[0]
    start = next(number for number, line in enumerate(lines) if line.startswith(message_id))
    assert lines[start].startswith(f"{message_id}.{late.ids[address]}  next attempt 2")
    assert lines[start + 1 : start + 4] == [
        f"    for {address}, from <a@client.example>: hello",
        "    by smtp://127.0.0.1:1; attempts so far: 1",
        "    smtp://127.0.0.1:1 at end: 451 4.3.0 this is a fault that the route injects; nothing was sent",
    ]
    assert commands.json("queue") == late.json("queue")


def test_queue_prints_the_option_for_the_next_page(late, commands):
    address = late.make("late.example")
    for _ in range(2):
        late.deliver(HELLO, address)
    late.settle()  # an attempt changes the order
    first = commands.json("queue", "--limit", "1")["deliveries"][0]["id"]
    assert commands("queue", "--limit", "1").endswith(f"\nThere may be more: --after {first}\n")
    assert commands.json("queue", "--limit", "1", "--after", first)["deliveries"][0]["id"] > first


def test_a_dead_letter_is_listed_shown_and_downloaded(late, commands, letter, tmp_path):
    message_id, _, _ = letter.partition(".")
    address = late.json(f"messages/{message_id}")["deliveries"][0]["address"]
    lines = commands("dead", "list", "--address", address).splitlines()
    assert lines[0].startswith(f"{letter}  given up 2")
    assert lines[1] == f"    for {address}, from <a@client.example>: hello"
    assert lines[2].startswith("    smtp://127.0.0.1:1 at end: 554 5.0.0 ")
    assert commands.json("dead", "list", "--address", address) == late.json("dead-letters", address=address)

    printed = commands("dead", "show", letter)
    assert printed.startswith(f"Message {message_id}, ")
    assert f"given up for {address} after attempt 1: a dead letter" in printed
    assert commands.json("dead", "show", letter) == late.json(f"messages/{message_id}")

    file = tmp_path / "letter.eml"
    assert commands("dead", "download", letter, "--output", file) == ""
    assert file.read_bytes() == late.raw(message_id, address)
    assert file.read_bytes().endswith(HELLO)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert commands.refused("dead", "download", letter, "--output", file) == f"{file} cannot be written: File exists."
    command = [sys.executable, "-m", "waypost", "dead", "download", letter, "--data", late.server.data]
    assert subprocess.run(command, capture_output=True, check=True, timeout=PATIENCE).stdout == file.read_bytes()


def test_dead_show_hides_the_other_recipients_of_a_message(late, commands):
    dead, other = late.make("never.example"), late.new_address()
    message_id = late.deliver(HELLO, dead, other)
    late.settle()
    printed = commands("dead", "show", f"{message_id}.{late.ids[dead]}")
    assert dead in printed
    assert other not in printed
    message = commands.refused("dead", "show", f"{message_id}.{late.ids[other]}")
    assert message.startswith(f"{message_id}.{late.ids[other]} is not a dead letter.")


def test_each_dead_letter_of_a_message_has_its_own_reason(late):
    never, both = late.make("never.example"), late.make("both.example")
    late.deliver(HELLO, never, both)
    late.settle()
    for address, peer in ((never, "smtp://127.0.0.1:1"), (both, "lmtp://127.0.0.1:1")):
        (letter,) = late.json("dead-letters", address=address)["dead_letters"]
        assert letter["because"].startswith(f"{peer} at end: 554")


def test_dead_list_reports_that_there_are_no_dead_letters(late, commands):
    assert commands("dead", "list", "--address", late.new_address()) == "There are no dead letters.\n"


def test_dead_list_accepts_a_time_or_a_duration_for_since(late, commands):
    address = late.make("never.example")
    old = late.deliver(HELLO, address)
    late.advance("3h")
    between = late.json("clock")["now"]
    new = late.deliver(HELLO, address)
    late.settle()

    def since(when):
        found = commands.json("dead", "list", "--address", address, "--since", when)["dead_letters"]
        return [letter["message"] for letter in found]

    assert since(between) == since("2h") == since("2h ago") == since("120 m") == [new]
    assert since("4h") == since("2020-01-01T00:00:00+02:00") == [old, new]


def test_one_dead_letter_is_redriven(late, commands, letter):
    assert commands("dead", "redrive", letter) == "Dead letters redriven: 1.\n"
    late.settle()
    message_id, _, _ = letter.partition(".")
    (delivery,) = late.json(f"messages/{message_id}")["deliveries"]
    assert late.events(message_id, delivery["address"]).count("dead") == 2
    assert "tried again for " in commands("trace", message_id)


@pytest.mark.parametrize("which", [("--address",), ("--all", "--address")])
def test_all_dead_letters_of_an_address_are_redriven(late, commands, which):
    address, other = late.make("never.example"), late.make("never.example")
    ids = [late.deliver(HELLO, address) for _ in range(3)]
    other_id = late.deliver(HELLO, other)
    late.settle()
    assert commands.json("dead", "redrive", *which, address) == {"redriven": 3}
    late.settle()
    for message_id in ids:
        assert late.events(message_id, address).count("redriven") == 1
    assert late.events(other_id, other).count("redriven") == 0


def test_hundreds_of_dead_letters_are_redriven_in_steps(late, commands):
    addresses = [late.make("never.example") for _ in range(6)]
    for _ in range(35):
        late.deliver(HELLO, *addresses)
    late.settle()
    found = commands.json("dead", "redrive", "--all", "--since", "30m")
    assert found["redriven"] >= 210
    late.settle()
    assert commands.json("dead", "redrive", "--address", addresses[0]) == {"redriven": 35}


def test_one_dead_letter_is_removed_with_its_message(late, commands, letter):
    message_id = letter.partition(".")[0]
    assert commands("dead", "remove", letter, "--yes") == "Dead letters removed: 1.\n"
    assert late.get(f"messages/{message_id}").status == 404
    assert commands.refused("dead", "remove", letter, "--yes").startswith(
        f"There is no dead letter {letter} in account"
    )


def test_the_other_deliveries_of_a_message_remain(late, commands):
    dead, other = late.make("never.example"), late.new_address()
    message_id = late.deliver(HELLO, dead, other)
    late.settle()
    assert commands.json("dead", "remove", "--address", dead, "--yes") == {"removed": 1}
    found = late.json(f"messages/{message_id}")
    assert [delivery["address"] for delivery in found["deliveries"]] == [other]
    (deleted,) = [event for event in found["trace"] if event["event"] == "deleted"]
    assert deleted["because"] == "The dead letter was removed on request."


def test_dead_letters_are_listed_and_removed_by_their_age(late, commands):
    address = late.make("never.example")
    late.deliver(HELLO, address)
    late.settle()
    late.advance("2d")
    late.deliver(HELLO, address)
    late.settle()
    old, new = late.dead_ids(address)
    listed = commands.json("dead", "list", "--address", address, "--older-than", "1d")["dead_letters"]
    assert [letter["id"] for letter in listed] == [old]
    assert commands.json("dead", "remove", "--address", address, "--older-than", "1d", "--yes") == {"removed": 1}
    assert late.dead_ids(address) == [new]
    assert commands.refused("dead", "list", "--older-than", "soon").startswith("--older-than must be a duration")


def test_dead_letters_are_listed_and_removed_by_their_destination(late, commands):
    address = late.make("never.example")
    for _ in range(3):
        late.deliver(HELLO, address)
    late.settle()
    (destination,) = {letter["destination"] for letter in late.json("dead-letters", address=address)["dead_letters"]}
    of = ["--address", address, "--destination"]
    assert commands("dead", "list", *of, "smtp://other.example:25") == "There are no dead letters.\n"
    assert commands.json("dead", "remove", *of, "smtp://other.example:25", "--yes") == {"removed": 0}
    assert len(commands.json("dead", "list", *of, destination)["dead_letters"]) == 3
    assert commands.json("dead", "remove", *of, destination, "--yes") == {"removed": 3}
    assert late.dead_ids(address) == []


def test_without_a_terminal_dead_letters_are_removed_only_with_yes(late, commands, letter):
    assert commands.refused("dead", "remove", letter) == (
        "This command would remove 1 dead letter. It cannot ask for a confirmation, because its input is no terminal. "
        "Add --yes."
    )
    assert late.get(f"messages/{letter.partition('.')[0]}").status == 200


def test_a_person_confirms_a_removal(late, commands, letter, monkeypatch):
    for answer, printed, status in (("n\n", (1, ""), 200), ("y\n", (0, "Dead letters removed: 1.\n"), 404)):
        typed = io.StringIO(answer)
        typed.isatty = lambda: True
        monkeypatch.setattr("sys.stdin", typed)
        *found, errors = commands.run("dead", "remove", letter)
        assert errors.startswith("Remove 1 dead letter for good? [y/N]: ")
        assert tuple(found) == printed
        assert late.get(f"messages/{letter.partition('.')[0]}").status == status


def test_hundreds_of_dead_letters_are_removed_in_steps(late, commands):
    address = late.make("never.example")
    for _ in range(105):
        late.deliver(HELLO, address)
    late.settle()
    assert late.done("dead-letters/remove", {"all": True, "address": address, "dry_run": True}) == {"removed": 105}
    assert commands.json("dead", "remove", "--address", address, "--yes") == {"removed": 105}
    assert late.dead_ids(address) == []


@pytest.mark.parametrize("command", ["redrive", "remove"])
def test_too_many_ids_and_an_empty_id_are_refused_with_a_sentence(commands, command):
    said = commands.refused("dead", command, *map(str, range(1_001)))
    assert said.startswith("Give at most 100 ids at once, not 1,001: for example with `xargs -n 100`.")
    assert commands.refused("dead", command, "") == "One of the ids is empty."


def test_a_redriven_dead_letter_uses_the_current_route(late, commands):
    address = late.make("repaired.example")
    output = commands("routes", "add", "*@repaired.example", "smtp://127.0.0.1:1", "--fault", "permfail", "--unchecked")
    message_id = late.deliver(HELLO, address)
    late.settle()
    number = output.split()[2].removesuffix(":")
    commands("routes", "remove", number)
    commands("dead", "redrive", f"{message_id}.{late.ids[address]}")
    late.settle()
    assert late.ids_at(address) == [message_id]


def test_replay_forwards_the_mail_that_an_alias_has_kept(late, commands):
    alias, primary = late.new_address("help"), late.new_address()
    early = late.deliver(HELLO, alias)
    late.advance("3h")
    kept = [late.deliver(HELLO, alias) for _ in range(2)]
    late.link(alias, primary)
    assert late.inbox(primary) == []
    assert commands("replay", alias, "--since", "2h ago") == "Messages forwarded again: 2.\n"
    assert late.ids_at(primary) == kept[::-1]
    assert commands.json("replay", alias, "--since", "2020-01-01T00:00:00Z") == {"forwarded": 1}
    assert late.ids_at(primary)[-1] == early
    assert [one["via"] for one in late.inbox(primary)] == [alias] * 3


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("dead", "redrive"), "Name the dead letters to redrive: "),
        (("dead", "redrive", "x.y", "--all"), "Name the dead letters to redrive: "),
        (("dead", "redrive", "x.y", "--since", "2h"), "Name the dead letters to redrive: "),
        (("dead", "redrive", "x.y"), "There is no dead letter x.y in account"),
        (("dead", "redrive", "--address", "nobody"), "'nobody' is not an email address"),
        (("dead", "remove", "--yes"), "Name the dead letters to remove: "),
        (("dead", "remove", "x.y", "--all", "--yes"), "Name the dead letters to remove: "),
        (("dead", "remove", "x.y", "--yes"), "There is no dead letter x.y in account"),
        (("dead", "show", "x.y"), "x.y is not a dead letter. `waypost dead list` lists the dead letters."),
        (("dead", "show", "x"), "x is not a dead letter. `waypost dead list` lists the dead letters."),
        (("dead", "download", "x.y"), "x.y is not a dead letter. `waypost dead list` lists the dead letters."),
        (
            ("dead", "list", "--since", "yesterday"),
            "--since must be a duration, such as 2h (ago), or a",
        ),
        (("dead", "list", "--since", "999999999d"), "999999999d is too long ago."),
        (("replay", "unknown@example.com", "--since", "2h"), "There is no email address unknown@example.com in"),
        (("replay", "unknown@example.com", "--since", "2026-11-22"), "--since must be a duration, such as 2h (ago)"),
        (("queue", "--limit", "0"), "`limit` must be a number from 1 to 500."),
        (("queue", "--after", "x"), "`after` must be the id of a message or delivery from a list, not 'x'."),
        (("dead", "list", "--after", "x"), "`after` must be the id of a message or delivery"),
        (("inbox", "--after", "x"), "`after` must be the id of a message or delivery"),
        (("show", "x"), "No message x was delivered to account 000000000000. `waypost inbox` lists the ids"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_the_error_for_an_invalid_command_is_one_line(commands, command, message):
    assert commands.refused(*command).startswith(message)


@pytest.mark.parametrize(
    "command",
    [
        ("trace", "x@example.com"),
        ("queue",),
        ("dead", "list"),
        ("dead", "redrive", "--all"),
        ("replay", "a@example.com", "--since", "2h"),
        ("routes", "test", "a@example.com"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_the_error_for_a_command_without_a_server_shows_how_to_start_one(tmp_path, capsys, monkeypatch, command):
    DataDirectory(tmp_path).make()
    message = Commands(tmp_path, capsys, monkeypatch).refused(*command, exit_code=Exit.NO_SERVER)
    assert "waypost serve --data" in message


def test_the_error_in_the_wrong_directory_shows_the_absolute_path(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = Commands("waypost-data", capsys, monkeypatch).refused("inbox", exit_code=Exit.NO_SERVER)
    assert message.startswith(f"No running Waypost server is using {tmp_path}/waypost-data. ")
