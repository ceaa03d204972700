"""Which of the messages that arrive are to be used, and what became of the others.

No sockets here: frames in, messages out.
"""

from collections import OrderedDict, deque
from collections.abc import Sequence as Frames
from dataclasses import dataclass

from rtsep_bridge.messages import Bytes, Counters, Header, Message, Notes, Opened, Stems
from rtsep_bridge.sequence import Sequence, Verdict

MOST_SESSIONS = 16
SILENT_S = 3.0
"""A session that says nothing for so long has gone, see ``docs/protocol.md``."""


@dataclass
class Counts:
    """What did not come to be used.

    Attributes
    ----------
    lost : int
        Messages that were sent and never came, as their numbers show.
    repeated : int
        That came twice, late, or out of nowhere.
    dropped : int
        The oldest of those that waited for a reader that was too slow.
    malformed : int
        What is no message of this version.
    foreign : int
        Good messages of sessions that are not followed.
    """

    lost: int = 0
    repeated: int = 0
    dropped: int = 0
    malformed: int = 0
    foreign: int = 0


class SequenceBook:
    """The sequences of a bounded number of sessions, each kind by itself.

    Where there is one too many, the one that was silent for longest is forgotten; what
    it lost stays counted.
    """

    def __init__(self) -> None:
        self._sessions: OrderedDict[int, dict[type[Header], Sequence]] = OrderedDict()
        self._lost = 0
        self.repeated = 0

    @property
    def lost(self) -> int:
        """Messages that never came, over all sessions."""
        return self._lost + sum(map(_lost, self._sessions.values()))

    def is_new(self, header: Header) -> bool:
        """Count a message, and say whether it is to be used."""
        session = self._sessions.setdefault(header.session, {})
        self._sessions.move_to_end(header.session)
        if len(self._sessions) > MOST_SESSIONS:
            self._lost += _lost(self._sessions.popitem(last=False)[1])
        verdict = session.setdefault(type(header), Sequence()).judge(header.sequence)
        self.repeated += verdict is not Verdict.NEW
        return verdict is Verdict.NEW


def _lost(session: dict[type[Header], Sequence]) -> int:
    return sum(sequence.lost for sequence in session.values())


class Reception:
    """Takes frames in, and keeps the messages that are new until somebody asks.

    Parameters
    ----------
    session : int, optional
        The one to follow.  Where none is given, it is the first whose stems or notes
        come, and the next one once that has been silent for `SILENT_S`.
    limit : int
        Messages that wait for a reader; the oldest give way.
    direct : bool
        What comes is for this program alone; only what belongs to a mix must be of the
        session that `follow` names.

    Attributes
    ----------
    followed : int or None
        The session whose messages are taken.
    """

    def __init__(
        self, session: int | None = None, limit: int = 1024, *, direct: bool = False
    ) -> None:
        self._given, self.followed = session, session
        self._direct = direct
        self._waiting: deque[Message] = deque()
        self._limit = limit
        self._heard_at = -SILENT_S
        self._book, self._counters = SequenceBook(), Counters()
        self._dropped = self._foreign = 0

    def follow(self, session: int) -> None:
        """Take this session's messages from now on, and no other's."""
        self._given = self.followed = session

    def take(self, frames: Frames[Bytes], now_s: float) -> None:
        """Judge what came from a socket."""
        message = self._counters.take(frames)
        if message is None or not self._book.is_new(message.header):
            return
        if not self._follows(message.header, now_s):
            self._foreign += 1
            return
        if len(self._waiting) >= self._limit:
            self._waiting.popleft()
            self._dropped += 1
        self._waiting.append(message)

    def _follows(self, header: Header, now_s: float) -> bool:
        sounds = isinstance(header, Stems | Notes)
        if header.session == self.followed:
            if sounds:
                self._heard_at = now_s
            return True
        if self._direct:
            return not sounds
        if self._given is not None:
            return False
        if not sounds:
            # Before anything sounds, whatever there is to know is welcome.
            return self.followed is None or isinstance(header, Opened)
        if now_s - self._heard_at < SILENT_S:
            return False
        self.followed, self._heard_at = header.session, now_s
        return True

    def next(self) -> Message | None:
        """The oldest that waits."""
        return self._waiting.popleft() if self._waiting else None

    @property
    def counts(self) -> Counts:
        """What was not used so far."""
        bad = self._counters.unknown_version + sum(self._counters.malformed.values())
        book = self._book
        return Counts(book.lost, book.repeated, self._dropped, bad, self._foreign)
