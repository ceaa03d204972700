"""Manifests: what is written is what is read, and contradictions are refused."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from rtsep.bands import band_edges
from rtsep.errors import BundleError
from rtsep.manifest import (
    FORMAT_VERSION,
    MAX_BANDS,
    Chunk,
    FrontEnd,
    Manifest,
    Taps,
    Tensor,
    band_count,
)
from rtsep.manifest_checks import decode, encode
from tests.rtsep import models

SEPARATOR = models.bundle(models.constant_masks()).manifest
TRANSCRIBER = models.bundle(models.transcriber()).manifest
AUDIO = models.bundle(models.fir_audio()).manifest
QUERY, EMBED, SYNTHESISE = (models.bundle(data).manifest for data in models.query_model().values())
LIVE_QUERY = models.bundle(models.live_query()).manifest
STEERED_BY = {"stems": (), "front_ends": (), "domain": "audio", "inputs": (), "outputs": ()}
PLAIN = Chunk(chunk=8192, left=0, right=0, crossfade=0)
AUTOENCODER = models.make_manifest(task="reconstruct", hop=8, latent=64, state=PLAIN, **STEERED_BY)
TAGGER = models.make_manifest(
    task="tag", hop=1, tags=("guitar", "no vocals"), state=PLAIN, **STEERED_BY
)
EVERY = (
    *(SEPARATOR, TRANSCRIBER, AUDIO, QUERY, EMBED, SYNTHESISE, LIVE_QUERY),
    *(AUTOENCODER, TAGGER),
)


@pytest.mark.parametrize("manifest", EVERY, ids=lambda m: m.task + m.domain)
def test_round_trip(manifest: Manifest) -> None:
    assert decode(encode(manifest)) == manifest


def fields_of(manifest: Manifest) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.json.decode(encode(manifest))
    return fields


def refusal(fields: object) -> str:
    with pytest.raises(BundleError) as caught:
        decode(msgspec.json.encode(fields))
    return str(caught.value)


def test_newer_and_older_versions_say_what_to_do() -> None:
    fields = fields_of(SEPARATOR)
    newer = refusal(fields | {"format": FORMAT_VERSION + 1, "field_of_the_future": 1})
    assert f"version {FORMAT_VERSION + 1}" in newer
    assert "update rtsep" in newer
    assert "export the bundle again" in refusal(fields | {"format": 0})


@pytest.mark.parametrize("text", ["", "{", "null", "[]", '{"format": "1"}', '{"format": 1e400}'])
def test_text_that_is_no_manifest(text: str) -> None:
    with pytest.raises(BundleError, match="cannot be read"):
        decode(text)


@pytest.mark.parametrize("name", sorted(fields_of(SEPARATOR)))
def test_every_field_has_a_type(name: str) -> None:
    fields = fields_of(SEPARATOR)
    with pytest.raises(BundleError):
        decode(msgspec.json.encode(fields | {name: {"wrong": True}}))


def test_missing_and_unknown_fields() -> None:
    fields = fields_of(SEPARATOR)
    assert "unknown field `extra`" in refusal(fields | {"extra": 1})
    del fields["licence"]
    assert "missing required field `licence`" in refusal(fields)


def changed(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda fields: fields.update(changes)


def front_end(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda fields: fields["front_ends"][0].update(changes)


def state(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda fields: fields["state"].update(changes)


@pytest.mark.parametrize(
    ("manifest", "change", "found"),
    [
        (SEPARATOR, changed(sample_rate=32_000), "sample rate 32000"),
        (SEPARATOR, changed(name="../evil"), "name"),
        (SEPARATOR, changed(name="Two\nlines"), "name"),
        (SEPARATOR, changed(licence=""), "licence"),
        (SEPARATOR, changed(version="1"), "version"),
        (SEPARATOR, changed(hop=0), "hop"),
        (SEPARATOR, changed(hop=1 << 30), "hop"),
        (SEPARATOR, changed(lookahead=-1), "lookahead"),
        (SEPARATOR, changed(domain="notes"), "separate of notes"),
        (SEPARATOR, changed(domain="audio"), "audio in and out by taps"),
        (SEPARATOR, changed(stems=["other"]), "1 stems"),
        (SEPARATOR, changed(stems=["bass", "bass", "other"]), "two stems of one name"),
        (SEPARATOR, changed(stems=["bass/../..", "other"]), "stems"),
        (SEPARATOR, changed(front_ends=[]), "no front end"),
        (SEPARATOR, changed(description="\x1b[31mred"), "control characters"),
        (SEPARATOR, state(dilations=[]), "no layers"),
        (SEPARATOR, state(taps=1 << 17), "a history of"),
        (SEPARATOR, state(type="rnn"), "rnn"),
        (SEPARATOR, front_end(n_fft=1000), "an FFT of 1000"),
        (SEPARATOR, front_end(n_fft=32), "an FFT of 32"),
        (SEPARATOR, front_end(synthesis=255), "a bad window"),
        (SEPARATOR, front_end(synthesis=2048), "a bad window"),
        (SEPARATOR, front_end(min_hz=20_000.0), "upside down"),
        (SEPARATOR, front_end(values=[]), "values"),
        (SEPARATOR, front_end(values=["pan", "pan"]), "values"),
        (SEPARATOR, front_end(values=["phase"]), "phase"),
        (SEPARATOR, front_end(ratio=1.0), "ratio"),
        (SEPARATOR, front_end(min_width_hz=1e-300, ratio=1.0000001), "number of bands"),
        (TRANSCRIBER, changed(notes=[]), "no notes"),
        (TRANSCRIBER, changed(domain="mask"), "transcribe of mask"),
        (TRANSCRIBER, lambda f: f["notes"].append(f["notes"][0]), "two notes of one stem"),
        (TRANSCRIBER, lambda f: f["notes"][0].update(pitches=[]), "pitches"),
        (TRANSCRIBER, lambda f: f["notes"][0].update(pitches=[40, 40]), "pitches"),
        (TRANSCRIBER, lambda f: f["notes"][0].update(pitches=[128]), "pitches"),
        (
            TRANSCRIBER,
            lambda f: f["notes"][0].update(
                levels={"onset": 0.5, "frame_on": 0.1, "frame_off": 0.2}
            ),
            "frame levels upside down",
        ),
        (AUDIO, changed(hop=2), "a hop or front end"),
        (AUDIO, changed(lookahead=64), "a lookahead"),
        (AUDIO, state(crossfade=60), "over half a chunk"),
        (AUDIO, state(chunk=1 << 20), "a huge chunk"),
        (AUDIO, state(chunk=0), "chunk"),
        (SEPARATOR, changed(query=6), "a query vector of 6 values to separate"),
        (SEPARATOR, changed(task="query"), "a query vector of 0 values to query"),
        (SEPARATOR, changed(spectrogram={"n_fft": 64, "bins": 32}), "for the domain mask"),
        (LIVE_QUERY, changed(task="embed"), "embed of mask"),
        (LIVE_QUERY, changed(stems=["a", "b"]), "stems or notes of a live query"),
        (LIVE_QUERY, changed(query_space=""), "a query vector"),
        (LIVE_QUERY, changed(query_space="xyz"), "query_space"),
        (QUERY, changed(task="separate"), "a query vector of 2 values to separate"),
        (QUERY, changed(domain="mask"), "a spectrogram for the domain mask"),
        (QUERY, changed(query=0), "a query vector of 0 values"),
        (QUERY, changed(query=5000), "query"),
        (QUERY, changed(sample_rate=100), "sample rate 100"),
        (QUERY, changed(lookahead=2), "a front end or lookahead"),
        (QUERY, changed(spectrogram=None), "a spectrogram for the domain"),
        (QUERY, changed(hop=4096), "a spectrogram that cannot be"),
        (QUERY, lambda f: f["spectrogram"].update(bins=1026), "a spectrogram that"),
        (QUERY, lambda f: f["spectrogram"].update(n_fft=1 << 17), "a spectrogram that"),
        (QUERY, lambda f: f["notes"].append(f["notes"][0]), "2 parts"),
        (QUERY, lambda f: f["notes"][0].update(pitches=[60, 60]), "repeated pitches"),
        (QUERY, state(crossfade=2), "cross-faded chunk"),
        (QUERY, state(chunk=1 << 17), "huge"),
        (SYNTHESISE, changed(notes=[]), "a score without notes"),
        (AUTOENCODER, changed(latent=0), "latent vectors of 0 values"),
        (AUTOENCODER, changed(tags=["a"]), "1 tags to reconstruct"),
        (AUTOENCODER, changed(hop=3), "a chunk of 8192"),
        (AUTOENCODER, changed(sample_rate=100), "sample rate 100"),
        (AUTOENCODER, changed(domain="mask"), "reconstruct of mask"),
        (AUTOENCODER, state(left=8), "with a context"),
        (SEPARATOR, changed(latent=2), "latent vectors of 2 values"),
        (TAGGER, changed(tags=[]), "0 tags to tag"),
        (TAGGER, changed(tags=["a", "a"]), "two tags of one name"),
        (TAGGER, changed(tags=[""]), "tags"),
        (TAGGER, changed(stems=["a", "b"]), "stems or notes of a model to steer with"),
        (TAGGER, changed(lookahead=3), "a front end or lookahead"),
    ],
)
def test_contradictions(
    manifest: Manifest, change: Callable[[dict[str, Any]], None], found: str
) -> None:
    fields = fields_of(manifest)
    change(fields)
    assert found in refusal(fields)


def test_what_cannot_be_read_is_not_written() -> None:
    with pytest.raises(BundleError, match="sample rate"):
        encode(msgspec.structs.replace(SEPARATOR, sample_rate=1))


@pytest.mark.parametrize(
    ("min_hz", "max_hz", "min_width_hz", "ratio"),
    [
        (30.0, 16_000.0, 60.0, 1.25),
        (0.0, 20_000.0, 21.5, 1.06),
        (-20.0, 24_000.0, 40.0, 4.0),
        (20.0, 18_000.0, 10.0, 1.0293),
    ],
)
def test_band_count_is_that_of_the_edges(
    min_hz: float, max_hz: float, min_width_hz: float, ratio: float
) -> None:
    end = FrontEnd(
        n_fft=2048,
        synthesis=256,
        min_hz=min_hz,
        max_hz=max_hz,
        min_width_hz=min_width_hz,
        ratio=ratio,
        values=("level",),
    )
    assert band_count(end) == len(band_edges(min_hz, max_hz, min_width_hz, ratio)) - 1
    assert band_count(end) <= MAX_BANDS


def test_records_are_immutable() -> None:
    for record in (SEPARATOR, Taps(channels=1, taps=1, dilations=(1,)), Tensor(name="x", shape=())):
        with pytest.raises(AttributeError):
            record.name = "other"  # type: ignore[misc, union-attr]
    assert hash(Chunk(chunk=1, left=0, right=0, crossfade=0))
