"""The numbers of a stream's messages: given by a sender, watched by a reader."""

import secrets
from enum import StrEnum
from typing import TypedDict

from rtsep_bridge.messages import Header

WINDOW = 64


class Numbers(TypedDict):
    """What of a header is not its kind's own."""

    session: int
    sequence: int
    sample: int
    sample_rate: int


class Sender:
    """Numbers what one sender says in one session, each kind by itself.

    Parameters
    ----------
    sample_rate : int
        In Hz.
    session : int, optional
        Drawn at random where it is not given.

    Attributes
    ----------
    counts : dict of str to int
        The next number of every kind that was sent; who goes on with a session of
        another's takes these over.
    """

    def __init__(self, sample_rate: int, session: int | None = None) -> None:
        self.sample_rate = sample_rate
        self.session = 1 + secrets.randbelow(2**63 - 1) if session is None else session
        self.counts: dict[str, int] = {}

    def numbers(self, kind: type[Header], sample: int) -> Numbers:
        """The first fields of the next message of a kind."""
        tag = str(kind.__struct_config__.tag)
        sequence = self.counts.get(tag, 0)
        self.counts[tag] = sequence + 1
        return {
            "session": self.session,
            "sequence": sequence,
            "sample": sample,
            "sample_rate": self.sample_rate,
        }


class Verdict(StrEnum):
    """What a sequence number says of a message; all but `NEW` are to be dropped.

    One that is late is dropped too: its place in the audio is taken, and a control
    would undo a newer one.
    """

    NEW = "new"
    LATE = "reordered: the first of its number, but behind a newer one"
    DUPLICATE = "came before"
    REPLAYED = "from before the window, or from before the first that came"
    STRAY = "too far ahead, unless the next one follows it"


class Sequence:
    """Watches the numbers of one stream: one kind in one session of one sender.

    ZeroMQ keeps the order of a connection, so gaps are what queues dropped, and the
    rest is what a network or a stranger did.  It remembers the last `WINDOW` numbers.
    A number further ahead is taken only with its successor after it, as RFC 3550
    (A.1) has it: one message with a damaged number makes `WINDOW` others old at most.
    The first that comes is taken as it is, since nobody need be there from the start.

    Attributes
    ----------
    accepted : int
    lost : int
        Numbers between the first and the newest that never came, strays among them.
    reordered, duplicated, replayed, strayed : int
        How many had the verdicts `LATE`, `DUPLICATE`, `REPLAYED` and `STRAY`.
    """

    def __init__(self) -> None:
        self.accepted = self.lost = 0
        self.reordered = self.duplicated = self.replayed = self.strayed = 0
        self._first = self._newest = self._expected = -1
        self._seen = 0

    def judge(self, number: int) -> Verdict:
        """Count the next message, and say whether it is new."""
        expected, self._expected = self._expected, -1
        if self._newest < 0:
            self._first, self._newest = number, number - 1
        ahead = number - self._newest
        if ahead > WINDOW and number != expected:
            self._expected = number + 1
            self.strayed += 1
            return Verdict.STRAY
        if ahead > 0:
            self._seen = (self._seen << min(ahead, WINDOW) | 1) & (1 << WINDOW) - 1
            self._newest = number
            self.accepted += 1
            self.lost += ahead - 1
            return Verdict.NEW
        if -ahead >= WINDOW or number < self._first:
            self.replayed += 1
            return Verdict.REPLAYED
        if self._seen >> -ahead & 1:
            self.duplicated += 1
            return Verdict.DUPLICATE
        self._seen |= 1 << -ahead
        self.reordered += 1
        self.lost -= 1
        return Verdict.LATE
