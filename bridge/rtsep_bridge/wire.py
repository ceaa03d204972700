"""One end of a connection to a bridge: a socket, what it has received, and its troubles.

What is to be done is written once, as generators that yield whenever they have nothing
to do but wait; `Wire.run` waits as plain code does, `Wire.arun` as asyncio does.
"""

import time
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import zmq
import zmq.asyncio
from zmq.utils.monitor import parse_monitor_message

from rtsep.errors import RtsepError
from rtsep_bridge.addresses import KEY_MARK, Address, parse_address
from rtsep_bridge.doors import make_context
from rtsep_bridge.keys import load_keys, secure_client
from rtsep_bridge.messages import Message, encode
from rtsep_bridge.reception import Counts, Reception

Result = TypeVar("Result")
Steps = Generator[float, None, Result]
"""Yields for how many seconds to wait at most, unless something arrives."""

HEARTBEAT_MS = 1_000
_RETRY_MS, _RETRY_MOST_MS = 50, 1_000
_MOST_FAILURES = 4
_AT_ONCE = 256
"""Messages that are taken in a row before somebody gets to see one."""
_EVENTS = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_DISCONNECTED
)


class Wire:
    """A SUB or DEALER socket that is connected to a bridge.

    ZeroMQ connects again by itself whenever the other side has gone.

    Parameters
    ----------
    address : str or Address
    kind : {zmq.SUB, zmq.DEALER}
    reception : Reception
    queue : int
        Messages that ZeroMQ keeps each way.
    topics : sequence of bytes
        What a SUB subscribes to.
    folder : Path, optional
        Of the keys; the user's own where it is not given.
    priority : int
        Real-time priority of ZeroMQ's own thread, which the system must grant; 0 for none.

    Attributes
    ----------
    address : Address
    connected : bool
        Whether the other side is there and lets this one in.

    Raises
    ------
    RtsepError
        An address that is none, or that needs a key.
    """

    def __init__(
        self,
        address: str | Address,
        kind: int,
        reception: Reception,
        *,
        queue: int,
        topics: tuple[bytes, ...] = (),
        folder: Path | None = None,
        priority: int = 0,
    ) -> None:
        self.address = parse_address(address) if isinstance(address, str) else address
        self.reception = reception
        self.connected = False
        self._folder = folder
        self._failures = 0
        self._refused = False
        self._async: zmq.asyncio.Poller | None = None
        self._context = make_context(priority)
        self._socket = self._context.socket(kind)
        self._events = self._context.socket(zmq.PAIR)
        try:
            self._open(self.address.out if kind == zmq.SUB else self.address.mix, queue, topics)
        except BaseException:
            self.close()
            raise

    def _open(self, endpoint: str, queue: int, topics: tuple[bytes, ...]) -> None:
        socket = self._socket
        socket.set_hwm(queue)
        socket.setsockopt(zmq.RECONNECT_IVL, _RETRY_MS)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, _RETRY_MOST_MS)
        # Tells a cable that was pulled from a mix that pauses.
        socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 3 * HEARTBEAT_MS)
        for topic in topics:
            socket.setsockopt(zmq.SUBSCRIBE, topic)
        secure_client(socket, self.address, self._folder)
        socket.monitor("inproc://events", _EVENTS)
        self._events.setsockopt(zmq.RCVHWM, 0)
        self._events.connect("inproc://events")
        self._poller = zmq.Poller()
        for one in (socket, self._events):
            self._poller.register(one, zmq.POLLIN)
        try:
            socket.connect(endpoint)
        except zmq.ZMQError as error:
            raise RtsepError(
                f"nobody can be reached at {endpoint} ({str(error).lower()})",
                "the address of a bridge",
            ) from None

    def send(self, message: Message, *, wait_s: float = 0.0) -> bool:
        """Hand a message to ZeroMQ; False where its queue stayed full for `wait_s`."""
        frames = encode(message)
        if not self._socket.poll(round(1000 * wait_s), zmq.POLLOUT):
            return False
        try:
            self._socket.send_multipart(frames, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def receive(self, timeout_s: float | None) -> Steps[Message | None]:
        """The next message; None where none comes in time.

        Raises
        ------
        RtsepError
            The keys do not fit, so none will ever come.
        """
        until = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            self._take()
            message = self.reception.next()
            if message is not None:
                return message
            left = 1.0 if until is None else until - time.monotonic()
            if left <= 0:
                return None
            yield min(1.0, left)

    def _take(self) -> None:
        """Everything that has arrived, so that the newest is there and the oldest gives way."""
        with suppress(zmq.Again):
            for _ in range(_AT_ONCE):
                frames = self._socket.recv_multipart(zmq.NOBLOCK)
                self.reception.take(frames, time.monotonic())
        with suppress(zmq.Again):
            while True:
                self._note(self._events.recv_multipart(zmq.NOBLOCK))
        if self._refused:
            client = load_keys("client", self._folder)
            raise RtsepError(
                f"the bridge at {self.address.mix} does not let this machine in",
                "this machine's key on its allow-list",
                f"there: rtsep bridge keys --allow NAME '{client.public}'",
            )
        if self._failures >= _MOST_FAILURES:
            wanted = "the key" if self.address.server_key else f"{KEY_MARK} and the key"
            raise RtsepError(
                f"the bridge at {self.address.mix} has "
                + ("another key than the address says" if self.address.server_key else "keys"),
                f"{wanted} that 'rtsep bridge keys' prints there",
                "copy it again",
            )

    def _note(self, frames: list[bytes]) -> None:
        told = parse_monitor_message(frames)
        event = told["event"]
        if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            self._refused = True
        elif event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self.connected, self._failures = True, 0
        elif told["value"] == zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH:
            self._failures = _MOST_FAILURES  # keys on one side only; ZeroMQ tries no more
        elif event == zmq.EVENT_DISCONNECTED:
            self.connected = False
        else:
            # One may be a bridge that ends as we come.
            self._failures += 1

    def run(self, steps: Steps[Result]) -> Result:
        """Do what the steps say, waiting on the sockets."""
        while True:
            try:
                wait_s = next(steps)
            except StopIteration as end:
                result: Result = end.value
                return result
            self._poller.poll(round(1000 * wait_s))

    async def arun(self, steps: Steps[Result]) -> Result:
        """The same, while other tasks go on."""
        if self._async is None:
            self._async = zmq.asyncio.Poller()
            for one in (self._socket, self._events):
                self._async.register(one, zmq.POLLIN)
        while True:
            try:
                wait_s = next(steps)
            except StopIteration as end:
                result: Result = end.value
                return result
            await self._async.poll(round(1000 * wait_s))

    def close(self) -> None:
        """Let go of the sockets and of what they still hold."""
        if not self._socket.closed:
            self._socket.disable_monitor()
        self._context.destroy(linger=0)


class End:
    """What both ends have: a wire, counters, and an end."""

    _wire: Wire

    @property
    def address(self) -> Address:
        """Where the bridge is."""
        return self._wire.address

    @property
    def connected(self) -> bool:
        """Whether a bridge was there when last looked."""
        return self._wire.connected

    @property
    def counts(self) -> Counts:
        """What came, or should have come, and was not used."""
        return self._wire.reception.counts

    def close(self) -> None:
        """Hang up; more than once does no harm."""
        self._wire.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def no_answer(address: Address, seconds: float) -> RtsepError:
    """The refusal where a bridge should have answered."""
    return RtsepError(
        f"no bridge answers at {address.mix} within {seconds:g} s",
        "one that runs",
        "start it there: rtsep bridge serve, or rtsep live --bridge",
    )
