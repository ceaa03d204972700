"""``rtsep live --bridge``: live stems, notes and states to all that listen, controls back."""

from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from rtsep.live.session import LIVE_PRESETS, Session
from rtsep.live.status import Status
from rtsep.note_events import NoteEvent
from rtsep_bridge.addresses import Address
from rtsep_bridge.front import Front
from rtsep_bridge.messages import (
    MAX_NOTES,
    AnyHeader,
    Control,
    Message,
    Mix,
    Notes,
    Open,
    StatusReport,
    Stems,
    encode,
)
from rtsep_bridge.peers import Peer
from rtsep_bridge.reception import SequenceBook
from rtsep_bridge.sequence import Sender

if TYPE_CHECKING:
    from rtsep.live.player import Live

PIECE = 1024
"""Frames of the longest block that is sent."""
STATUS_S = 1.0
_MOST_CONTROLS = 256


class LiveBridge(Front):
    """A listener that gives everything that live audio makes to the bridge's own.

    Stems leave as they leave the mixer, before they are heard, and whole also where they
    came too late to be heard.  Samples count the frames of the host's stream.

    Parameters
    ----------
    address : Address
    keys : Path, optional
        Folder of the keys; the user's own where it is not given.

    Raises
    ------
    RtsepError
        The address cannot be served.
    """

    def __init__(self, address: Address, *, keys: Path | None = None) -> None:
        super().__init__(address, keys=keys)
        self._live: Live | None = None
        self._sender = Sender(48_000)
        self._book = SequenceBook()
        self._stems: tuple[str, ...] = ()
        self._position = 0
        self._status_at = 0.0
        self._wishes: deque[tuple[bytes, Control]] = deque(maxlen=_MOST_CONTROLS)
        self._answers: deque[tuple[bytes, Control | str]] = deque(maxlen=_MOST_CONTROLS)
        self._status: deque[Status] = deque(maxlen=1)

    def start(self, live: "Live") -> None:
        """See `rtsep.live.listeners.Listener.start`."""
        self._live = live
        self._sender = Sender(live.host.sample_rate)

    def hear(self, notes: list[NoteEvent]) -> None:
        """See `rtsep.live.listeners.Listener.hear`; all that is sent is sent from here."""
        live = self._live
        if live is None:
            return
        if live.host.sample_rate != self._sender.sample_rate:
            self._sender = Sender(live.host.sample_rate)  # another rate, another clock
        while (block := live.take_stems(PIECE)) is not None:
            self._stems = block.stems
            self._position = block.sample + block.audio.shape[1]
            header = Stems(
                **self._sender.numbers(Stems, block.sample),
                frames=block.audio.shape[1],
                latency=max(0, block.latency),
                stems=block.stems,
            )
            # Effects may give what is no number; listeners are not to hear it.
            np.nan_to_num(block.audio, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
            self._doors.publish(encode(Message(header, block.audio), own=True))
        for at in range(0, len(notes), MAX_NOTES):
            numbers = self._sender.numbers(Notes, self._position)
            self._publish(Message(Notes(**numbers, notes=tuple(notes[at : at + MAX_NOTES]))))
        while self._status:
            numbers = self._sender.numbers(StatusReport, self._position)
            report = Message(StatusReport(**numbers, status=self._status.popleft()))
            self._publish(report)
        while self._answers:
            self._answer_control(*self._answers.popleft())
        self._take_burst()
        for peer in list(self._peers.values()):
            try:
                peer.try_again(self._doors)
            except LookupError:
                self._forget(peer.identity)

    def _publish(self, message: Message) -> None:
        self._doors.publish(encode(message))

    # --- what programs say ----------------------------------------------------------

    def _take(self, peer: Peer, header: AnyHeader, frames: list[bytes]) -> None:
        if isinstance(header, Open | Mix):
            if peer.may_refuse():
                self._refuse(
                    peer, "rtsep live plays its own mix; 'rtsep bridge serve' takes those of others"
                )
        elif isinstance(header, Control) and self._book.is_new(header):
            self._wishes.append((peer.identity, header))

    def _answer_control(self, identity: bytes, answer: Control | str) -> None:
        """Tell all what holds now, or the one who asked why it cannot be."""
        peer = self._peers.get(identity)
        if isinstance(answer, str):
            if peer is not None:
                self._refuse(peer, answer)
            return
        numbers = self._sender.numbers(Control, self._position)
        frames = encode(Message(msgspec.structs.replace(answer, **numbers)))
        self._doors.publish(frames)
        if peer is not None:
            peer.answer(self._doors, frames)

    def poll(self) -> list[str]:
        """See `rtsep.live.listeners.Listener.poll`: here is time to change the session."""
        live = self._live
        while live is not None and self._wishes:
            identity, wish = self._wishes.popleft()
            answer = self._refusal(wish)
            if not answer:
                live.change(_wished(live.session, wish))
            self._answers.append((identity, answer or wish))
        return []

    def _refusal(self, wish: Control) -> str:
        """Why a control cannot be done; empty where it can."""
        if wish.preset is not None and wish.preset not in LIVE_PRESETS:
            return f"preset {wish.preset}; expected one of {', '.join(LIVE_PRESETS)}"
        if wish.stem is not None and self._stems and wish.stem not in self._stems:
            return f"stem {wish.stem}; expected one of {', '.join(self._stems)}"
        return ""

    def show(self, status: Status) -> None:
        """See `rtsep.live.listeners.Listener.show`; goes out once a second."""
        if status.time - self._status_at >= STATUS_S or status.time < self._status_at:
            self._status_at = status.time
            self._status.append(status)

    def close(self) -> None:
        """Hang up."""
        self._live = None
        self._doors.close()


def _wished(session: Session, wish: Control) -> Session:
    """The session with what somebody turned."""
    changes: dict[str, object] = {}
    if wish.preset is not None:
        changes["preset"] = wish.preset
    if wish.stem is not None:
        strip = session.strip(wish.stem)
        strip = msgspec.structs.replace(
            strip,
            gain_db=strip.gain_db if wish.gain_db is None else wish.gain_db,
            mute=strip.mute if wish.mute is None else wish.mute,
        )
        changes["stems"] = session.stems | {wish.stem: strip}
    return msgspec.structs.replace(session, **changes)
