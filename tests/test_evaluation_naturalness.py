"""Naturalness: what is presented to the models of listeners, our network for published weights, and absent models."""

from __future__ import annotations

import os
import pickle
import sys
from dataclasses import replace
from pathlib import Path

import librosa
import numpy as np
import numpy.typing as npt
import pytest
import torch

from authentic_dubber.evaluation import nisqa_network
from authentic_dubber.evaluation.dnsmos import P808_FILE, P835_FILE, SEGMENT, TITLES, Dnsmos, mel_features, scores
from authentic_dubber.evaluation.dnsmos import segments as dnsmos_segments
from authentic_dubber.evaluation.listening import LISTENING_DBFS, SHORTEST, Unhearable, presented
from authentic_dubber.evaluation.measured import Measured, Sample
from authentic_dubber.evaluation.naturalness import naturalness_measures
from authentic_dubber.evaluation.nisqa import NAME, FrontEnd, NisqaTts
from authentic_dubber.evaluation.nisqa_network import ARCHITECTURE, BANDS, WIDTH, Nisqa, load, published_name
from authentic_dubber.levels import level_dbfs

RATE = 22_050
FRONT = FrontEnd(None, 4096, 0.01, 0.02, BANDS, 8000.0, WIDTH, 6000)
TOY = {"channels": (2, 3, 4), "features": 5, "hidden": 6}
MODELS = os.environ.get("AUTHENTIC_DUBBER_MODELS")
with_models = pytest.mark.skipif(MODELS is None, reason="AUTHENTIC_DUBBER_MODELS names no folder of published models")


def clip(key: str = "a", seconds: float = 0.8, seed: int = 3, gain: float = 0.1, rate: int = RATE) -> Sample:
    """A buzz whose loudness comes and goes, in a little noise."""
    time = np.arange(round(seconds * rate)) / rate
    buzz = sum(np.sin(2 * np.pi * 140 * k * time) / k for k in range(1, 12))
    noise = np.random.default_rng(seed).standard_normal(len(time))
    wave = gain * (buzz * (1 + np.sin(2 * np.pi * 3 * time)) / 2 + 0.05 * noise)
    return Sample(key, "buzz", "en", "toy/v0", wave.astype(np.float32), rate)


def louder(sample: Sample, gain: float) -> Sample:
    return replace(sample, wave=(sample.wave * np.float32(gain)).astype(np.float32))


def toy_network(seed: int = 0) -> Nisqa:
    """Statistics of the norms are random too: at their defaults a norm that was left out would not be noticed."""
    torch.manual_seed(seed)
    network = Nisqa(**TOY)
    for norm in network.norms:
        assert isinstance(norm, torch.nn.BatchNorm2d)
        torch.nn.init.normal_(norm.running_mean, std=0.1)
        torch.nn.init.uniform_(norm.running_var, 0.5, 2.0)
    return network.eval().requires_grad_(False)


def published(network: Nisqa) -> dict[str, torch.Tensor]:
    return {published_name(name): value for name, value in network.state_dict().items()}


def settings() -> dict[str, object]:
    sizes = {"cnn_c_out_1": 2, "cnn_c_out_2": 3, "cnn_c_out_3": 4, "cnn_fc_out_h": 5, "td_lstm_h": 6}
    front = {
        "ms_sr": None,
        "ms_n_fft": 4096,
        "ms_hop_length": 0.01,
        "ms_win_length": 0.02,
        "ms_fmax": 8000,
        "ms_seg_hop_length": 1,
        "ms_max_segments": 6000,
    }
    return {**ARCHITECTURE, **sizes, **front}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "nisqa_tts.tar"
    torch.save({"args": settings(), "model_state_dict": published(toy_network())}, path)
    return path


# Presenting a clip


@pytest.mark.parametrize("gain", [0.01, 1.0, 7.3])
def test_every_clip_is_heard_at_one_level(gain: float) -> None:
    heard = presented(louder(clip(), gain))
    assert level_dbfs(heard) == pytest.approx(LISTENING_DBFS, abs=1e-3)
    # Both were rounded to float32 once.
    np.testing.assert_allclose(heard, presented(clip()), atol=1e-6)


def test_a_change_of_rate_keeps_length_and_low_tones() -> None:
    time = np.arange(RATE) / RATE
    tone = replace(clip(), wave=np.sin(2 * np.pi * 440 * time).astype(np.float32))
    heard = presented(tone, 16_000)
    assert len(heard) == 16_000
    assert np.argmax(np.abs(np.fft.rfft(heard))) == 440


@pytest.mark.parametrize(
    ("wave", "reason"),
    [
        (np.zeros(RATE), "silent"),
        (np.full(RATE, 1e-6), "silent"),
        (np.ones(int(RATE * SHORTEST) - 5), "or more, got"),
        (np.ones((2, RATE)), "shape"),
        (np.full(RATE, np.nan), "finite"),
        (np.zeros(0), "or more, got"),
    ],
)
def test_what_nobody_could_rate_is_unhearable(wave: npt.NDArray[np.float64], reason: str) -> None:
    with pytest.raises(Unhearable, match=reason):
        presented(replace(clip(), wave=wave.astype(np.float32)))


# DNSMOS


@pytest.mark.parametrize(
    ("samples", "count"),
    [
        (SEGMENT, 1),
        (159_999, 1),
        (160_000, 1),  # ten seconds: a second segment would end at 10.01 s
        (175_999, 1),
        (176_000, 2),
        (320_000, 11),
        (SEGMENT // 2, 1),  # 4.505 s, doubled to just one segment
        (48_000, 3),  # 3 s, doubled to 12 s
    ],
)
def test_segments_are_counted_by_whole_seconds(samples: int, count: int) -> None:
    wave = np.arange(samples, dtype=np.float32)
    parts = dnsmos_segments(wave)
    assert parts.shape == (count, SEGMENT)
    for i, part in enumerate(parts):
        np.testing.assert_array_equal(part, (np.arange(SEGMENT) + 16_000 * i) % samples)


def test_mel_features_say_where_a_tone_is_and_not_how_loud() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(SEGMENT) / 16_000).astype(np.float32)
    features = mel_features(tone)
    assert features.shape == (900, 120)
    # The loudest cell lies 0 dB below itself, and the floor 80 dB.
    assert features.max() == pytest.approx(1.0, abs=1e-6)
    assert features.min() >= -1.0 - 1e-6
    centres = librosa.mel_frequencies(120 + 2, fmax=8000)[1:-1]
    # A bin is 50 Hz wide, a band there 32 Hz.
    assert centres[np.bincount(features.argmax(1)).argmax()] == pytest.approx(1000, abs=50)
    np.testing.assert_allclose(mel_features(tone / 128), features, atol=1e-4)


def test_scores_follow_the_published_curves() -> None:
    seen: list[tuple[int, ...]] = []

    def p835(batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        seen.append(batch.shape)
        return np.full((len(batch), 3), 3.0, dtype=np.float32)

    def p808(batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        seen.append(batch.shape)
        return np.arange(len(batch), dtype=np.float32)[:, None]

    found = scores(presented(clip(seconds=3.0, rate=16_000)), p835, p808)
    assert seen == [(3, SEGMENT), (3, 900, 120)]
    # a * 9 + b * 3 + c by hand; the mean of 0, 1, 2.
    by_hand = {"dnsmos_ovrl": 2.78345392, "dnsmos_sig": 2.91200747, "dnsmos_bak": 3.24640004, "dnsmos_p808": 1.0}
    assert found == pytest.approx(by_hand, abs=1e-8)


def test_the_mean_is_over_opinions_and_not_over_raw_outputs() -> None:
    """The curve is bent, so the two differ."""

    def p835(batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return np.repeat(np.array([[1.0], [3.0], [5.0]], dtype=np.float32), 3, axis=1)

    found = scores(presented(clip(seconds=3.0, rate=16_000)), p835, lambda mels: np.ones((len(mels), 1), np.float32))
    # -0.06766283 * (1 + 9 + 25) / 3 + 1.11546468 * 3 + 0.04602535
    assert found["dnsmos_ovrl"] == pytest.approx(2.60301971, abs=1e-7)


# The network of NISQA


def toy_segments(n: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(n, BANDS, WIDTH, generator=torch.Generator().manual_seed(seed)) * 20 - 50


def test_the_network_gives_one_number_and_the_same_again() -> None:
    network, heard = toy_network(), toy_segments(9)
    assert network.frames(heard).shape == (9, TOY["features"])
    assert network(heard).shape == ()
    assert torch.equal(network(heard), toy_network()(heard))
    assert network(heard) != network(heard.flip(0)), "blind to the order of time"


def test_a_segment_is_convolved_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    network, heard = toy_network(), toy_segments(23)
    together = network.frames(heard)
    alone = torch.cat([network.frames(one[None]) for one in heard])
    # Sums of different kernels, of about 5 features near 1.
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    whole = network(heard)
    monkeypatch.setattr(nisqa_network, "AT_ONCE", 4)
    torch.testing.assert_close(network(heard), whole, atol=1e-5, rtol=1e-5)


def test_the_recurrence_ends_at_both_ends_of_the_clip() -> None:
    """Against a recurrence written out step by step, in double precision."""
    network, heard = toy_network(), toy_segments(7)
    frames = network.frames(heard).double().numpy()
    states = {name: value.double().numpy() for name, value in network.state_dict().items()}

    def last(inputs: npt.NDArray[np.float64], suffix: str) -> npt.NDArray[np.float64]:
        w, u, b, c = (states[f"recurrence.{k}_l0{suffix}"] for k in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        h = cell = np.zeros(TOY["hidden"])
        for x in inputs:
            i, f, g, o = np.split(w @ x + u @ h + b + c, 4)
            i, f, o = (1 / (1 + np.exp(-gate)) for gate in (i, f, o))
            cell = f * cell + i * np.tanh(g)
            h = o * np.tanh(cell)
        return h

    both = np.concatenate([last(frames, ""), last(frames[::-1], "_reverse")])
    expected = states["opinion.weight"][0] @ both + states["opinion.bias"][0]
    # Single against double precision over seven steps.
    assert float(network(heard)) == pytest.approx(float(expected), abs=1e-5)


def test_the_real_size_has_the_published_number_of_weights() -> None:
    network = Nisqa()
    convolutions = (9 * 16 + 16) + (9 * 16 * 32 + 32) + (9 * 32 * 64 + 64) + 3 * (9 * 64 * 64 + 64)
    norms, project = 2 * (16 + 32 + 4 * 64), 20 * 64 * 6 * 2 + 20
    recurrence, opinion = 2 * 4 * 128 * (20 + 128 + 2), 2 * 128 + 1
    expected = convolutions + norms + project + recurrence + opinion
    assert sum(p.numel() for p in network.parameters()) == expected == 303_925
    assert network.frames(toy_segments(2)).shape == (2, 20)


# Its front end


def test_segments_slide_frame_by_frame_over_the_whole_clip() -> None:
    wave = presented(clip())
    heard = FRONT.segments(wave, RATE)
    assert heard.shape == (1 + len(wave) // 220 - 14, BANDS, WIDTH)
    np.testing.assert_array_equal(heard[1:, :, :-1], heard[:-1, :, 1:])


def test_a_frame_is_the_decibels_of_mel_amplitudes() -> None:
    """Against one windowed Fourier transform, worked out by hand for a frame far from both ends."""
    wave = presented(clip())
    frame, hop, window = 40, 220, 441
    middle = frame * hop
    # A window of odd length is not centred on a sample: its transform is padded by one sample more after it.
    shape = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    part = wave[middle - window // 2 - 1 : middle + window // 2].astype(np.float64) * shape
    bank = librosa.filters.mel(sr=RATE, n_fft=4096, n_mels=BANDS, fmax=8000)
    expected = 20 * np.log10(np.maximum(bank @ np.abs(np.fft.rfft(part, 4096)), 1e-4))
    # 0.01 dB: single precision, and nothing here lies near the floor.
    np.testing.assert_allclose(FRONT.segments(wave, RATE)[frame, :, 0], expected, atol=0.01)


@pytest.mark.parametrize(("seconds", "rate", "reason"), [(61, 16_000, "got 61"), (1, 8000, "16000 Hz or more")])
def test_what_the_network_was_not_made_for_is_refused(seconds: float, rate: int, reason: str) -> None:
    with pytest.raises(Unhearable, match=reason):
        FRONT.segments(np.ones(round(seconds * rate), dtype=np.float32), rate)


# From clips to figures


def test_a_gain_changes_no_figure(weights: Path) -> None:
    quiet, loud = louder(clip("quiet"), 0.05), louder(clip("loud"), 4.0)
    (measured,) = NisqaTts(weights)([quiet, loud, clip("other", seed=8, seconds=1.1)])
    rows = {key: row.values[0] for key, row in measured.rows.items()}
    # A float32 of the wave is rounded by a part in 10 million, so decibels by a millionth.
    assert rows["quiet"] == pytest.approx(rows["loud"], abs=1e-4)
    assert abs(rows["other"] - rows["loud"]) > 10 * abs(rows["quiet"] - rows["loud"])


def test_figures_do_not_depend_on_the_company(weights: Path) -> None:
    measure, samples = NisqaTts(weights), [clip("a"), clip("b", 1.3, 5), clip("c", 0.5, 6)]
    (together,), (backwards,) = measure(samples), measure(samples[::-1])
    alone = {sample.id: measure([sample])[0].rows[sample.id] for sample in samples}
    assert dict(together.rows) == dict(backwards.rows) == alone


def test_a_clip_that_cannot_be_rated_is_missing_with_its_reason(weights: Path) -> None:
    silent = replace(clip("silent"), wave=np.zeros(RATE, dtype=np.float32))
    (measured,) = NisqaTts(weights)([silent, clip("a"), clip("short", 0.1), clip("narrow", rate=8000)])
    assert measured.name == NAME
    assert list(measured.rows) == ["a"]
    assert measured.missing.keys() == {"silent", "short", "narrow"}
    assert "silent" in measured.missing["silent"]
    assert Measured.from_dict(measured.to_dict()) == measured


def test_nothing_to_measure_is_no_error(weights: Path) -> None:
    (measured,) = NisqaTts(weights)([])
    assert not measured.measured


# Weights


def test_weights_return_under_their_published_names(weights: Path) -> None:
    network, stored = load(weights)
    assert not network.training
    assert stored == settings()
    assert torch.equal(network(toy_segments(5)), toy_network()(toy_segments(5)))


def test_other_weights_are_refused(tmp_path: Path) -> None:
    right, path = published(toy_network()), tmp_path / "weights.tar"
    lacking = {key: value for key, value in right.items() if key != "pool.model.linear.bias"}
    reshaped = right | {"pool.model.linear.bias": torch.zeros(5)}
    for wrong in (lacking, right | {"more": torch.zeros(1)}, reshaped):
        torch.save({"args": settings(), "model_state_dict": wrong}, path)
        with pytest.raises(ValueError, match="expected the weights of NISQA-TTS"):
            NisqaTts(path)([clip()])


@pytest.mark.parametrize(
    ("stored", "reason"),
    [
        ({"args": settings() | {"td": "self_att"}, "model_state_dict": {}}, "self_att"),
        (
            {"args": settings() | {"ms_seg_hop_length": 4}, "model_state_dict": published(toy_network())},
            "a frame apart",
        ),
        ({"model_state_dict": {}}, "args and model_state_dict"),
        (["not a checkpoint"], "args and model_state_dict"),
    ],
)
def test_another_network_is_refused(tmp_path: Path, stored: object, reason: str) -> None:
    torch.save(stored, tmp_path / "weights.tar")
    with pytest.raises(ValueError, match=reason):
        NisqaTts(tmp_path / "weights.tar")([clip()])


class Hostile:
    """Unpickled freely, it would make a folder."""

    def __init__(self, trace: Path) -> None:
        self._trace = str(trace)

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self._trace,)


def test_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    torch.save({"args": Hostile(tmp_path / "trace"), "model_state_dict": {}}, tmp_path / "weights.tar")
    with pytest.raises(pickle.UnpicklingError):
        NisqaTts(tmp_path / "weights.tar")([clip()])
    assert not (tmp_path / "trace").exists()


# Absent models


@pytest.mark.parametrize("models", [None, Path("nowhere")])
def test_without_models_nothing_is_measured_and_the_cure_is_named(models: Path | None) -> None:
    found = [measured for measure in naturalness_measures(models) for measured in measure([clip()])]
    assert {one.name for one in found} == {*TITLES, NAME}
    for one in found:
        assert not one.measured
        assert not one.missing
        assert one.note.startswith("not measured: ")
        assert "github.com" in one.note.rpartition("; ")[2]


def test_without_onnxruntime_dnsmos_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (P835_FILE, P808_FILE):
        (tmp_path / name).touch()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert all("pip install 'authentic-dubber[evaluate]'" in one.note for one in Dnsmos(tmp_path)([clip()]))


@pytest.mark.slow
@with_models
def test_published_models_hear_noise_but_no_gain() -> None:
    """A steady buzz is no speech, so only the order of scores is asked for: 0 dB of noise is heard by a wide margin."""
    pytest.importorskip("onnxruntime")
    assert MODELS is not None
    clean = clip("clean", 3.0)
    noise = np.random.default_rng(2).standard_normal(len(clean.wave)) * float(np.std(clean.wave))
    noisy = replace(clean, id="noisy", wave=(clean.wave + noise).astype(np.float32))
    samples = [clean, replace(louder(clean, 0.1), id="quiet"), noisy]
    found = {one.name: one for measure in naturalness_measures(Path(MODELS)) for one in measure(samples)}
    assert found.keys() == {*TITLES, NAME}
    for one in found.values():
        values = {key: row.values[0] for key, row in one.rows.items()}
        assert values["quiet"] == pytest.approx(values["clean"], abs=0.01)
        assert 0.0 < values["clean"] < 5.5
    background = {key: row.values[0] for key, row in found["dnsmos_bak"].rows.items()}
    assert background["noisy"] < background["clean"] - 0.5
