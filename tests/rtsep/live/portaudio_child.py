"""A player on PortAudio in a process of its own: PortAudio looks for servers only once.

Arguments: bundle, input, output, block, and "together" or "apart".  Prints a line of
JSON ten times a second until its standard input ends.
"""

import json
import select
import sys
import time

from rtsep.live import portaudio_host
from rtsep.live.player import Live
from rtsep.live.portaudio_host import PortAudioHost
from rtsep.live.session import Session


def main() -> None:
    bundle, source, sink, block, streams = sys.argv[1:]
    if streams == "apart":  # as two cards would be, though here they share a clock
        portaudio_host.common_clock = lambda source, sink: False
    host = PortAudioHost(input=source, output=sink, block=int(block))
    said: list[str] = []
    live = Live(host, Session(model=bundle, transcriber="none"), say=said.append)
    live.start()
    try:
        due = 0.0
        while not select.select([sys.stdin], [], [], 0.02)[0]:
            live.poll()
            if time.monotonic() < due:
                continue
            due = time.monotonic() + 0.1
            drift = host._drift
            state = {
                "state": live.state,
                "latency": live.latency_samples,
                "misses": live.handover.misses,
                "callbacks": live.handover.callbacks,
                "xruns": live.handover.xruns,
                "callback_us": live.handover.callback_us(),
                "device_latency_s": host.device_latency_s,
                "remarks": host.remarks,
                "said": said,
            }
            if drift is not None:
                state |= {
                    "jumps": drift.jumps,
                    "shortages": drift.shortages,
                    "ppm": drift.drift_ppm,
                    "error": drift.error_samples,
                }
            print(json.dumps(state), flush=True)
    finally:
        live.stop()


if __name__ == "__main__":
    main()
