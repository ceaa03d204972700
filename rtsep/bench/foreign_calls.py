"""What a compiled callback calls, read from its machine-independent code.

An audio callback must not allocate, lock or enter the interpreter.  Every such thing is
a call of some function outside the compiled code, so the list of these calls proves it,
for all paths through the callback at once.
"""

import re
from dataclasses import dataclass
from typing import Any

from numba import cfunc

_DEFINITION = re.compile(r'^define [^@]*@"?([^"(]+)"?\(', re.MULTILINE)
_CALL = re.compile(r'\b(?:call|invoke)\b[^\n]*?[@%]"?([^"( ]+)"?\(')
_INDIRECT = re.compile(r"\b(?:call|invoke)\b[^@\n]*%[\w.]+\(")
_RETURN = re.compile(r"^\s+ret (.*?)\s*$", re.MULTILINE)
_WRAPPER = "cfunc."
#: LLVM's own that become plain instructions, or a plain loop over memory.
_HARMLESS = re.compile(r"llvm\.(?!.*(?:stacksave|eh\.|coro))")


@dataclass(frozen=True)
class Calls:
    """What a callback may call.

    Attributes
    ----------
    foreign : frozenset of str
        Functions outside the compiled code; "<computed>" for one whose address is
        computed.
    raises : bool
        Whether it can end with an exception, which would enter the interpreter.
    """

    foreign: frozenset[str]
    raises: bool


def foreign_calls(callback: Any) -> Calls:
    """Everything that a callback calls, on any path through it.

    Parameters
    ----------
    callback : numba cfunc
        It is compiled again, because code from Numba's cache cannot be read.
    """
    fresh = cfunc(callback._sig)(callback._pyfunc)
    return read_calls(fresh.inspect_llvm())


def read_calls(code: str) -> Calls:
    """As `foreign_calls`, of the optimised LLVM code of a cfunc."""
    bodies = _functions(code)
    wrappers = [name for name in bodies if name.startswith(_WRAPPER)]
    if len(wrappers) != 1:
        raise ValueError(f"{len(wrappers)} callbacks in this code, expected 1")
    # The wrapper turns exceptions of what it wraps into messages.  Without exceptions
    # nothing of that can run.
    start = wrappers[0].removeprefix(_WRAPPER)
    returns = set(_RETURN.findall(bodies[start]))
    raises = not returns <= {"i32 0"}
    foreign, waiting, seen = set(), [wrappers[0] if raises else start], set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        if _INDIRECT.search(bodies[name]):
            foreign.add("<computed>")
        for called in _CALL.findall(bodies[name]):
            if called in bodies:
                waiting.append(called)
            elif not _HARMLESS.match(called) and not re.fullmatch(r"[\d.]+", called):
                foreign.add(called)
    return Calls(frozenset(foreign), raises)


def _functions(code: str) -> dict[str, str]:
    """The bodies of the functions that the code defines."""
    bodies = {}
    for found in _DEFINITION.finditer(code):
        end = code.index("\n}", found.end())
        bodies[found.group(1)] = code[found.end() : end]
    return bodies
