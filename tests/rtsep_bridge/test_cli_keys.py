"""``rtsep bridge keys``: what it makes, prints and refuses."""

import re
import shlex

from tests.rtsep.cli import CommandLine


def test_it_makes_both_pairs_once_and_says_what_to_do(rtsep: CommandLine) -> None:
    first = rtsep("bridge", "keys")
    assert first.status == 0
    assert first.out.count("\n") == 3
    assert rtsep("bridge", "keys") == first
    assert rtsep.files(".keys") == {"server.key_secret", "client.key_secret"}
    # What is to be written in a shell stands there as a shell reads it.
    bridge, clients = re.findall(r"^(?:bridge|clients) +(\S+) ", first.out, re.MULTILINE)
    words = [shlex.split(line) for line in first.out.splitlines()[:2]]
    assert f"tcp://THIS-MACHINE:7610?key={bridge}" in words[0]
    assert words[1][-6:] == ["rtsep", "bridge", "keys", "--allow", "NAME", clients]


def test_who_is_let_in(rtsep: CommandLine) -> None:
    key = re.findall(r"^clients +(\S+)", rtsep("bridge", "keys").out, re.MULTILINE)[0]
    assert rtsep("bridge", "keys", "--list").out == ""
    assert rtsep("bridge", "keys", "--allow", "stage", key).status == 0
    assert rtsep("bridge", "keys", "--list").out == f"stage  {key}\n"
    dashed = "-" + key[1:]
    assert rtsep("bridge", "keys", "--allow", "stage", dashed).status == 0
    assert rtsep("bridge", "keys", "--list").out == f"stage  {dashed}\n"
    assert "not let in" in rtsep("bridge", "keys", "--forget", "stage").out
    assert rtsep("bridge", "keys", "--list").out == ""


def test_what_is_refused(rtsep: CommandLine) -> None:
    assert "40 characters" in rtsep.refuses("bridge", "keys", "--allow", "stage", "short")
    assert "nobody called" in rtsep.refuses("bridge", "keys", "--forget", "stage")
    assert "one at a time" in rtsep.refuses("bridge", "keys", "--forget", "stage", "--list")
    (rtsep.folder / ".keys").write_text("a file")
    assert "cannot be written" in rtsep.refuses("bridge", "keys")
