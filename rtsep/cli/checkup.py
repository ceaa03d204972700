"""``rtsep doctor``."""

from rtsep.cli.console import one_line, stdout
from rtsep.doctor import checkup

_MARKS = {"ok": "ok     ", "missing": "missing", "broken": "BROKEN "}
_COLOURS = {"ok": "green", "missing": "yellow", "broken": "red"}


def show_checkup() -> bool:
    """Print every check as it is done, each on one line with its fix.

    Returns
    -------
    bool
        False when something essential is broken.
    """
    console, healthy = stdout(), True
    for check in checkup():
        healthy = healthy and check.status != "broken"
        fix = f" -> {check.fix}" if check.fix else ""
        console.print(_MARKS[check.status], style=_COLOURS[check.status], end=" ")
        console.print(one_line(f"{check.name}: {check.found}{fix}"), markup=False, soft_wrap=True)
    console.print("rtsep works here." if healthy else "rtsep does not work here; see above.")
    return healthy
