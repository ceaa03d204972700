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
_CALL = re.compile(r'\b(?:call|invoke)\b[^@%\n]*@"?([^"( ]+)"?\(')
_INDIRECT = re.compile(r"\b(?:call|invoke)\b[^@%\n]*%[^\s(]+\(")
_RETURN = re.compile(r"^\s+ret (void|i32) ?(\S*)", re.MULTILINE)
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
    raises = _raises(bodies, start, set())
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
            elif not _HARMLESS.match(called):
                foreign.add(called)
    return Calls(frozenset(foreign), raises)


def _raises(bodies: dict[str, str], name: str, asked: set[str]) -> bool:
    """Whether a function may return another status than 0, which is success."""
    if name not in bodies:
        return True
    if name in asked:  # in a circle of calls: the others decide
        return False
    asked.add(name)
    body = bodies[name]
    for kind, value in _RETURN.findall(body):
        if kind != "void" and _may_fail(bodies, body, value, asked, set()):
            return True
    return False


def _may_fail(
    bodies: dict[str, str], body: str, value: str, asked: set[str], seen: set[str]
) -> bool:
    """Whether a value in a function's body may be another status than 0."""
    if not value.startswith("%"):
        return value != "0"
    if value in seen:
        return False
    seen.add(value)
    definition = re.search(rf"^\s+{re.escape(value)} = (.*)$", body, re.MULTILINE)
    made = definition.group(1) if definition else ""
    if made.startswith("phi i32 "):
        choices = re.findall(r"\[ ([^,]+),", made)
        return any(_may_fail(bodies, body, choice, asked, seen) for choice in choices)
    called = re.match(r"(?:tail |musttail )?call [^@%]*i32 @\"?([^\"( ]+)\"?\(", made)
    return called is None or _raises(bodies, called.group(1), asked)


def _functions(code: str) -> dict[str, str]:
    """The bodies of the functions that the code defines."""
    bodies = {}
    for found in _DEFINITION.finditer(code):
        end = code.index("\n}", found.end())
        bodies[found.group(1)] = code[found.end() : end]
    return bodies
