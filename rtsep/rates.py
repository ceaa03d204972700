"""Sample rates the engine runs at natively, and how sizes scale with them.

Bundles and presets state their sizes in samples at `REFERENCE_RATE`.  Analysis
windows double at 88.2 and 96 kHz so that their length in seconds, and with it the
frequency resolution, stays put; synthesis windows and hops do not, so that the
latency dial reads the same number of samples at every rate.
"""

REFERENCE_RATE = 48_000
NATIVE_RATES = (44_100, 48_000, 88_200, 96_000)
FILE_RATE_RANGE = (8_000, 192_000)


def rate_factor(sample_rate: int) -> int:
    """How many times longer an analysis window is at `sample_rate` (1 or 2).

    Raises
    ------
    ValueError
        `sample_rate` is not one of `NATIVE_RATES`.
    """
    if sample_rate not in NATIVE_RATES:
        raise ValueError(f"sample rate {sample_rate} Hz; expected one of {NATIVE_RATES}")
    return 2 if sample_rate > 64_000 else 1


def native_rate(sample_rate: int) -> int:
    """The native rate at which audio of `sample_rate` Hz is processed.

    A native rate maps to itself, its divisors to its own family (22.05 → 44.1 kHz,
    16 → 48 kHz), and anything above to 88.2 or 96 kHz.
    """
    if sample_rate in NATIVE_RATES:
        return sample_rate
    family = 44_100 if sample_rate % 11_025 == 0 else 48_000
    return family if sample_rate <= 64_000 else 2 * family
