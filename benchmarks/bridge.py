"""How long the bridge takes: one way to a listener, and there and back for a plugin.

One way, a process publishes blocks of six stereo stems at the pace of 48 kHz and 128
frames through the bridge's own sockets and messages, and another one stamps them once it
has decoded them.  There and back, the plugin's link (``make -C bridge/plugin checks``,
where that builds) plays through a real ``rtsep bridge serve``, with a model that does
nothing and with the one that ships::

    python benchmarks/bridge.py [--seconds 20] [--json FILE]
    python benchmarks/bridge.py --soak 60 [--json FILE]

The soak plays for so many minutes from Python, at 48 kHz with blocks of 128, and counts.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import zmq

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bridge")]

from benchmarks import common
from rtsep import realtime
from rtsep.bench.processes import end, family, resident_bytes
from rtsep_bridge import keys
from rtsep_bridge.addresses import parse_address
from rtsep_bridge.client import Client
from rtsep_bridge.doors import Doors, make_context
from rtsep_bridge.messages import Message, Notes, StatusReport, Stems, decode, encode
from rtsep_bridge.sequence import Sender
from tests.rtsep import models

RATE, BLOCK = 48_000, 128
STEMS = ("drums", "bass", "guitar", "piano", "vocals", "other")
PORT = 7_690
PRIORITY = 60
WAYS: dict[str, dict[str, bool]] = {
    "": {},
    "plain bytes": {"bare": True},
    "normal priority": {"hurry": False},
}


def addresses(folder: Path) -> dict[str, str]:
    """What is measured: on this machine, with and without keys."""
    pair = keys.make_keys("server", folder)
    keys.allow("bench", keys.make_keys("client", folder).public, folder)
    return {
        "ipc": f"ipc://{folder}/bridge",
        "tcp": f"tcp://127.0.0.1:{PORT}",
        "tcp with CURVE": f"tcp://127.0.0.1:{PORT}?key={pair.public}",
    }


# --- one way ------------------------------------------------------------------------


def hear(
    address: str, folder: str, count: int, bare: bool, hurry: bool, ready: Any, answer: Any
) -> None:
    """Stamp so many blocks as they come; delays in µs, of those that came."""
    granted = hurry and realtime.make_realtime(PRIORITY).granted
    context = make_context(PRIORITY + 2 if granted else 0)
    socket = context.socket(zmq.SUB)
    parsed = parse_address(address)
    keys.secure_client(socket, parsed, Path(folder))
    socket.subscribe(b"")
    socket.connect(parsed.out)
    delays = []
    ready.set()
    while len(delays) < count and socket.poll(3_000):
        frames = socket.recv_multipart()
        sent = int.from_bytes(frames[0][:8], "little") if bare else decode(frames).header.sample
        delays.append((time.monotonic_ns() - sent) / 1e3)
    context.destroy(linger=0)
    answer.put(delays)


def one_way(
    address: str, folder: Path, seconds: float, *, bare: bool = False, hurry: bool = True
) -> list[float]:
    """Delays in µs, in the order in which the blocks were sent; `bare`: of plain bytes."""
    spawn = multiprocessing.get_context("spawn")
    count = int(seconds * RATE / BLOCK)
    ready, answer = spawn.Event(), spawn.Queue()
    arguments = (address, str(folder), count, bare, hurry, ready, answer)
    child = spawn.Process(target=hear, args=arguments, daemon=True)
    child.start()
    ready.wait(30)
    granted = hurry and realtime.make_realtime(PRIORITY).granted
    parsed = parse_address(address)
    priority = PRIORITY + 2 if granted else 0
    doors = Doors(parsed, keyed=bool(parsed.server_key), folder=folder, priority=priority)
    samples = np.random.default_rng(0).standard_normal((2 * len(STEMS), BLOCK)).astype(np.float32)
    sender = Sender(RATE)
    try:
        time.sleep(1.0)  # the listener connects
        due = time.monotonic_ns()
        for _ in range(count):
            due += BLOCK * 1_000_000_000 // RATE
            time.sleep(max(0, due - time.monotonic_ns()) / 1e9)
            now = time.monotonic_ns()
            if bare:
                doors.publish([now.to_bytes(8, "little") + bytes(60), samples.data])
                continue
            numbers = sender.numbers(Stems, now)
            header = Stems(**numbers, frames=BLOCK, latency=256, stems=STEMS)
            doors.publish(encode(Message(header, samples), own=True))
        delays: list[float] = answer.get(timeout=10)
    finally:
        doors.close()
        realtime.make_normal()
        child.join(5)
        child.kill()
    return delays


# --- there and back -----------------------------------------------------------------


@contextmanager
def serving(address: str, folder: Path, *options: str) -> Iterator[int]:
    """A real ``rtsep bridge serve``; its process id."""
    environment = os.environ | {
        "RTSEP_BRIDGE_KEYS": str(folder),
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "bridge"))),
    }
    command = [sys.executable, "-m", "rtsep", "bridge", "serve", "--bind", address.split("?")[0]]
    if "?key=" in address:
        command.append("--keys")
    process = subprocess.Popen(
        [*command, *options], env=environment, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if "serving" in line:
                break
        else:
            raise SystemExit("rtsep bridge serve did not start")
        yield process.pid
    finally:
        end(process)
        process.stderr.close()


def built_link() -> Path | None:
    """The plugin's link as a program, built where that is possible."""
    if shutil.which("make") is None or shutil.which("g++") is None:
        return None
    plugin = ROOT / "bridge" / "plugin"
    built = subprocess.run(
        ["make", "-s", "-C", str(plugin), "build/objects/link_check"],
        capture_output=True,
        check=False,
    )
    return plugin / "build/objects/link_check" if built.returncode == 0 else None


def there_and_back(link: Path, address: str, folder: Path, block: int, seconds: float) -> Any:
    """What the plugin's link says of a while of playing."""
    command = [str(link), "--address", address, "--rate", str(RATE), "--block", str(block)]
    run = subprocess.run(
        [*command, "--seconds", str(seconds)],
        env=os.environ | {"RTSEP_BRIDGE_KEYS": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(run.stdout)


# --- a long run ---------------------------------------------------------------------


def soak(minutes: float, folder: Path) -> dict[str, Any]:
    """Play noise through the shipped model; every block must come back, or be counted.

    What is told of the progress is told from this thread: one that draws a bar would hold
    the interpreter now and then, for as long as other programs keep it waiting.
    """
    address = f"ipc://{folder}/bridge"
    noise = np.random.default_rng(0).standard_normal((2, 64 * BLOCK)).astype(np.float32) * 0.1
    memory: list[float] = []
    delays: list[float] = []
    with serving(address, folder) as pid, Client(address) as client:
        client.hello()
        opened = client.open(preset="live", sample_rate=RATE, step=BLOCK)
        realtime.make_realtime(PRIORITY + 10)
        sent_at = np.zeros(1 << 12)
        came = gaps = notes = reported = restarts = 0
        expected = client.sample

        def hear(until: float) -> None:
            """Take what comes."""
            nonlocal came, gaps, notes, reported, restarts, expected
            while (wait := until - time.monotonic()) > 0:
                message = client.receive(wait)
                header = message.header if message is not None else None
                if isinstance(header, Stems):
                    gaps += header.sample - expected
                    expected = header.sample + header.frames
                    came += header.frames
                    block = (expected + opened.latency) // BLOCK - 1
                    delays.append(1e6 * (time.monotonic() - sent_at[block % sent_at.size]))
                elif isinstance(header, Notes):
                    notes += len(header.notes)
                elif isinstance(header, StatusReport):
                    reported, restarts = header.status.misses, header.status.restarts

        count, start = int(minutes * 60 * RATE / BLOCK), time.monotonic()
        for number in range(count):
            hear(start + number * BLOCK / RATE)
            sent_at[number % sent_at.size] = time.monotonic()
            at = number % 64 * BLOCK
            client.send(np.ascontiguousarray(noise[:, at : at + BLOCK]))
            if number % (10 * RATE // BLOCK) == 0:
                memory.append(sum(resident_bytes(member) for member in family(pid)) / 1e6)
                minute = number * BLOCK / RATE / 60
                print(f"\r{minute:.1f} of {minutes:g} minutes", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        hear(time.monotonic() + 3.0)
        counts = client.counts
    realtime.make_normal()
    half = len(memory) // 2
    return {
        "minutes": minutes,
        "stated_latency": opened.latency,
        "blocks_sent": count,
        "blocks_unsent": client.unsent,
        "frames_back": came,
        "frames_owed": client.sample - opened.latency,
        "frames_missing_between": gaps,
        "blocks_the_bridge_dropped": reported,
        "messages_lost_on_the_way_back": counts.lost + counts.dropped,
        "engines_restarted": restarts,
        "notes": notes,
        "round_trip_us": quantiles(delays),
        "memory_mb": {
            "first": memory[min(1, len(memory) - 1)],
            "middle": memory[half],
            "last": memory[-1],
            "most": max(memory),
        },
    }


# --- tables -------------------------------------------------------------------------


def quantiles(values: list[float]) -> dict[str, float]:
    """Median, tails and the most, in µs."""
    found = np.percentile(values, [50, 99, 99.9, 100]) if values else [float("nan")] * 4
    return dict(zip(("p50", "p99", "p999", "max"), map(float, found), strict=True))


def shown(row: dict[str, float]) -> list[str]:
    return [f"{row[key]:,.0f}" for key in ("p50", "p99", "p999", "max")]


def measure(seconds: float, folder: Path) -> dict[str, Any]:
    """All but the long run."""
    found: dict[str, Any] = {"one_way": {}, "there_and_back": {}}
    link = built_link()
    null = models.save(models.constant_masks(), folder / "null.onnx")
    engines = {"a model that does nothing": ("--model", str(null), "--no-notes"), "live": ()}
    with common.progress() as bar:
        places = addresses(folder)
        task = bar.add_task("bridge", total=len(WAYS) * len(places) + 3 + 5)
        for way, how in WAYS.items():
            for name, address in places.items():
                delays = one_way(address, folder, seconds, **how)
                row = quantiles(delays) | {"blocks": len(delays)}
                found["one_way"][", ".join(filter(None, (name, way)))] = row
                bar.advance(task)
        if link is None:
            common.console(stderr=True).print(
                "the plugin's link does not build here, and is left out"
            )
            return found
        for model, options in engines.items():
            for name, address in places.items():
                blocks = (256,) if model != "live" else (64, 128, 256, 512, 1024)
                if model == "live" and name != "ipc":
                    continue
                with serving(address, folder, *options):
                    for block in blocks:
                        said = there_and_back(link, address, folder, block, seconds)
                        found["there_and_back"][f"{model}, {name}, {block}"] = said
                        bar.advance(task)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="of every measurement")
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="play for so long instead")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    facts = common.machine()
    common.print_machine(facts)
    with tempfile.TemporaryDirectory(prefix="rtsep-") as name:
        folder = Path(name)
        if options.soak is not None:
            found: dict[str, Any] = soak(options.soak, folder)
            for key, value in found.items():
                print(f"{key:32} {value}")
        else:
            found = measure(options.seconds, folder)
            print_tables(found, options.seconds)
    common.write_json(options.json, {"machine": facts, **found})


def print_tables(found: dict[str, Any], seconds: float) -> None:
    common.print_table(
        f"one way, {2 * len(STEMS)} channels × {BLOCK} frames, {RATE // BLOCK} messages/s, "
        f"{seconds:g} s each, µs",
        ("transport", "p50", "p99", "p99.9", "max", "blocks"),
        [(name, *shown(row), f"{row['blocks']:,}") for name, row in found["one_way"].items()],
        "from before a block is encoded to after it is decoded in another process; at real-time "
        "priority where the system grants it, as 'rtsep bridge serve' runs; plain bytes: as many, "
        "and neither encoded nor decoded",
    )
    common.print_table(
        f"there and back, the plugin's link at {RATE:,} Hz, {seconds:g} s each, µs",
        ("model, transport, block", "p50", "p99", "p99.9", "max", "stated latency", "misses"),
        [
            (name, *shown(row["round_trip_us"]), f"{row['latency']}", f"{row['misses']}")
            for name, row in found["there_and_back"].items()
        ],
        "from a host's block in the ring to its stems in the ring; an engine and two process "
        "hops are in it; a block is missed when that takes longer than the headroom",
    )


if __name__ == "__main__":
    main()
