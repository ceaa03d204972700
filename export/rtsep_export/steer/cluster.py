"""``rtsep steer --cluster``: a catalogue over a Ray cluster, one song a task.

Songs and networks travel to the workers, and mask files back, so that the machines need
share no disk; rtsep must be installed on all of them.
"""

import socket
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rtsep.errors import RtsepError, SetupError
from rtsep.output_file import replacing
from rtsep_export.steer.command import Order, make_masks, network_file

ATTEMPTS = 3
"""How often a song is tried whose worker is lost or fails; refusals are final."""
ANSWER_S = 10.0
AHEAD = 2
"""Songs a processor that are with the cluster at once."""

Files = dict[str, tuple[str, bytes]]
"""Name and content by what they are called in an order."""
Job = tuple[Path, Path]
Report = Callable[[int, int, str], None]


def steer_catalogue(
    jobs: Sequence[Job], order: Order, address: str, report: Report
) -> list[tuple[Path, str]]:
    """Make the mask files of many songs.

    Parameters
    ----------
    jobs : sequence of (Path, Path)
        Song and mask file.
    address : str
        Of the cluster, as ``ray.init`` takes it: "auto" for the one of this machine.
    report : callable
        Given how many songs are done, of how many, and the last one's name.

    Returns
    -------
    list of (Path, str)
        Songs that failed, and why.

    Raises
    ------
    SetupError
        Ray is not installed, or no cluster answers.
    RtsepError
        A network cannot be read.
    """
    ray = _connected(address)
    try:
        return _spread(ray, jobs, order, report)
    finally:
        ray.shutdown()


def _connected(address: str) -> Any:
    try:
        import ray
    except ImportError:
        raise SetupError(
            "Ray is not installed", "it, for --cluster", "pip install 'rtsep[cluster]'"
        ) from None
    try:
        host, _, port = address.rpartition(":")
        if host and port.isdigit():
            # Ray itself would try for minutes.
            socket.create_connection((host, int(port)), ANSWER_S).close()
        ray.init(address=address, log_to_driver=False, configure_logging=False)
    except (OSError, ValueError, RuntimeError) as error:
        reason = (str(error).splitlines() or ["no answer"])[0]
        raise SetupError(
            f"no Ray cluster at {address} ({reason})",
            "one that runs",
            "start one: ray start --head",
        ) from None
    return ray


def _spread(ray: Any, jobs: Sequence[Job], order: Order, report: Report) -> list[tuple[Path, str]]:
    task = ray.remote(max_retries=0)(steer_bytes)
    networks = ray.put({source: network_file(source) for source in _sources(order)})
    waiting = [(job, 1) for job in reversed(jobs)]
    done, failures = 0, []
    running: dict[Any, tuple[Job, int]] = {}
    most = max(1, AHEAD * round(ray.cluster_resources().get("CPU", 1)))
    while waiting or running:
        while waiting and len(running) < most:
            job, attempt = waiting.pop()
            try:
                song = job[0].read_bytes()
            except OSError as error:
                done += 1
                failures.append((job[0], (error.strerror or str(error)).lower()))
                continue
            running[task.remote(job[0].name, song, networks, order)] = job, attempt
        if not running:
            continue
        (first,), _ = ray.wait([*running], num_returns=1)
        job, attempt = running.pop(first)
        try:
            refusal, masks = ray.get(first)
        except ray.exceptions.RayError as error:
            if attempt < ATTEMPTS:
                waiting.insert(0, (job, attempt + 1))
                continue
            refusal, masks = str(error).strip().splitlines()[-1], b""
        done += 1
        if refusal:
            failures.append((job[0], refusal))
        else:
            with replacing(job[1]) as scratch:
                scratch.write_bytes(masks)
        report(done, len(jobs), job[0].name)
    return failures


def _sources(order: Order) -> tuple[str, ...]:
    return (order.autoencoder, *order.taggers)


def steer_bytes(name: str, song: bytes, networks: Files, order: Order) -> tuple[str, bytes]:
    """One song, on a worker: why it was refused or nothing, and the mask file's bytes."""
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        places = {}
        for number, (source, (file, data)) in enumerate(networks.items()):
            # A folder for each, as a tagger's name says whose tags it knows.
            place = here / str(number) / file
            place.parent.mkdir()
            place.write_bytes(data)
            places[source] = str(place)
        path = here / name
        path.write_bytes(song)
        local = replace(
            order,
            autoencoder=places[order.autoencoder],
            taggers=tuple(places[source] for source in order.taggers),
        )
        output = here / "song.masks"
        try:
            make_masks(path, output, local, lambda *_: None)
        except RtsepError as error:
            return str(error).replace(folder + "/", ""), b""
        return "", output.read_bytes()
