"""What a machine's sound and MIDI systems answer, each asked in a process of its own.

Foreign audio libraries print to the terminal, wait for servers that hang, and now
and then abort the process that asked: a child with a time limit keeps all of that
away from the caller.
"""

import json
import subprocess
import sys

TIMEOUT_S = 15.0

JACK = """
import ctypes, ctypes.util, json
name = ctypes.util.find_library("jack") or ctypes.util.find_library("libjack64")
try:
    jack = ctypes.CDLL(name or "libjack.so.0")
except OSError:
    print(json.dumps({"library": False}))
    raise SystemExit
quiet = ctypes.CFUNCTYPE(None, ctypes.c_char_p)(lambda text: None)
jack.jack_set_error_function(quiet)
jack.jack_set_info_function(quiet)
jack.jack_client_open.restype = ctypes.c_void_p
status, no_start_server = ctypes.c_int(), 1
client = jack.jack_client_open(b"rtsep-doctor", no_start_server, ctypes.byref(status))
answer = {"library": True, "server": bool(client)}
if client:
    handle = ctypes.c_void_p(client)
    answer["rate"] = jack.jack_get_sample_rate(handle)
    answer["period"] = jack.jack_get_buffer_size(handle)
    answer["realtime"] = bool(jack.jack_is_realtime(handle))
    jack.jack_client_close(handle)
print(json.dumps(answer), flush=True)
"""

PORTAUDIO = """
import json, os
try:
    import sounddevice
except OSError:
    print(json.dumps({"library": False}))
    raise SystemExit
hosts = [host["name"] for host in sounddevice.query_hostapis() if host["devices"]]
devices = len(sounddevice.query_devices())
print(json.dumps({"library": True, "hosts": hosts, "devices": devices}), flush=True)
os._exit(0)  # PortAudio may abort the interpreter at its end
"""

MIDI = """
import json
import rtmidi
apis = {}
for api in rtmidi.get_compiled_api():
    name = rtmidi.get_api_display_name(api)
    try:
        port = rtmidi.MidiOut(api, "rtsep-doctor")
        apis[name] = {"outputs": len(port.get_ports()), "virtual": True}
    except Exception:
        apis[name] = None
        continue
    try:
        port.open_virtual_port("rtsep-doctor")
    except Exception:
        apis[name]["virtual"] = False
print(json.dumps({"apis": apis}), flush=True)
"""

REALTIME = """
import json
from dataclasses import asdict
from rtsep.realtime import lock_memory, make_realtime
grants = {"priority": asdict(make_realtime(60)), "memory": asdict(lock_memory())}
print(json.dumps(grants), flush=True)
"""


def ask(code: str, timeout_s: float = TIMEOUT_S) -> dict[str, object]:
    """Run one of this module's probes in a child process.

    Parameters
    ----------
    code : str
        Python that prints one JSON object.
    timeout_s : float
        When to give up on it, in seconds.

    Returns
    -------
    dict
        The object; ``{"error": reason}`` when the child printed none.
    """
    where = f"import sys\nsys.path[:] = {sys.path!r}\n"  # of the rtsep that asks
    try:
        child = subprocess.run(
            [sys.executable, "-c", where + code],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"no answer within {timeout_s:g} s"}
    for line in reversed(child.stdout.decode(errors="replace").splitlines()):
        try:
            answer = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(answer, dict):
            return answer
    lines = child.stderr.decode(errors="replace").strip().splitlines()
    return {"error": lines[-1] if lines else f"the probe ended with status {child.returncode}"}
