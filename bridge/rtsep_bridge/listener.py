"""For scripts: hear the stems, the notes and the states of a bridge.

::

    with Listener() as listener:
        for header, samples in listener: ...

    async with Listener() as listener:
        async for header, samples in listener: ...

What comes is a `rtsep_bridge.messages.Message`: a header and, with stems, the samples.
"""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import zmq

from rtsep_bridge.addresses import DEFAULT, Address
from rtsep_bridge.messages import (
    Control,
    Header,
    Message,
    Notes,
    Opened,
    StatusReport,
    Stems,
    topic,
)
from rtsep_bridge.reception import Reception
from rtsep_bridge.wire import End, Wire

Kinds = tuple[type[Header], ...]
HEARD: Kinds = (Stems, Notes, StatusReport, Control, Opened)
"""What a bridge says to all."""
QUEUE = 1024


class Listener(End):
    """Hears what a bridge says to all, message by message, plainly or with asyncio.

    A bridge that goes and comes back is heard again.  Who reads too slowly loses the
    oldest of what waits; no bridge and no other listener waits for it.

    Parameters
    ----------
    address : str or Address
    kinds : tuple of type
        Of messages to have; the others are not even sent.
    session : int, optional
        The one to follow; else the first whose stems or notes come, and the next one
        once it has been silent for three seconds.
    queue : int
        Messages that may wait.
    folder : Path, optional
        Of the keys; the user's own where it is not given.
    priority : int
        Real-time priority of ZeroMQ's own thread, which the system must grant; 0 for none.

    Raises
    ------
    RtsepError
        An address that is none, or that needs a key.
    """

    def __init__(
        self,
        address: str | Address = DEFAULT,
        *,
        kinds: Kinds = HEARD,
        session: int | None = None,
        queue: int = QUEUE,
        folder: Path | None = None,
        priority: int = 0,
    ) -> None:
        self._wire = Wire(
            address,
            zmq.SUB,
            Reception(session, queue),
            queue=queue,
            topics=tuple(topic(kind) for kind in kinds),
            folder=folder,
            priority=priority,
        )

    @property
    def session(self) -> int | None:
        """The session that is followed; None before there is one."""
        return self._wire.reception.followed

    def receive(self, timeout_s: float | None = None) -> Message | None:
        """The next message; None where none comes in time.

        Raises
        ------
        RtsepError
            The keys do not fit, so none will ever come.
        """
        return self._wire.run(self._wire.receive(timeout_s))

    async def areceive(self, timeout_s: float | None = None) -> Message | None:
        """`receive`, while other tasks go on."""
        return await self._wire.arun(self._wire.receive(timeout_s))

    def __iter__(self) -> Iterator[Message]:
        while True:
            message = self.receive()
            if message is not None:
                yield message

    async def __aiter__(self) -> AsyncIterator[Message]:
        while True:
            message = await self.areceive()
            if message is not None:
                yield message
