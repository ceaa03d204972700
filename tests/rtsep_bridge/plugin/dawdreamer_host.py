"""Renders through the plugin in DawDreamer, in a process of its own.

``python dawdreamer_host.py PLUGIN MIX.npy OUT SETTINGS RATE:BLOCK...`` writes
OUT-RATE-BLOCK.npz for each: all outputs, and the latency that the host was told.  SETTINGS is
a JSON object of parameters' names and their values from 0 to 1.
"""

import json
import sys
from typing import Any

import dawdreamer
import numpy as np


def render(
    plugin: str, mix: Any, settings: dict[str, float], rate: int, block: int
) -> tuple[Any, int]:
    engine = dawdreamer.RenderEngine(rate, block)
    processor = engine.make_plugin_processor("rtsep", plugin)
    numbers = {entry["name"]: entry["index"] for entry in processor.get_parameters_description()}
    for name, value in settings.items():
        processor.set_parameter(numbers[name], value)
    player = engine.make_playback_processor("mix", mix)
    engine.load_graph([(player, []), (processor, ["mix"])])
    engine.render(mix.shape[1] / rate)
    return engine.get_audio()[:, : mix.shape[1]], processor.get_latency_samples()


def main() -> None:
    plugin, mix, out, settings, *wanted = sys.argv[1:]
    samples = np.load(mix)
    for pair in wanted:
        rate, block = map(int, pair.split(":"))
        audio, latency = render(plugin, samples, json.loads(settings), rate, block)
        np.savez(f"{out}-{rate}-{block}.npz", audio=audio, latency=latency)


if __name__ == "__main__":
    main()
