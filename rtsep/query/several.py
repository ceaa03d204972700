"""Is there more than one instrument in a clip?  A small network that ships says so."""

import numpy as np
import numpy.typing as npt

from rtsep.backend import Session
from rtsep.bundle import load_bundle, of_task, shipped_bundles
from rtsep.resample import mono_at

NAME = "several"


def likely_several(audio: npt.NDArray[np.float32], sample_rate: int) -> float | None:
    """How likely a clip ``[channels, samples]`` holds several instruments, 0 to 1.

    The mean over windows of three seconds; a shorter clip is heard over and over.  None
    where the network does not ship.
    """
    if NAME not in shipped_bundles():
        return None
    bundle = of_task(load_bundle(NAME), "tag")
    session = Session(bundle, device="cpu")
    given = session.inputs["audio"][0]
    mono = mono_at(audio, sample_rate, bundle.manifest.sample_rate)
    count = max(round(len(mono) / len(given)), 1)
    found = []
    for start in np.linspace(0, max(len(mono) - len(given), 0), count).astype(int):
        given[:] = np.resize(mono[start : start + len(given)], given.shape)
        session.run()
        found.append(float(session.outputs["tags"][0, 0]))
    return float(np.mean(found))
