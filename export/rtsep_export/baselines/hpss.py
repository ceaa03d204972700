"""Harmonic-percussive separation by median filters.

D. Fitzgerald, "Harmonic/percussive separation using median filtering", DAFx 2010, as
`librosa.decompose.hpss` has it: soft masks of power 2, kernels of 31 bins and frames.
Its two signals serve as the estimate of every stem: each stem takes the side that suits
it better on average over the data set, which is in the baseline's favour.
"""

import librosa
import numpy as np
import numpy.typing as npt

Audio = npt.NDArray[np.float32]

N_FFT = 4096
HOP = 1024
SIDES = ("percussive", "harmonic")


def separate(mix: Audio, sample_rate: int) -> dict[str, Audio]:
    """Percussive and harmonic part, shaped as the mix (channels, frames)."""
    n = mix.shape[1]
    spectrum = librosa.stft(mix, n_fft=N_FFT, hop_length=HOP)
    harmonic, percussive = np.empty_like(spectrum), np.empty_like(spectrum)
    for channel, bins in enumerate(spectrum):
        harmonic[channel], percussive[channel] = librosa.decompose.hpss(bins)
    return {
        "percussive": librosa.istft(percussive, hop_length=HOP, length=n),
        "harmonic": librosa.istft(harmonic, hop_length=HOP, length=n),
    }
