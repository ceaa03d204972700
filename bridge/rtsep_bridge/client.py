"""For scripts: have a bridge take a mix apart.

::

    with Client() as client:
        opened = client.open("live", sample_rate=48_000)
        client.send(block)
        message = client.receive(timeout_s=1.0)

`AsyncClient` has the same to be awaited.  ``docs/bridge.md`` takes a whole file apart.
"""

import time
from collections import deque
from pathlib import Path
from typing import TypeVar

import zmq

from rtsep import __version__
from rtsep.errors import RtsepError
from rtsep_bridge.addresses import DEFAULT, Address
from rtsep_bridge.messages import (
    MIX_CHANNELS,
    VERSION,
    AnyHeader,
    Control,
    Hello,
    Message,
    Mix,
    Open,
    Opened,
    Refusal,
    Samples,
    Stems,
)
from rtsep_bridge.reception import Reception
from rtsep_bridge.sequence import Sender
from rtsep_bridge.wire import End, Steps, Wire, no_answer

WINDOW = 65_536
"""Samples that may be on their way with `offline`, see ``docs/protocol.md``."""
ANSWER_S, OPEN_S = 5.0, 30.0

Answer = TypeVar("Answer", Hello, Opened)


class _Mixing(End):
    """What `Client` and `AsyncClient` do, as steps that each waits through in its way."""

    def __init__(self, address: str | Address = DEFAULT, *, folder: Path | None = None) -> None:
        # Room for all that may be on its way, in the shortest blocks that make sense.
        room = WINDOW // 16
        self._wire = Wire(
            address, zmq.DEALER, Reception(0, room, direct=True), queue=room, folder=folder
        )
        self._numbers = Sender(48_000)
        self._kept: deque[Message] = deque()
        self._sample = self._stop = 0
        self._unsent = 0

    @property
    def session(self) -> int:
        """That of the mix, once it is open."""
        return self._numbers.session

    @property
    def sample(self) -> int:
        """Index of the sample of the mix that is sent next, from 0."""
        return self._sample

    @property
    def room(self) -> int:
        """How many samples `send` takes with `offline` before stems must be received."""
        return WINDOW - (self._sample - self._stop)

    @property
    def unsent(self) -> int:
        """Blocks that could not be sent because the bridge takes none; a gap in the mix."""
        return self._unsent

    def send(
        self,
        block: Samples,
        position: int | None = None,
        *,
        playing: bool = True,
        offline: bool = False,
    ) -> bool:
        """Send a block of the mix; this never waits.

        Parameters
        ----------
        block : float32 [2, n]
            Finite numbers, n from 1 to 8,192 and a multiple of the step.
        position : int, optional
            The play head at its first sample; as `sample` where not given.
        playing, offline : bool
            See `rtsep_bridge.messages.Mix`.

        Returns
        -------
        bool
            False where the bridge takes none just now: the block is lost.

        Raises
        ------
        RtsepError
            With `offline`, more than `room` samples.
        ValueError
            A block that is none.
        """
        if block.ndim != 2 or block.shape[0] != MIX_CHANNELS:
            raise ValueError(f"a block of shape {block.shape}; expected ({MIX_CHANNELS}, n)")
        n = block.shape[1]
        if offline and n > self.room:
            raise RtsepError(
                f"{n} samples more than {WINDOW - self.room} on their way",
                f"{WINDOW} at most",
                "receive stems first",
            )
        header = Mix(
            **self._numbers.numbers(Mix, self._sample),
            frames=n,
            position=self._sample if position is None else position,
            playing=playing,
            offline=offline,
        )
        sent = self._wire.send(Message(header, block))
        self._sample += n
        self._unsent += not sent
        return sent

    def control(
        self,
        *,
        preset: str | None = None,
        stem: str | None = None,
        gain_db: float | None = None,
        mute: bool | None = None,
    ) -> None:
        """Turn something; what holds from then on comes as a message."""
        header = Control(
            **self._numbers.numbers(Control, self._sample),
            preset=preset,
            stem=stem,
            gain_db=gain_db,
            mute=mute,
        )
        self._wire.send(Message(header))

    def _hello(self, timeout_s: float) -> Steps[Hello]:
        header = Hello(**self._numbers.numbers(Hello, 0), versions=(VERSION,), program=_program())
        answer = yield from self._ask(header, Hello, timeout_s)
        _check_versions(answer, self.address)
        return answer

    def _open(self, preset: str, sample_rate: int, step: int, timeout_s: float) -> Steps[Opened]:
        # Also after a hello of before: this may be another bridge by now.
        yield from self._hello(min(timeout_s, ANSWER_S))
        self._numbers = Sender(sample_rate)
        self._sample = self._stop = 0
        self._kept.clear()
        self._wire.reception.follow(self._numbers.session)
        header = Open(**self._numbers.numbers(Open, 0), preset=preset, step=step)
        return (yield from self._ask(header, Opened, timeout_s))

    def _ask(self, header: AnyHeader, kind: type[Answer], timeout_s: float) -> Steps[Answer]:
        """Send, and wait for an answer of a kind; what else comes is kept."""
        self._wire.send(Message(header))
        until = time.monotonic() + timeout_s
        while True:
            message = yield from self._wire.receive(until - time.monotonic())
            if message is None:
                raise no_answer(self.address, timeout_s)
            found = message.header
            if isinstance(found, Refusal):
                raise _refused(found, self.address)
            if isinstance(found, kind) and (kind is Hello or found.session == header.session):
                return found
            self._kept.append(message)

    def _receive(self, timeout_s: float | None) -> Steps[Message | None]:
        if self._kept:
            message: Message | None = self._kept.popleft()
        else:
            message = yield from self._wire.receive(timeout_s)
        if message is None:
            return None
        header = message.header
        if isinstance(header, Refusal):
            raise _refused(header, self.address)
        if isinstance(header, Stems):
            self._stop = header.sample + header.frames
        return message


class Client(_Mixing):
    """Has a bridge take a mix apart: `open`, then `send` and `receive`.

    Parameters
    ----------
    address : str or Address
    folder : Path, optional
        Of the keys; the user's own where it is not given.

    Raises
    ------
    RtsepError
        An address that is none, or that needs a key.
    """

    def hello(self, timeout_s: float = ANSWER_S) -> Hello:
        """Ask who is there.

        Raises
        ------
        RtsepError
            Nobody, or nobody who speaks this version or lets this machine in.
        """
        return self._wire.run(self._hello(timeout_s))

    def open(
        self, preset: str, sample_rate: int, step: int = 1, timeout_s: float = OPEN_S
    ) -> Opened:
        """Say hello and announce a mix, which starts at sample 0.

        Parameters
        ----------
        preset : str
            A position of the latency dial.
        sample_rate : int
            In Hz.
        step : int
            Every block will be a multiple of it.
        timeout_s : float
            An engine may have to be started first.

        Raises
        ------
        RtsepError
            Nobody answers, or the bridge cannot serve it.
        """
        return self._wire.run(self._open(preset, sample_rate, step, timeout_s))

    def receive(self, timeout_s: float | None = None) -> Message | None:
        """The next message; None where none comes in time.

        Raises
        ------
        RtsepError
            The bridge refuses what was sent, as one that was started anew does: `open`
            again.
        """
        return self._wire.run(self._receive(timeout_s))


class AsyncClient(_Mixing):
    """`Client`, while other tasks go on."""

    async def hello(self, timeout_s: float = ANSWER_S) -> Hello:
        """See `Client.hello`."""
        return await self._wire.arun(self._hello(timeout_s))

    async def open(
        self, preset: str, sample_rate: int, step: int = 1, timeout_s: float = OPEN_S
    ) -> Opened:
        """See `Client.open`."""
        return await self._wire.arun(self._open(preset, sample_rate, step, timeout_s))

    async def receive(self, timeout_s: float | None = None) -> Message | None:
        """See `Client.receive`."""
        return await self._wire.arun(self._receive(timeout_s))


def _program() -> str:
    return f"rtsep {__version__} in Python"


def _check_versions(found: Hello | Refusal, address: Address) -> None:
    if VERSION not in found.versions:
        spoken = ", ".join(map(str, found.versions))
        raise RtsepError(
            f"the bridge at {address.mix} speaks version {spoken} of the protocol",
            f"version {VERSION}",
            "bring both rtseps to the same version",
        )


def _refused(refusal: Refusal, address: Address) -> RtsepError:
    _check_versions(refusal, address)
    return RtsepError(f"the bridge at {address.mix} refuses: {refusal.reason}")
