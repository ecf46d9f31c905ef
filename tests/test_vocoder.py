"""The vocoder room: one mel, generators that keep its length, files written whole, losses that measure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pytest
import scipy.signal
import torch
from torch import Tensor, nn

from vocoder.bigvgan import BigvganConfig, BigvganGenerator
from vocoder.checkpoint import AnyGenerator, load_generator, save_generator
from vocoder.discriminators import MultiPeriodDiscriminator
from vocoder.generator import InverseStft, IstftConfig, IstftGenerator, check_mel
from vocoder.harmonic import HarmonicConfig, HarmonicGenerator
from vocoder.hifigan import HifiganConfig, HifiganGenerator
from vocoder.losses import mel_distance, multi_resolution_stft, spectral_distance
from vocoder.mel import MelConfig, log_mel, magnitude
from vocoder.storage import whole_folder

MEL = MelConfig()
SMALL = MelConfig(sample_rate=8000, n_fft=256, win_samples=256, hop_samples=64, n_mels=20, f_max=4000)


def tone(hertz: float, samples: int, rate: int = MEL.sample_rate) -> Tensor:
    return 0.5 * torch.sin(2 * torch.pi * hertz * torch.arange(samples) / rate)[None]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def generators() -> list[AnyGenerator]:
    torch.manual_seed(0)
    return [
        IstftGenerator(IstftConfig.tiny(), MEL).eval(),
        HarmonicGenerator(HarmonicConfig.tiny(), MEL).eval(),
        HifiganGenerator(HifiganConfig.tiny(1), MEL).eval(),
        HifiganGenerator(HifiganConfig.tiny(2), MEL).eval(),
        BigvganGenerator(BigvganConfig.tiny(), MEL).eval(),
    ]


# The mel


@pytest.mark.parametrize("config", [MEL, SMALL, MelConfig(n_fft=2048, win_samples=1200, hop_samples=300, f_min=50)])
def test_log_mel_is_librosas_amplitude_mel_of_the_padded_wave(config: MelConfig) -> None:
    wave = noise(1, 30 * config.hop_samples).numpy()[0] * 0.1
    pad = (config.n_fft - config.hop_samples) // 2
    mel = librosa.feature.melspectrogram(
        y=np.pad(wave, pad, mode="reflect"),
        sr=config.sample_rate,
        n_fft=config.n_fft,
        hop_length=config.hop_samples,
        win_length=config.win_samples,
        center=False,
        power=1.0,
        n_mels=config.n_mels,
        fmin=config.f_min,
        fmax=config.f_max,
    )
    ours = log_mel(torch.from_numpy(wave)[None], config)[0].numpy()
    # Single precision in two FFTs, then a logarithm; the constant under the root adds less.
    np.testing.assert_allclose(ours, np.log(np.maximum(mel, config.floor)), atol=2e-4)


@pytest.mark.parametrize("hertz", [220.0, 1000.0, 5000.0])
def test_a_tone_is_loudest_in_the_band_around_its_frequency(hertz: float) -> None:
    centres = librosa.mel_frequencies(MEL.n_mels + 2, fmin=MEL.f_min, fmax=MEL.f_max)
    loudest = int(log_mel(tone(hertz, 22050), MEL)[0].mean(1).argmax())
    assert centres[loudest] <= hertz <= centres[loudest + 2]


def test_the_gradient_of_silence_is_finite() -> None:
    silence = torch.zeros(1, 4096, requires_grad=True)
    mel = log_mel(noise(1, 4096), MEL)
    (mel_distance(silence, mel, MEL) + multi_resolution_stft(silence, noise(1, 4096))).backward()
    assert silence.grad is not None and torch.isfinite(silence.grad).all()


def test_configs_that_differ_are_refused_by_name_with_both_values() -> None:
    check_mel(MEL, MelConfig())
    with pytest.raises(ValueError, match=r"expected f_max=8000.0, got f_max=11025.0"):
        check_mel(expected=MEL, got=MelConfig(f_max=11025.0))


# The inverse STFT


@pytest.mark.parametrize("config", [MEL, SMALL, MelConfig(n_fft=2048, win_samples=1200, hop_samples=300)])
def test_a_perfect_spectrum_returns_its_wave(config: MelConfig) -> None:
    """Magnitudes by `mel.magnitude`, phases by SciPy: the inverse undoes this room's own analysis, edges included."""
    samples = 20 * config.hop_samples
    wave = tone(config.sample_rate / 50, samples, config.sample_rate) + 0.1 * noise(1, samples)
    pad, side = (config.n_fft - config.hop_samples) // 2, config.n_fft - config.win_samples
    window = np.pad(scipy.signal.get_window("hann", config.win_samples), (side // 2, side - side // 2))
    padded = np.pad(wave[0].numpy().astype(np.float64), pad, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, config.n_fft)[:: config.hop_samples]
    phase = torch.from_numpy(np.angle(scipy.fft.rfft(frames * window, axis=1)).T.copy())[None].float()
    made = InverseStft(config)(torch.polar(magnitude(wave, config), phase))
    assert made.shape == wave.shape
    # The constant under the analysis' root lifts near-empty bins by up to 3e-5 each.
    torch.testing.assert_close(made, wave, atol=1e-4, rtol=0)


def test_windows_that_leave_gaps_are_refused() -> None:
    with pytest.raises(ValueError, match="cover every sample"):
        InverseStft(MelConfig(n_fft=256, win_samples=256, hop_samples=256))


# Generators


@pytest.mark.parametrize("frames", [1, 2, 37])
def test_every_generator_makes_a_hop_of_samples_per_frame(frames: int) -> None:
    for generator in generators():
        assert generator(noise(2, MEL.n_mels, frames)).shape == (2, frames * MEL.hop_samples)


def test_a_batch_item_sounds_as_it_does_alone() -> None:
    mel = noise(3, MEL.n_mels, 12)
    for generator in generators():
        torch.testing.assert_close(generator(mel)[1:2], generator(mel[1:2]), atol=1e-5, rtol=1e-4)


def test_a_mel_of_another_shape_is_refused() -> None:
    for generator in generators():
        for shape in [(MEL.n_mels, 5), (1, MEL.n_mels + 1, 5), (1, MEL.n_mels, 0)]:
            with pytest.raises(ValueError, match=r"expected a mel \(B, 80, T >= 1\), got shape"):
                generator(torch.zeros(shape))


def test_an_absurd_magnitude_neither_overflows_nor_poisons_the_gradient() -> None:
    generator = IstftGenerator(IstftConfig.tiny(), SMALL)
    nn.init.constant_(generator.head.bias, 1e4)
    wave = generator(noise(1, SMALL.n_mels, 5))
    wave.square().mean().backward()
    assert torch.isfinite(wave).all()
    assert all(torch.isfinite(weight.grad).all() for weight in generator.parameters() if weight.grad is not None)


def test_the_head_stays_in_single_precision_under_bfloat16() -> None:
    generator = IstftGenerator(IstftConfig.tiny(), SMALL)
    seen = []
    generator.head.register_forward_hook(lambda _, inputs, output: seen.extend([inputs[0].dtype, output.dtype]))
    widen = generator.get_submodule("blocks.0.widen")
    widen.register_forward_hook(lambda _, inputs, output: seen.append(output.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        wave = generator(noise(1, SMALL.n_mels, 5))
    assert seen == [torch.bfloat16, torch.float32, torch.float32] and wave.dtype == torch.float32


def test_the_seed_alone_decides_initial_weights_and_leaves_the_global_dice() -> None:
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    first, second = (IstftGenerator(IstftConfig.tiny(), SMALL, seed=seed) for seed in (5, 6))
    assert torch.rand(1) == expected
    torch.rand(7)
    again = IstftGenerator(IstftConfig.tiny(), SMALL, seed=5)
    torch.testing.assert_close(first.state_dict(), again.state_dict(), atol=0, rtol=0)
    assert not torch.equal(first.head.weight, second.head.weight)


def test_save_and_load_give_the_same_sound(tmp_path: Path) -> None:
    mel = noise(1, MEL.n_mels, 9)
    for place, generator in enumerate(generators()):
        save_generator(tmp_path / str(place), generator)
        loaded = load_generator(tmp_path / str(place), MEL)
        assert type(loaded) is type(generator) and loaded.mel_config == MEL and loaded.config == generator.config
        assert torch.equal(loaded(mel), generator(mel))


def test_half_precision_halves_the_file_and_hardly_the_sound(tmp_path: Path) -> None:
    generator = IstftGenerator(IstftConfig(dim=64, blocks=2), MEL).eval()
    save_generator(tmp_path / "full", generator)
    save_generator(tmp_path / "half", generator, half=True)
    full, half = ((tmp_path / name / "model.safetensors").stat().st_size for name in ("full", "half"))
    assert half < 0.52 * full  # names and shapes are not halved
    loaded = load_generator(tmp_path / "half")
    assert all(weight.dtype == torch.float32 for weight in loaded.parameters())
    mel = noise(1, MEL.n_mels, 20)
    with torch.no_grad():
        expected = generator(mel)
        difference = (loaded(mel) - expected).norm() / expected.norm()
    assert 0 < difference < 5e-3  # eleven bits a weight


def test_a_folder_can_be_saved_over(tmp_path: Path) -> None:
    first, second = (IstftGenerator(IstftConfig.tiny(), SMALL, seed=seed) for seed in (1, 2))
    save_generator(tmp_path / "voice", first)
    save_generator(tmp_path / "voice", second)
    torch.testing.assert_close(load_generator(tmp_path / "voice").state_dict(), second.state_dict(), atol=0, rtol=0)
    assert [path.name for path in tmp_path.iterdir()] == ["voice"]


def test_what_does_not_fit_is_refused_at_loading(tmp_path: Path) -> None:
    folder = tmp_path / "voice"
    with pytest.raises(FileNotFoundError, match="voice: expected a checkpoint folder"):
        load_generator(folder)
    save_generator(folder, IstftGenerator(IstftConfig.tiny(), MEL))
    with pytest.raises(ValueError, match="expected sample_rate=22050, got sample_rate=24000"):
        load_generator(folder, MelConfig(sample_rate=24000))
    config = json.loads((folder / "config.json").read_text())
    cases: list[tuple[dict[str, Any], str]] = [
        (
            {"kind": "wavenet"},
            "expected a generator of kind 'harmonic', 'istft', 'hifigan' or 'bigvgan', got 'wavenet'",
        ),
        ({"generator": {**config["generator"], "blocks": 3}}, "missing .*blocks.2"),
        ({"generator": {**config["generator"], "dim": 8}}, r"expected .* \(8.*got \(16"),
    ]
    for changed, message in cases:
        (folder / "config.json").write_text(json.dumps({**config, **changed}))
        with pytest.raises(ValueError, match=message):
            load_generator(folder)


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    save_generator(tmp_path / "voice", IstftGenerator(IstftConfig.tiny(), SMALL))
    before = (tmp_path / "voice" / "model.safetensors").read_bytes()
    with pytest.raises(OSError, match="disk full"), whole_folder(tmp_path / "voice") as filling:
        (filling / "model.safetensors").write_bytes(b"half")
        raise OSError("disk full")
    assert (tmp_path / "voice" / "model.safetensors").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["voice"]


# HiFi-GAN


@pytest.mark.parametrize(("shape", "million"), [("v1", 13.93), ("v2", 0.93), ("v3", 1.46)])
def test_hifigan_has_the_published_sizes(shape: str, million: float) -> None:
    """The paper's table 1 counts parameters; weight norm's own are not among them."""
    with torch.device("meta"):
        generator = HifiganGenerator(getattr(HifiganConfig, shape)(), MEL)
    assert sum(weight.numel() for weight in generator.parameters()) / 1e6 == pytest.approx(million, abs=0.01)


def test_hifigan_layers_have_the_official_names() -> None:
    with torch.device("meta"):
        first, third = (
            set(HifiganGenerator(config, MEL).state_dict()) for config in (HifiganConfig.v1(), HifiganConfig.v3())
        )
    for name in ["conv_pre", "conv_post", "ups.3", "resblocks.11.convs1.2", "resblocks.0.convs2.0"]:
        assert {f"{name}.weight", f"{name}.bias"} <= first
    assert {"resblocks.8.convs.1.weight", "ups.2.bias"} <= third
    assert len(first) == 2 * (2 + 4 + 12 * 6) and len(third) == 2 * (2 + 3 + 9 * 2)


def test_hifigans_last_activation_is_the_librarys_default_as_published() -> None:
    """The mean of the last level's blocks reaches `conv_post` through torch's own default slope, not the 0.1 inside."""
    generator = HifiganGenerator(HifiganConfig.tiny(), MEL).eval()
    made: list[Tensor] = []
    for block in generator.resblocks[-2:]:
        block.register_forward_hook(lambda _, inputs, output: made.append(output))
    generator.conv_post.register_forward_hook(lambda _, inputs, output: made.append(inputs[0]))
    generator(noise(1, MEL.n_mels, 4))
    first, second, entering = made
    assert (entering < 0).any()
    torch.testing.assert_close(entering, nn.LeakyReLU()((first + second) / 2))


def test_rates_that_miss_the_hop_are_refused() -> None:
    with pytest.raises(ValueError, match="rates that multiply to 64"):
        HifiganGenerator(HifiganConfig.tiny(), SMALL)


# Losses and critics


def test_spectral_distance_agrees_with_scipy() -> None:
    real, made, n_fft = 0.1 * noise(1, 4096), 0.1 * noise(1, 4096, seed=1), 512

    def spectrum(wave: Tensor) -> np.ndarray:
        padded = np.pad(wave[0].double().numpy(), n_fft // 2, mode="reflect")
        transform = scipy.signal.ShortTimeFFT(scipy.signal.get_window("hann", n_fft), n_fft // 4, fs=1.0)
        first = n_fft // 2 // (n_fft // 4)
        return np.abs(transform.stft(padded, p0=first, p1=first + 4096 // (n_fft // 4) + 1))

    wanted, got = spectrum(real), spectrum(made)
    distance = spectral_distance(made, real, n_fft)
    assert float(distance.convergence) == pytest.approx(np.linalg.norm(wanted - got) / np.linalg.norm(wanted), rel=1e-4)
    assert float(distance.log_magnitude) == pytest.approx(np.abs(np.log(wanted) - np.log(got)).mean(), rel=1e-3)


def test_losses_vanish_for_equal_waves_and_grow_with_distance() -> None:
    wave, other = tone(440, 4096), 0.1 * noise(1, 4096)
    mel = log_mel(wave, MEL)
    stft = [float(multi_resolution_stft(wave + share * other, wave)) for share in (0, 0.1, 1)]
    mels = [float(mel_distance(wave + share * other, mel, MEL)) for share in (0, 0.1, 1)]
    for values in (stft, mels):
        assert values[0] == 0 and 0 < values[1] < values[2]


def test_doubling_a_wave_costs_log_two() -> None:
    """Away from the floors, log magnitude distance is exact: every bin is ln 2 louder, and convergence is 1."""
    wave = noise(1, 8192)
    distance = spectral_distance(2 * wave, wave, 1024)
    assert float(distance.convergence) == pytest.approx(1, rel=1e-5)
    assert float(distance.log_magnitude) == pytest.approx(np.log(2), rel=1e-4)


def test_waves_of_different_shapes_are_not_compared() -> None:
    with pytest.raises(ValueError, match="expected two waves"):
        multi_resolution_stft(torch.zeros(1, 4096), torch.zeros(2, 4096))


def test_critics_are_slim_and_judge_any_length() -> None:
    critics = MultiPeriodDiscriminator()
    count = sum(
        weight.numel() for layer in critics.modules() if isinstance(layer, nn.Conv2d) for weight in [layer.weight]
    )
    assert 2.4e6 < count < 2.8e6  # the published 41 million over sixteen
    for samples in (2048, 2053):
        verdict = critics(noise(2, samples))
        assert len(verdict.scores) == 5 and len(verdict.features) == 30
        assert all(score.shape[0] == 2 and torch.isfinite(score).all() for score in verdict.scores)
