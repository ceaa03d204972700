"""Masks of a song that plays on JACK: found by its sound, followed over a seek."""

from pathlib import Path

import numpy as np
import pytest

from rtsep.fingerprint import fingerprint
from rtsep.live.session import Session, same_structure
from rtsep.mask_file import write_masks
from tests.rtsep.live.rig import RATE, live_rig
from tests.rtsep.test_fingerprint import song

PORTS = ("gated_L", "gated_R", "rest_L", "rest_R", "monitor_L", "monitor_R")
HOP, N_FFT = 480, 1024
LATENCY = 256


@pytest.fixture(scope="module")
def gig(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """Masks that let all of a song through in its odd seconds, and the song."""
    audio = song(30.0)
    frames = audio.shape[1] // HOP + 1
    odd = (np.arange(frames) * HOP // RATE) % 2 == 1
    mask = np.repeat(odd[:, None].astype(np.float32), N_FFT // 2 + 1, axis=1)
    path = tmp_path_factory.mktemp("masks") / "song.masks"
    write_masks(
        path,
        {"gated": mask},
        fingerprint(audio, RATE),
        sample_rate=RATE,
        samples=audio.shape[1],
        n_fft=N_FFT,
        hop=HOP,
        settings={},
    )
    return path, audio


def gated_share(recorded: np.ndarray, song_at: int) -> tuple[float, float]:
    """How much of the mix is in the stem in odd and in even seconds, edges left out."""
    stem, mix = recorded[0], recorded[0] + recorded[2]
    second = (np.arange(len(stem)) - LATENCY + song_at) / RATE
    inside = np.abs(second % 1.0 - 0.5) < 0.42
    shares = [
        float((stem[part] ** 2).sum() / (mix[part] ** 2).sum())
        for part in (inside & (second % 2 >= 1), inside & (second % 2 < 1))
    ]
    return shares[0], shares[1]


def test_masks_take_no_model_beside_them() -> None:
    with pytest.raises(ValueError, match="no model and no query"):
        Session(masks="a.masks", model="live")
    assert not same_structure(Session(), Session(masks="a.masks"))
    assert not same_structure(Session(masks="b.masks"), Session(masks="a.masks"))


def test_the_stem_follows_the_song_over_a_seek(gig: tuple[Path, np.ndarray]) -> None:
    path, audio = gig
    first, second = 3 * RATE, 20 * RATE
    played = np.concatenate(
        [audio[:, first : first + 5 * RATE], audio[:, second : second + 5 * RATE]], axis=1
    )
    session = Session(masks=str(path), transcriber="none")
    with live_rig(session) as rig:
        rig.until_playing()
        with rig.probe(played, PORTS) as probe:
            probe.connect(rig.client)
            begin = probe.play(loop=False)
            probe.wait(begin + 10 * RATE)
            recorded = probe.read(begin, 10 * RATE)
    # The stems sum to the mix all along, and latency is that of any model.
    total = recorded[0] + recorded[2]
    np.testing.assert_allclose(total[LATENCY:], played[0, : len(total) - LATENCY], atol=2e-6)
    for start, song_at in ((2, first + 2 * RATE), (7, second + 2 * RATE)):
        part = recorded[:, start * RATE : (start + 3) * RATE]
        odd, even = gated_share(part, song_at)
        assert odd > 0.98
        assert even < 0.02
    # Before the place is known, and while it is lost, all is in the rest.
    assert not recorded[0, : RATE // 2].any()
    lost = recorded[0, round(5.9 * RATE) : round(6.2 * RATE)]
    assert not lost.any()


def test_jacks_transport_tells_the_place_to_the_sample(gig: tuple[Path, np.ndarray]) -> None:
    """Noise has no place by its sound; the masks follow the transport, also over a seek."""
    import jack

    path, _ = gig
    noise = (0.1 * np.random.default_rng(0).standard_normal((2, 9 * RATE))).astype(np.float32)
    session = Session(masks=str(path), transcriber="none")
    with live_rig(session) as rig:
        rig.until_playing()
        client = jack.Client("transport", no_start_server=True, servername=rig.server.name)
        client.activate()
        try:
            with rig.probe(noise, PORTS) as probe:
                probe.connect(rig.client)
                begin = probe.play(loop=False)
                probe.wait(begin + RATE)
                client.transport_frame = 5 * RATE
                client.transport_start()
                probe.wait(begin + 4 * RATE)
                client.transport_frame = 12 * RATE
                probe.wait(begin + 8 * RATE)
                recorded = probe.read(begin, 8 * RATE)
        finally:
            client.transport_stop()
            client.close()
    level = np.sqrt(np.convolve(recorded[0] ** 2, np.ones(480) / 480, "same"))
    edges = np.flatnonzero(np.diff((level > 0.05).astype(int)))
    edges = edges[np.diff(edges, prepend=-RATE) > RATE // 20]
    # Of full seconds; where it begins and where it jumps there may be others.
    rolling = edges[(edges > 2.1 * RATE) & (edges < 3.95 * RATE)]
    after = edges[(edges > 5.1 * RATE) & (edges < 7.95 * RATE)]
    for found, least in ((rolling, 1), (after, 2)):
        assert len(found) >= least
        np.testing.assert_allclose(np.diff(found), RATE, atol=2 * HOP)
    assert not recorded[0, : RATE // 2].any()
