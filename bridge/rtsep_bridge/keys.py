"""Who may speak with whom beyond one machine: CURVE keys and an allow-list, in files.

A folder of the user's holds the two pairs, a bridge's and a client's, and the public
keys of those that the bridge lets in::

    server.key_secret     both keys of the bridge on this machine, mode 0600
    client.key_secret     both keys of the clients on this machine, mode 0600
    allowed/NAME.key      the public key of a client elsewhere

in the format of ZeroMQ's certificates.  A client knows the bridge by the key in its
address (see `rtsep_bridge.addresses`), the bridge the client by its allow-list.
"""

import os
import re
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import zmq
import zmq.auth
from zmq.auth.thread import ThreadAuthenticator

from rtsep.errors import OutputError, RtsepError, SetupError
from rtsep.output_file import replacing, unwritable
from rtsep_bridge.addresses import KEY_MARK, Address, check_key
from rtsep_bridge.messages import NAME

Owner = Literal["server", "client"]

FOLDER_VARIABLE = "RTSEP_BRIDGE_KEYS"
"""Names another folder, for tests and for machines that several bridges share."""
ZAP_DOMAIN = b"rtsep"
_ALLOWED = "allowed"


@dataclass(frozen=True)
class KeyPair:
    """Two keys in Z85; the secret one does not show where a pair is printed."""

    public: str
    secret: str = field(repr=False)


def keys_folder() -> Path:
    """The folder of this user's keys; it need not be there yet."""
    named = os.environ.get(FOLDER_VARIABLE)
    if named:
        return Path(named)
    if sys.platform == "win32":
        base = os.environ.get("APPDATA") or str(Path.home() / "AppData/Roaming")
    else:
        base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "rtsep/bridge"


def make_keys(owner: Owner, folder: Path | None = None) -> KeyPair:
    """The pair of this machine's server or clients, made where there is none yet.

    Raises
    ------
    OutputError
        It cannot be written.
    SetupError
        What is there cannot be used.
    """
    folder = folder or keys_folder()
    path = _path(owner, folder)
    if not path.exists():
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Written where only its owner can look, then moved to its place whole.
            with tempfile.TemporaryDirectory(prefix=".new-", dir=folder) as new:
                zmq.auth.create_certificates(new, owner)
                secret = Path(new) / path.name
                secret.chmod(0o600)
                secret.replace(path)
        except OSError as error:
            raise unwritable(path, error) from None
    return load_keys(owner, folder)


def load_keys(owner: Owner, folder: Path | None = None) -> KeyPair:
    """The pair of this machine's server or clients.

    Raises
    ------
    SetupError
        There is none, it is damaged, or others can read it.
    """
    path = _path(owner, folder or keys_folder())
    try:
        mode = path.stat().st_mode
        public, secret = zmq.auth.load_certificate(path)
        pair = KeyPair(public.decode(), (secret or b"").decode())
        check_key(pair.public, "its public key")
        check_key(pair.secret, "its secret key")
    except FileNotFoundError:
        raise SetupError(
            f"this machine has no {owner} keys ({path})", remedy="make them: rtsep bridge keys"
        ) from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SetupError(f"{path} cannot be read ({reason})", "a file you may read") from None
    except ValueError:
        raise SetupError(
            f"{path} holds no pair of keys",
            "what 'rtsep bridge keys' wrote",
            "delete it, make new ones and exchange them again",
        ) from None
    if os.name == "posix" and mode & 0o077:
        raise SetupError(
            f"others on this machine can read {path}", "mode 0600", f"chmod 600 '{path}'"
        )
    return pair


def _path(owner: Owner, folder: Path) -> Path:
    return folder / f"{owner}.key_secret"


def allow(name: str, public: str, folder: Path | None = None) -> None:
    """Let the clients that have a key use this machine's bridge.

    A running one lets them in from now on.

    Parameters
    ----------
    name : str
        Under which the key is kept; the one that it had before is forgotten.
    public : str
        In Z85.

    Raises
    ------
    RtsepError
        A name or a key that is none.
    OutputError
        It cannot be written.
    """
    path = _allowed_path(name, folder)
    check_key(public, f"the key of {name}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path, error) from None
    with replacing(path) as part:
        part.write_text(f'metadata\ncurve\n    public-key = "{public}"\n', "ascii")


def forget(name: str, folder: Path | None = None) -> None:
    """Take a key from the allow-list; who is connected stays until it connects anew.

    Raises
    ------
    RtsepError
        There is none of that name.
    OutputError
        It cannot be removed.
    """
    path = _allowed_path(name, folder)
    try:
        path.unlink()
    except FileNotFoundError:
        known = ", ".join(sorted(allowed(folder))) or "nobody"
        raise RtsepError(f"nobody called {name} is allowed", f"one of: {known}") from None
    except OSError as error:
        raise OutputError(f"{path} cannot be removed ({error.strerror})") from None


def allowed(folder: Path | None = None) -> dict[str, str]:
    """The public keys that this machine's bridge lets in, by name.

    A file that is no certificate lets nobody in.
    """
    keys = {}
    for path in sorted(((folder or keys_folder()) / _ALLOWED).glob("*.key")):
        with suppress(OSError, ValueError):
            public = zmq.auth.load_certificate(path)[0].decode()
            keys[path.stem] = check_key(public, path.name)
    return keys


def _allowed_path(name: str, folder: Path | None) -> Path:
    if not re.match(NAME, name):
        raise RtsepError(
            f"the name {name!r}", "small letters, digits, '.', '-' and '_', 64 at most"
        )
    return (folder or keys_folder()) / _ALLOWED / f"{name}.key"


class AllowList:
    """Answers the authenticator's questions from the files as they are then."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: object = None
        self._keys: frozenset[str] = frozenset()

    def callback(self, domain: str, key: bytes) -> bool:
        """Whether a client with this key may come in; nothing raises here."""
        try:
            paths = sorted((self._folder / _ALLOWED).glob("*.key"))
            seen = [(path, path.stat().st_mtime_ns, path.stat().st_ino) for path in paths]
            if seen != self._seen:
                self._keys, self._seen = frozenset(allowed(self._folder).values()), seen
        except OSError:  # a file went away just now
            self._keys, self._seen = frozenset(allowed(self._folder).values()), None
        return key.decode("ascii", "replace") in self._keys


def secure_server(
    context: "zmq.Context[Any]",
    sockets: "Iterable[zmq.Socket[Any]]",
    folder: Path | None = None,
) -> ThreadAuthenticator:
    """Let only allowed clients into sockets that are to be bound.

    Parameters
    ----------
    context : zmq.Context
        That of the sockets; it has room for one authenticator.
    sockets : iterable of zmq.Socket
        Not bound yet.
    folder : Path, optional

    Returns
    -------
    ThreadAuthenticator
        At work; to be stopped when the sockets are closed.  Each message of a socket
        then has the client's public key as its ``User-Id``.

    Raises
    ------
    SetupError
        This machine has no keys that can be used.
    """
    folder = folder or keys_folder()
    pair = load_keys("server", folder)
    authenticator = ThreadAuthenticator(context)
    authenticator.start()
    authenticator.configure_curve_callback(ZAP_DOMAIN.decode(), AllowList(folder))
    for socket in sockets:
        socket.curve_server = True
        socket.curve_publickey, socket.curve_secretkey = _bytes(pair)
        socket.zap_domain = ZAP_DOMAIN
        # Without the authenticator nobody gets in, instead of everybody with a key.
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
    return authenticator


def secure_client(socket: "zmq.Socket[Any]", address: Address, folder: Path | None = None) -> None:
    """Make a socket that is to be connected speak as its address wants it.

    Raises
    ------
    RtsepError
        An address beyond this machine that names no key.
    SetupError
        This machine has no keys that can be used.
    """
    if address.ipv6:
        socket.setsockopt(zmq.IPV6, 1)
    if not address.server_key:
        if not address.local:
            raise RtsepError(
                f"{address.mix} is beyond this machine, and without a key",
                f"{address.mix}{KEY_MARK} and the bridge's public key",
                "'rtsep bridge keys' on the bridge's machine prints it",
            )
        return
    pair = load_keys("client", folder)
    socket.curve_serverkey = address.server_key.encode()
    socket.curve_publickey, socket.curve_secretkey = _bytes(pair)


def _bytes(pair: KeyPair) -> tuple[bytes, bytes]:
    return pair.public.encode(), pair.secret.encode()
