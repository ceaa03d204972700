"""How a client joins JACK's cycles, and which ports it connects to: by pattern, or as before."""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rtsep.errors import SetupError

Pairs = set[tuple[str, str]]


@contextmanager
def joining(server: str, name: str) -> Iterator[None]:
    """Say in one line that a server has not taken a client into its cycles.

    Raises
    ------
    SetupError
        It has gone, or waits for another client in vain.
    """
    import jack

    try:
        yield
    except jack.JackError:
        raise SetupError(
            f"the JACK server '{server}' has come to no cycle with {name} in it",
            "one that goes on",
            "see which of its clients is stuck (jack_lsp), or start it anew",
        ) from None


@dataclass(frozen=True)
class Patterns:
    """Regular expressions of other programs' ports.

    Attributes
    ----------
    input : str, optional
        Output ports to connect the mix from, left and right.
    output : str, optional
        Input ports to connect the monitor mix to.
    connect : str, optional
        Input ports to connect the stems to: in order, or by name where it holds
        ``{stem}`` or ``{side}`` (L or R).  Without ``{side}``, a stem's left and right
        go to its first and second match.

    Raises
    ------
    SetupError
        One that is no regular expression.
    """

    input: str | None = None
    output: str | None = None
    connect: str | None = None

    def __post_init__(self) -> None:
        for option in ("input", "output", "connect"):
            pattern = getattr(self, option) or ""
            try:
                re.compile(fill(pattern, "drums", "L"))
            except re.error as error:
                raise SetupError(
                    f"--{option} {pattern!r} ({error})", "a regular expression of port names"
                ) from None


def fill(pattern: str, stem: str, side: str) -> str:
    """Put a stem's name and a side into a pattern."""
    return pattern.replace("{stem}", stem).replace("{side}", side)


class Connections:
    """The connections of one client.

    Parameters
    ----------
    client : jack.Client
    patterns : Patterns
    restore : set of (source, target)
        Made again as soon as both ports are there.
    """

    def __init__(self, client: Any, patterns: Patterns, restore: Pairs) -> None:
        self._client, self._patterns = client, patterns
        self._restore = {self._renamed(pair) for pair in restore}
        self._new: list[str] = []

    def _renamed(self, pair: tuple[str, str]) -> tuple[str, str]:
        """A remembered pair; the client's own name may be another one now."""
        source, target = pair
        own = f"{self._client.name}:"
        if source.startswith("\0"):
            source = own + source[1:]
        if target.startswith("\0"):
            target = own + target[1:]
        return source, target

    def add(self, names: Iterable[str]) -> None:
        """Connect ports that have just come to be, at the next `look`.

        A pattern that nothing matches yet is tried again until something does.
        """
        self._new += names

    def look(self, known: Pairs) -> Pairs:
        """Restore and make connections.

        Parameters
        ----------
        known : set of (source, target)
            What the last call gave.

        Returns
        -------
        set of (source, target)
            What there is now and is to be restored another time; a NUL stands for the
            client's own name.
        """
        import jack

        try:
            there = {port.name for port in self._client.get_ports(is_audio=True)}
            for pair in [pair for pair in self._restore if there.issuperset(pair)]:
                self._connect(*pair)
                self._restore.discard(pair)
            if self._new:
                self._connect_new()
            return {self._named(pair) for pair in self._present() | self._restore}
        except jack.JackError:  # the server goes away just now
            return known

    def _named(self, pair: tuple[str, str]) -> tuple[str, str]:
        own = f"{self._client.name}:"
        source, target = pair
        if source.startswith(own):
            source = "\0" + source[len(own) :]
        if target.startswith(own):
            target = "\0" + target[len(own) :]
        return source, target

    def _present(self) -> Pairs:
        found = set()
        for port in self._client.inports:
            found |= {(other.name, port.name) for other in port.connections}
        for port in self._client.outports:
            found |= {(port.name, other.name) for other in port.connections}
        return found

    def _connect_new(self) -> None:
        new, self._new = self._new, []
        own = f"{self._client.name}:"
        if "mix_L" in new and self._patterns.input:
            sources = self._find(self._patterns.input, is_output=True)
            if len(sources) == 1:  # a mono source feeds both sides
                sources *= 2
            for source, side in zip(sources, "LR", strict=False):
                self._connect(source, f"{own}mix_{side}")
            if not sources:
                self._new.append("mix_L")
        monitors = [name for name in new if name in ("monitor_L", "monitor_R")]
        if monitors and self._patterns.output:
            targets = self._find(self._patterns.output, is_input=True)
            for name, target in zip(monitors, targets, strict=False):
                self._connect(own + name, target)
            if not targets:
                self._new += monitors
        stems = [name for name in new if name[:-2] not in ("mix", "monitor")]
        if stems and self._patterns.connect:
            self._connect_stems(stems, self._patterns.connect)

    def _connect_stems(self, stems: Sequence[str], pattern: str) -> None:
        own = f"{self._client.name}:"
        if "{stem}" in pattern or "{side}" in pattern:
            for name in stems:
                filled = fill(pattern, re.escape(name[:-2]), name[-1])
                targets = self._find(filled, is_input=True)
                if "{side}" not in pattern and targets:  # left and right, or both to one
                    targets = [targets[min("LR".index(name[-1]), len(targets) - 1)]]
                for target in targets:
                    self._connect(own + name, target)
                if not targets:
                    self._new.append(name)
            return
        targets = self._find(pattern, is_input=True)
        for name, target in zip(stems, targets, strict=False):
            self._connect(own + name, target)
        if not targets:
            self._new += stems

    def _find(self, pattern: str, **kind: bool) -> list[str]:
        ports = self._client.get_ports(pattern, is_audio=True, **kind)
        own = f"{self._client.name}:"
        return [port.name for port in ports if not port.name.startswith(own)]

    def _connect(self, source: str, target: str) -> None:
        import jack

        try:
            self._client.connect(source, target)
        except jack.JackError:  # connected already, or gone again
            return
