"""The two sockets of a bridge: bound where they may be, closed whole."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import zmq

from rtsep.errors import RtsepError, SetupError
from rtsep_bridge.addresses import Address
from rtsep_bridge.keys import allowed, load_keys, secure_server
from rtsep_bridge.messages import Bytes

QUEUE = 64
"""Messages that a socket keeps for whoever is slow to take them."""
LISTENER_QUEUE = 256
"""The same for those that only listen: two thirds of a second of short blocks."""
HEARTBEAT_MS = 1_000
_FIFO = 1


def make_context(priority: int) -> "zmq.Context[zmq.Socket[bytes]]":
    """A context whose own threads have a real-time priority, which the system must grant.

    0 is for none.
    """
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    if priority > 0:
        context.set(zmq.THREAD_SCHED_POLICY, _FIFO)
        context.set(zmq.THREAD_PRIORITY, priority)
    return context


class Doors:
    """A ROUTER for programs that send, a PUB for programs that listen.

    Parameters
    ----------
    address : Address
        Beyond this machine it takes keys, and an allow-list that names somebody.
    keyed : bool
        Take keys on this machine too.
    folder : Path, optional
        Of the keys; the user's own where it is not given.
    priority : int
        Real-time priority of the sockets' own thread, which the system must grant; 0
        for none.

    Attributes
    ----------
    mix : zmq.Socket
        The ROUTER.
    key : str
        The bridge's public key; empty where it needs none.

    Raises
    ------
    RtsepError
        An address that cannot be served, or not without keys.
    SetupError
        The keys cannot be used, nobody is allowed, or somebody else has the address.
    """

    def __init__(
        self,
        address: Address,
        *,
        keyed: bool = False,
        folder: Path | None = None,
        priority: int = 0,
    ) -> None:
        self.address = address
        self.key = ""
        # Opening it to others takes both keys and somebody to open it for.
        if keyed or not address.local:
            self.key = load_keys("server", folder).public
            if not allowed(folder):
                raise SetupError(
                    f"{address.mix} takes keys, and nobody is allowed in",
                    "the public key of whoever shall come in",
                    "rtsep bridge keys --allow NAME PUBLICKEY",
                )
        self.context = make_context(priority)
        self.mix: zmq.Socket[bytes] = self.context.socket(zmq.ROUTER)
        self.out: zmq.Socket[bytes] = self.context.socket(zmq.PUB)
        sockets = (self.mix, self.out)
        for socket in sockets:
            socket.linger = 0
            socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
            socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 3 * HEARTBEAT_MS)
            socket.setsockopt(zmq.MAXMSGSIZE, 2 << 20)
            if address.ipv6:
                socket.setsockopt(zmq.IPV6, 1)
        self.mix.set_hwm(QUEUE)
        self.out.set_hwm(LISTENER_QUEUE)
        self.mix.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._authenticator: Any = None
        try:
            if self.key:
                self._authenticator = secure_server(self.context, sockets, folder)
            self._bind()
        except BaseException:
            self.close()
            raise

    def _bind(self) -> None:
        for socket, endpoint in ((self.mix, self.address.mix), (self.out, self.address.out)):
            self._clear_path(endpoint)
            try:
                socket.bind(endpoint)
            except zmq.ZMQError as error:
                in_use = error.errno == zmq.EADDRINUSE
                why = "somebody else serves there" if in_use else error.strerror.lower()
                raise SetupError(
                    f"{endpoint} cannot be served ({why})",
                    "an address that is free, and the port above it",
                    "end the other bridge, or choose another --bind",
                ) from None

    def _clear_path(self, endpoint: str) -> None:
        """Refuse a path where somebody answers; ZeroMQ would take it from them."""
        if not endpoint.startswith("ipc://") or endpoint.startswith("ipc://@"):
            return
        path = Path(endpoint.removeprefix("ipc://"))
        if not path.exists():
            if not path.parent.is_dir():
                raise RtsepError(f"{path.parent} is no folder", "one for the socket to be in")
            return
        if not path.is_socket():
            raise RtsepError(f"{path} is a file", "a place for a socket", "choose another --bind")
        import socket

        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, suppress(OSError):
            probe.connect(str(path))
            raise SetupError(
                f"{endpoint} cannot be served (somebody else serves there)",
                "an address that is free",
                "end the other bridge, or choose another --bind",
            )

    def receive(self) -> list[bytes] | None:
        """The next multipart that came, the sender's identity first; None where there is none."""
        try:
            return self.mix.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return None

    def give(self, identity: bytes, frames: Sequence[Bytes]) -> bool:
        """Send to one program; False where it has taken too little of what there is.

        Raises
        ------
        LookupError
            It is not there any more.
        """
        try:
            self.mix.send_multipart([identity, *frames], zmq.NOBLOCK)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno == zmq.EHOSTUNREACH:
                raise LookupError("the program has gone") from None
            raise
        return True

    def publish(self, frames: Sequence[Bytes]) -> None:
        """Send to all that listen; who stalls loses, and nobody waits."""
        self.out.send_multipart(list(frames), zmq.NOBLOCK)

    def close(self) -> None:
        """Close the sockets and let the address go."""
        self.mix.close(linger=0)
        self.out.close(linger=0)
        if self._authenticator is not None:
            self._authenticator.stop()
        self.context.destroy(linger=0)
