"""Where a bridge is: one text for people, two endpoints for sockets.

An address is what ZeroMQ calls an endpoint, ``tcp://HOST:PORT`` or ``ipc://PATH``, and
may carry the public key of the bridge that is expected there: ``?key=`` and 40
characters of Z85.  Those may be ``?``, ``&``, ``#``, ``/`` or ``:`` themselves, so the key
is everything after the first ``?key=``, and an address is no URL.
"""

import ipaddress
import os
import re
from dataclasses import dataclass

import zmq

from rtsep.errors import RtsepError

DEFAULT = "tcp://127.0.0.1:7610"
KEY_MARK = "?key="
_FORMS = f"tcp://HOST:PORT or ipc://PATH, such as {DEFAULT}"
_HOST_AND_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+|\*):([0-9]+)")
_Z85 = re.compile(r"[0-9A-Za-z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")
_PUB = ".pub"


@dataclass(frozen=True)
class Address:
    """The two endpoints of a bridge.

    Attributes
    ----------
    mix : str
        Of the ROUTER, for programs that send a mix.
    out : str
        Of the PUB, for all that only listen: one port higher, or ``.pub`` appended.
    server_key : str
        The bridge's public key in Z85; empty where the address names none.
    local : bool
        Whether nobody beyond this machine can be there: ipc, or a loopback address.
    """

    mix: str
    out: str
    server_key: str = ""
    local: bool = True

    @property
    def ipv6(self) -> bool:
        """Whether sockets must be told to speak IPv6, which they do not by themselves."""
        return self.mix.startswith("tcp://[")

    def __str__(self) -> str:
        """As `parse_address` takes it."""
        return self.mix + (KEY_MARK + self.server_key if self.server_key else "")


def parse_address(text: str) -> Address:
    """Read an address.

    Raises
    ------
    RtsepError
        It is none.
    """
    endpoint, mark, key = text.strip().partition(KEY_MARK)
    if mark:
        check_key(key, f"the key of {endpoint}")
    scheme, there, rest = endpoint.partition("://")
    if there and scheme == "tcp":
        return _tcp(endpoint, rest, key)
    if there and scheme == "ipc":
        return _ipc(endpoint, rest, key)
    raise RtsepError(f"the address {endpoint!r}", _FORMS)


def check_key(key: str, what: str) -> str:
    """The key, if it is one.

    Parameters
    ----------
    key : str
    what : str
        How a refusal calls it.

    Raises
    ------
    RtsepError
        It is not 40 characters of Z85.
    """
    if not _Z85.fullmatch(key):
        quotes = "; put it in single quotes, shells read some of them" if len(key) < 40 else ""
        raise RtsepError(
            f"{what} has {len(key)} characters, or one that no key has",
            "40 characters of Z85",
            f"copy it whole from 'rtsep bridge keys'{quotes}",
        )
    return key


def _tcp(endpoint: str, rest: str, key: str) -> Address:
    match = _HOST_AND_PORT.fullmatch(rest)
    if match is None:
        found = "has no port" if re.fullmatch(r"[A-Za-z0-9._-]+:?", rest) else "is none"
        raise RtsepError(f"the address {endpoint!r} {found}", _FORMS)
    host, port = match[1], int(match[2])
    if not 1 <= port <= 65_534:
        raise RtsepError(f"port {port} in {endpoint}", "1 to 65,534: the stems have the one above")
    bare = host.strip("[]")
    try:
        local = ipaddress.ip_address(bare).is_loopback
    except ValueError:
        if host.startswith("["):
            raise RtsepError(f"{host} in {endpoint}", "an IPv6 address in brackets") from None
        local = host == "localhost"
        # A socket that waits for others takes no names.
        host = "127.0.0.1" if local else host
    return Address(f"tcp://{host}:{port}", f"tcp://{host}:{port + 1}", key, local)


def _ipc(endpoint: str, path: str, key: str) -> Address:
    if not zmq.has("ipc"):
        raise RtsepError(f"{endpoint} on a system without ipc", "tcp", f"use {DEFAULT}")
    if not path or "\0" in path:
        raise RtsepError(f"the address {endpoint!r} has no path", _FORMS)
    room = int(zmq.IPC_PATH_MAX_LEN) - len(_PUB)
    if len(os.fsencode(path)) > room:
        raise RtsepError(
            f"a path of {len(os.fsencode(path))} bytes in {endpoint}",
            f"at most {room}, this system's limit",
            "choose a shorter one",
        )
    return Address(f"ipc://{path}", f"ipc://{path}{_PUB}", key)
