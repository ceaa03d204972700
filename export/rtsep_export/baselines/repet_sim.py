"""Repeating background and varying foreground by the similarity of frames.

Z. Rafii and B. Pardo, "Music/voice separation using the similarity matrix", ISMIR 2012:
each frame is replaced by the median of the frames most like it (cosine, at least two
seconds away), never above the mix; what the mix has beyond that is the foreground
(their eqs 4 and 5, a soft mask min(W, V) / V).  Similarity is taken of both channels'
mean magnitude; masks are the channels' own.  The number of similar frames is librosa's
default.  Each stem takes the side that suits it better on average over the data set,
which is in the baseline's favour.
"""

import librosa
import numpy as np
import numpy.typing as npt

Audio = npt.NDArray[np.float32]

N_FFT = 4096
HOP = 1024
APART_S = 2.0
SIDES = ("background", "foreground")


def separate(mix: Audio, sample_rate: int) -> dict[str, Audio]:
    """Background and foreground, shaped as the mix (channels, frames)."""
    n = mix.shape[1]
    spectrum = librosa.stft(mix, n_fft=N_FFT, hop_length=HOP)
    magnitude = np.abs(spectrum)
    frames = magnitude.shape[-1]
    width = min(round(APART_S * sample_rate / HOP), (frames - 1) // 2 - 1)
    similar = librosa.segment.recurrence_matrix(
        magnitude.mean(axis=0) + 1e-12, width=max(width, 1), metric="cosine", sparse=True
    )
    background = np.empty_like(spectrum)
    for channel, bins in enumerate(magnitude):
        repeating = librosa.decompose.nn_filter(bins, rec=similar, aggregate=np.median)
        mask = np.minimum(bins, repeating) / np.maximum(bins, 1e-12)
        background[channel] = mask * spectrum[channel]
    repeating = librosa.istft(background, hop_length=HOP, length=n)
    return {"background": repeating, "foreground": mix - repeating}
