"""The bridge's server: mixes of many programs in, their stems and notes out.

One thread moves messages between the door and the engines, each of which is a process
of its own: what one program or its engine does, the others do not notice.  One engine
more than are at work is kept ready, so that the next session, or the one whose engine
has died, need not wait for a process to start.
"""

import gc
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Event

import zmq

from rtsep import realtime
from rtsep.live.hosts import ENGINE_PRIORITY
from rtsep_bridge.addresses import Address
from rtsep_bridge.front import Front
from rtsep_bridge.messages import (
    KINDS,
    AnyHeader,
    Bytes,
    Control,
    Header,
    Message,
    Mix,
    Open,
    StatusReport,
    encode,
    topic,
)
from rtsep_bridge.peers import Peer
from rtsep_bridge.sequence import Sender, Verdict
from rtsep_bridge.stream import blank_status
from rtsep_bridge.stream_process import StreamProcess

STRIKES_S = 30.0
"""A session whose third engine dies within this time ends."""
_TICK_S = 0.02
_STATUS_S = 1.0
_BURST = 16
"""Messages that are taken in a row before everybody else is looked at."""
_TRIES = 3
"""Engines that may fail to start, one after the other."""
_PAUSE_S = 1e-4
_BREATH_EVERY_S, _BREATH_S = 0.02, 0.001
_KINDS = {topic(kind): str(kind.__struct_config__.tag) for kind in KINDS}


class Server(Front):
    """Serves until it is told to stop.

    Engines are processes that import the program's main module anew: a script keeps what
    it does under ``if __name__ == "__main__":``.

    Parameters
    ----------
    address : Address
    model, transcriber, masks : str or None
        As in `rtsep.live.session.Session`.
    sessions : int
        How many mixes at once, at most.
    keyed, keys
        See `Front`.
    say : callable
        Gets lines for whoever watches.

    Raises
    ------
    RtsepError
        The address cannot be served.
    """

    def __init__(
        self,
        address: Address,
        *,
        model: str | None = None,
        transcriber: str | None = None,
        masks: str | None = None,
        sessions: int = 8,
        keyed: bool = False,
        keys: Path | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._models = model, transcriber, masks
        self._most, self._say = sessions, say
        self.granted = realtime.make_realtime(ENGINE_PRIORITY + 1)
        priority = ENGINE_PRIORITY + 2 if self.granted.granted else 0
        try:
            super().__init__(address, keyed=keyed, keys=keys, priority=priority)
        except BaseException:
            realtime.make_normal()
            raise
        realtime.lock_memory()
        gc.collect()
        gc.freeze()  # what is here now is not looked through again, which takes 0.1 s
        self._poller = zmq.Poller()
        self._poller.register(self._doors.mix, zmq.POLLIN)
        self._spare: StreamProcess | None = None
        self._ending: list[StreamProcess] = []
        self._spare_failures, self._spare_failure = 0, ""
        self._tick_at = self._status_at = 0.0
        self._idle_at = time.monotonic()

    @property
    def ready(self) -> bool:
        """Whether the next session finds an engine that is waiting for it."""
        return self._spare is not None and self._spare.state == "ready"

    @property
    def sessions(self) -> int:
        """Mixes that are open."""
        return sum(peer.opened is not None for peer in self._peers.values())

    @property
    def engine_pids(self) -> tuple[int, ...]:
        """Processes of the engines at work."""
        processes = (peer.process for peer in self._peers.values())
        return tuple(process.pid for process in processes if process is not None)

    def serve(self, stop: Event) -> None:
        """Serve until `stop` is set."""
        while not stop.is_set():
            self.step()

    def step(self) -> None:
        """Wait for a while at most, and deal with what has come."""
        before = time.monotonic()
        ready = dict(self._poller.poll(int(1000 * _TICK_S)))
        now = time.monotonic()
        if now - before > _PAUSE_S:
            self._idle_at = now
        elif now - self._idle_at > _BREATH_EVERY_S:
            # At real-time priority a flood would leave nothing of a core to others.
            time.sleep(_BREATH_S)
            self._idle_at = time.monotonic()
        if self._doors.mix in ready:
            self._take_burst()
        for peer in list(self._peers.values()):
            if peer.process is not None and peer.process.pipe.fileno() in ready:
                self._hand_on(peer, peer.process)
        if now >= self._tick_at:
            self._tick_at = now + _TICK_S
            self._look_after(now)

    # --- what comes from programs ---------------------------------------------------

    def _take(self, peer: Peer, header: AnyHeader, frames: list[bytes]) -> None:
        if isinstance(header, Open):
            self._open(peer, header, frames[0])
        elif isinstance(header, Mix):
            self._take_mix(peer, header, frames)
        elif isinstance(header, Control):
            self._take_control(peer, header, frames[0])

    def _open(self, peer: Peer, header: Open, frame: bytes) -> None:
        if peer.opened is None and self.sessions >= self._most:
            self._refuse(
                peer, f"{self._most} mixes are open here already; close one, or ask for more"
            )
            return
        others = (other for other in self._peers.values() if other is not peer)
        if any(other.opened and other.opened.session == header.session for other in others):
            self._refuse(peer, "this session is somebody else's; draw another number")
            return
        if peer.process is None and self._spare_failures >= _TRIES:
            self._spare_failures -= 1  # one more, for who asks again
            self._refuse(peer, self._spare_failure)
            return
        if peer.opened is None:
            self._say(f"a mix opens: {header.sample_rate:,} Hz, {header.preset}")
        peer.open(header, frame)
        if peer.process is not None and peer.process.state == "ready":
            peer.process.open(frame, {})
        # Else it gets an engine as soon as one is ready.
        self._look_after(time.monotonic())

    def _is_open(self, peer: Peer, header: Header) -> bool:
        if peer.opened is not None and peer.opened.session == header.session:
            return True
        if peer.may_refuse():
            self._refuse(peer, "this mix was not opened here; open it first")
        return False

    def _take_mix(self, peer: Peer, header: Mix, frames: list[bytes]) -> None:
        if self._is_open(peer, header) and peer.mix.judge(header.sequence) == Verdict.NEW:
            peer.offer(header, frames)

    def _take_control(self, peer: Peer, header: Control, frame: bytes) -> None:
        if not self._is_open(peer, header) or peer.control.judge(header.sequence) != Verdict.NEW:
            return
        if peer.process is None:
            self._refuse(peer, "no engine is there to be told; tell it again when stems come")
        else:
            peer.process.control(frame)

    # --- what goes to programs ------------------------------------------------------

    def _hand_on(self, peer: Peer, process: StreamProcess) -> None:
        """Give a program, and all that listen, what its engine has made."""
        for _ in range(_BURST):
            frames = process.receive()
            if frames is None:
                break
            if frames:
                self._note(peer, frames[0])
                self._doors.publish(frames)
                try:
                    peer.answer(self._doors, frames)
                except LookupError:
                    self._forget(peer.identity)
                    return
        peer.feed()

    @staticmethod
    def _note(peer: Peer, header: bytes) -> None:
        """Keep what another engine would have to know to go on with a session."""
        kind = _KINDS.get(bytes(header[: 3 + (header[1] & 0x1F)]), "")
        peer.counts[kind] = peer.counts.get(kind, 0) + 1
        if kind == "control":
            peer.remember(header)

    # --- what has to be looked after ------------------------------------------------

    def _look_after(self, now: float) -> None:
        for peer in list(self._peers.values()):
            with suppress(LookupError):
                self._look_after_peer(peer)
                continue
            self._forget(peer.identity)
        self._look_after_spare()
        self._ending = [process for process in self._ending if not process.gone()]
        if now >= self._status_at:
            self._status_at = now + _STATUS_S
            self._tell_status()

    def _look_after_peer(self, peer: Peer) -> None:
        peer.try_again(self._doors)
        process = peer.process
        if process is not None:
            process.poll()
            if process.state == "ended":
                self._bury(peer, process)
        if peer.opened is not None and peer.process is None and self._spare is not None:
            self._spare.poll()
            if self._spare.state == "ready":
                peer.process, self._spare = self._spare, None
                self._poller.register(peer.process.pipe, zmq.POLLIN)
                peer.process.open(peer.opened_frame, peer.counts)
                for control in peer.controls.values():
                    peer.process.control(control)
                peer.feed()

    def _bury(self, peer: Peer, process: StreamProcess) -> None:
        """An engine has ended by itself: the session waits for another, or ends."""
        now = time.monotonic()
        self._release(peer)
        peer.restarts += 1
        peer.message = process.failure
        peer.deaths.append(now)
        peer.forget_mix()
        if len(peer.deaths) == peer.deaths.maxlen and now - peer.deaths[0] < STRIKES_S:
            self._say(f"{process.failure.rstrip('.')}; too often, its mix goes without stems")
            peer.opened = None
            self._refuse(peer, f"{process.failure.rstrip('.')}; too often, open again")
        else:
            self._say(f"{process.failure.rstrip('.')}; another takes its place")

    def _release(self, peer: Peer) -> None:
        process, peer.process = peer.process, None
        if process is not None:
            self._poller.unregister(process.pipe)
            process.close()
            self._ending.append(process)

    def _look_after_spare(self) -> None:
        """Keep one engine ready, as long as there may be another session."""
        spare = self._spare
        if spare is not None:
            spare.poll()
            if spare.state == "ended":
                self._spare_failures += 1
                self._spare_failure = spare.failure
                self._say(spare.failure)
                spare.close()
                self._ending.append(spare)
                self._spare = spare = None
            elif spare.state == "ready":
                self._spare_failures = 0
        wanted = min(self._most, self.sessions + 1) > len(self.engine_pids)
        if spare is None and wanted and self._spare_failures < _TRIES:
            self._spare = StreamProcess(*self._models, ENGINE_PRIORITY)

    def _tell_status(self) -> None:
        for peer in list(self._peers.values()):
            if peer.opened is None:
                continue
            numbers = {
                "misses": peer.late + peer.mix.lost,
                "restarts": peer.restarts,
            }
            if peer.process is not None:
                peer.process.ask_status(**numbers, message=peer.message)
                continue
            sender = Sender(peer.opened.sample_rate, peer.opened.session)
            sender.counts = peer.counts
            status = blank_status(peer.opened, **numbers, message=peer.message)
            sent = StatusReport(**sender.numbers(StatusReport, peer.opened.sample), status=status)
            frames: Sequence[Bytes] = encode(Message(sent))
            self._doors.publish(frames)
            try:
                peer.answer(self._doors, frames)
            except LookupError:
                self._forget(peer.identity)

    def _forget(self, identity: bytes) -> None:
        peer = self._peers.get(identity)
        super()._forget(identity)
        if peer is not None:
            self._release(peer)
            if peer.opened is not None:
                dropped = peer.late + peer.mix.lost
                self._say(f"a mix has ended; {dropped:,} of its blocks never reached an engine")

    def close(self) -> None:
        """End the engines and let the address go."""
        for identity in list(self._peers):
            self._forget(identity)
        if self._spare is not None:
            self._spare.close()
            self._ending.append(self._spare)
        for process in self._ending:
            process.gone(5.0)
        self._doors.close()
        realtime.unlock_memory()
        realtime.make_normal()
