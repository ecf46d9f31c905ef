"""The harmonic vocoder: pitch read from logits, an excitation with the asked F0, and a wave that follows the mel."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from vocoder.checkpoint import load_generator, save_generator
from vocoder.generator import IstftConfig
from vocoder.harmonic import HarmonicConfig, HarmonicGenerator
from vocoder.mel import MelConfig, log_mel
from vocoder.pitch import _REACH, BINS, HIGHEST, LOWEST, STEP, Pitch, PitchReader, _carried, pitch_loss
from vocoder.storage import read_tensors
from vocoder.train import VocoderTrainConfig, draw_batch, train, train_step
from vocoder.training_state import TrainingState, flatten_moments

from .test_vocoder_training import SMALL, Waves, newest, small_config

MEL = MelConfig()
CPU = torch.device("cpu")


def make_generator(mel: MelConfig = MEL, *, voiced: float | None = None) -> HarmonicGenerator:
    """A fresh one whose weights hide nothing; on request with a voicing logit that is the same everywhere."""
    generator = HarmonicGenerator(HarmonicConfig.tiny(), mel, seed=3).eval()
    draw = torch.Generator().manual_seed(3)
    for parameter in generator.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=draw)
    if voiced is not None:
        generator.pitch.head.weight.data[0] = 0
        generator.pitch.head.bias.data[0] = voiced
    return generator


def some_mel(lines: int, frames: int, config: MelConfig = MEL, seed: int = 0) -> Tensor:
    return 2 * torch.randn(lines, config.n_mels, frames, generator=torch.Generator().manual_seed(seed)) - 5


def flat(semitones: float, frames: int, voiced: float = 1.0) -> Pitch:
    return Pitch(torch.full((1, frames), semitones), torch.full((1, frames), voiced))


# Reading pitch


def test_an_unvoiced_stretch_carries_the_pitch_before_it() -> None:
    values = torch.tensor([[9.0, 1.0, 2.0, 9.0, 9.0, 3.0, 9.0], [5.0, 6.0, 7.0, 8.0, 9.0, 4.0, 3.0]])
    known = torch.tensor([[0, 1, 1, 0, 0, 1, 0], [1, 1, 1, 1, 1, 1, 1]]).bool()
    assert _carried(values, known).tolist() == [[1, 1, 2, 2, 2, 3, 3], values[1].tolist()]
    assert _carried(values, known & False).isfinite().all()


class Spoken(PitchReader):
    """A reader with logits made by hand: its network is replaced, what `read` makes of it is not."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__(SMALL, 8, 1)
        self.logits = logits

    def forward(self, mel: Tensor) -> Tensor:
        return self.logits


def test_pitch_between_two_bins_is_read_between_them_and_a_rival_octave_is_not_averaged() -> None:
    logits = torch.full((1, 3, 1 + BINS), -20.0)
    logits[0, :, 0] = torch.tensor([2.0, -3.0, 0.0])
    low, high = (round((semitones - LOWEST) / STEP) for semitones in (12.0, 24.0))
    logits[0, 0, 1 + low : 3 + low] = 5.0  # two bins alike: halfway
    logits[0, 1, 1 + high] = 5.0  # unvoiced, so not read
    logits[0, 2, 1 + low], logits[0, 2, 1 + high] = 4.0, 4.1  # an octave apart, nearly alike
    pitch = Spoken(logits).read(torch.zeros(1, SMALL.n_mels, 3))
    torch.testing.assert_close(pitch.voiced, logits[:, :, 0].sigmoid())
    # The other bins hold e-25 of the weight.
    expected = 12 + STEP / 2
    assert pitch.semitones[0].tolist() == pytest.approx([expected, expected, expected], abs=1e-4)  # 0.5 is no voice
    assert pitch.hertz()[0, 0] == pytest.approx(55 * 2 ** (expected / 12), rel=1e-5)
    logits[0, 2, 0] = 0.1
    assert Spoken(logits).read(torch.zeros(1, SMALL.n_mels, 3)).semitones[0, 2] == pytest.approx(24, abs=1e-4)
    assert high - low > 2 * _REACH


def test_pitch_never_leaves_its_range() -> None:
    logits = 10 * torch.randn(2, 50, 1 + BINS, generator=torch.Generator().manual_seed(0))
    logits[0, :, 1], logits[1, :, BINS] = 100.0, 100.0
    semitones = Spoken(logits).read(torch.zeros(2, SMALL.n_mels, 50)).semitones
    assert semitones.min() >= LOWEST - 1e-4 and semitones.max() <= HIGHEST + 1e-4


@pytest.mark.parametrize("truth", [5.1, 20.0, 33.37])
def test_the_loss_is_lowest_at_the_true_pitch(truth: float) -> None:
    bins = LOWEST + STEP * torch.arange(BINS)
    guesses = torch.arange(LOWEST + 1, HIGHEST - 1, 0.25)
    losses = []
    for guess in guesses:
        logits = torch.zeros(1, 1, 1 + BINS)
        logits[0, 0, 1:] = -2 * (bins - guess).square()
        losses.append(float(pitch_loss(logits, torch.tensor([[truth]]), torch.tensor([[True]]))))
    # Guesses lie a quarter semitone apart.
    assert abs(float(guesses[int(np.argmin(losses))]) - truth) <= 0.125 + 1e-5
    near, far = losses[int(np.argmin(losses))], losses[int(np.argmax(losses))]
    assert far > near + 10


def test_the_loss_rewards_voicing_and_does_not_ask_unvoiced_frames_for_pitch() -> None:
    logits = torch.randn(1, 6, 1 + BINS, generator=torch.Generator().manual_seed(0))
    voiced = torch.tensor([[True, True, False, False, True, False]])
    semitones = torch.full((1, 6), 12.0)
    loss = pitch_loss(logits, semitones, voiced)
    assert torch.equal(pitch_loss(logits, torch.where(voiced, semitones, 40.0), voiced), loss)
    right = logits.clone()
    right[:, :, 0] = torch.where(voiced, 8.0, -8.0)
    assert float(pitch_loss(right, semitones, voiced)) < float(loss)
    assert pitch_loss(logits, semitones, voiced & False).isfinite()


# The excitation


@pytest.mark.parametrize("semitones", [3.0, 12.0, 24.3, 40.0])
def test_harmonics_are_the_sum_of_cosines_that_they_stand_for(semitones: float) -> None:
    """The closed form against the sum written out in double precision."""
    generator, frames = make_generator(), 8
    samples = frames * MEL.hop_samples
    made = generator._harmonics(flat(semitones, frames), samples)[0].double()
    hertz = 55 * 2 ** (semitones / 12)
    count = int(0.48 * MEL.sample_rate / hertz)
    turns = hertz / MEL.sample_rate * torch.arange(1, samples + 1).double()
    numbers = torch.arange(1, count + 1)[:, None]
    expected = np.sqrt(2 / count) * torch.cos(2 * torch.pi * numbers * turns).sum(0)
    # Single precision in the closed form is worst beside a pulse, where a small sine divides a small sine;
    # F0 itself is exact to 1e-7, which over the stretch turns the highest harmonic by less than a thousandth.
    scale = float(expected.abs().max())
    torch.testing.assert_close(made, expected, atol=0.01 * scale, rtol=0)
    assert float((made - expected).square().mean().sqrt()) < 2e-3 * scale


@pytest.mark.parametrize("hertz", [80.0, 147.0, 300.0, 600.0])
def test_the_excitation_has_the_asked_pitch_and_unit_power(hertz: float) -> None:
    """Pitch by autocorrelation, which knows no phases; power is one whatever the number of harmonics."""
    samples = 32 * MEL.hop_samples
    wave = make_generator()._harmonics(flat(12 * np.log2(hertz / 55), 32), samples)[0].double().numpy()
    assert wave.std() == pytest.approx(1, abs=0.03)  # the stretch is not a whole number of periods
    spectrum = np.abs(np.fft.rfft(wave, 2 * samples)) ** 2
    likeness = np.fft.irfft(spectrum)[:samples] / np.arange(samples, 0, -1)
    shortest = round(MEL.sample_rate / 900)
    lag = shortest + int(np.argmax(likeness[shortest : round(1.5 * MEL.sample_rate / hertz)]))
    assert MEL.sample_rate / lag == pytest.approx(hertz, rel=0.5 / lag + 1e-3)  # lags are whole samples


def test_phase_goes_on_through_a_glide_and_voicing_fades_the_harmonics() -> None:
    generator, frames = make_generator(), 20
    glide = Pitch(torch.linspace(10, 14, frames)[None], torch.ones(1, frames))
    samples = frames * MEL.hop_samples
    wave = generator._harmonics(glide, samples)[0].numpy()
    pulses = np.flatnonzero((wave > 0.6 * wave.max()) & (wave >= np.roll(wave, 1)) & (wave >= np.roll(wave, -1)))
    gaps = np.diff(pulses)
    gaps = gaps[gaps > 20]  # crests of one pulse
    # From 98 to 123 Hz: 225 samples to 179, each gap at most two samples away from the one before.
    assert abs(gaps[0] - 225) < 6 and abs(gaps[-1] - 179) < 6 and np.abs(np.diff(gaps)).max() <= 4
    half = generator._harmonics(replace_voicing(glide, 0.5), samples)[0].numpy()
    np.testing.assert_allclose(half, 0.5 * wave, atol=1e-6)
    assert not generator._harmonics(replace_voicing(glide, 0.0), samples).any()


def replace_voicing(pitch: Pitch, voiced: float) -> Pitch:
    return pitch._replace(voiced=torch.full_like(pitch.voiced, voiced))


# The generator


@torch.no_grad()
@pytest.mark.parametrize("config", [MEL, SMALL], ids=["22050", "8000"])
def test_a_mel_always_makes_the_same_wave_of_a_hop_per_frame(config: MelConfig) -> None:
    mel = some_mel(2, 11, config)
    generator = make_generator(config)
    wave = generator(mel)
    assert wave.shape == (2, 11 * config.hop_samples) and wave.isfinite().all()
    torch.rand(5)
    assert torch.equal(wave, generator(mel)) and torch.equal(wave, make_generator(config)(mel))


@torch.no_grad()
@pytest.mark.parametrize("voiced", [-30.0, 4.0, None])
def test_a_line_sounds_the_same_alone_in_a_batch_and_with_more_behind_it(voiced: float | None) -> None:
    """But for as many last frames as the networks see ahead: nine and two, and two of overlapping windows.

    F0 that is off by float32's 1e-7 turns a harmonic by a thousandth after some thousand samples: 1e-3 of the peak.
    """
    generator, mel = make_generator(SMALL, voiced=voiced), some_mel(3, 40, SMALL)
    together = generator(mel)
    near = 1e-3 * float(together.abs().max())
    for b in range(3):
        torch.testing.assert_close(together[b], generator(mel[b : b + 1])[0], atol=near, rtol=0)
    if voiced is None:
        return  # where nothing is voiced at first, pitch is taken from the first voice, however late it comes
    sure, hop = 40 - 13, SMALL.hop_samples
    longer = torch.cat([mel, some_mel(3, 25, SMALL, seed=1)], dim=2)
    torch.testing.assert_close(generator(longer)[:, : sure * hop], together[:, : sure * hop], atol=near, rtol=0)


@torch.no_grad()
def test_silence_and_absurd_mels_make_finite_waves() -> None:
    generator = make_generator(SMALL)
    silent = torch.full((1, SMALL.n_mels, 12), float(np.log(SMALL.floor)))
    for mel in (silent, silent * 0 + 50, silent * 10, torch.zeros(1, SMALL.n_mels, 1)):
        assert generator(mel).isfinite().all()
    torch.nn.init.constant_(generator.head.bias, 1e4)
    assert generator(silent).isfinite().all()


def test_less_breath_takes_noise_from_voiced_sound_alone_and_by_its_share() -> None:
    """A wave is linear in breath; where nothing is voiced it does not matter. Float rounding: loud random waves."""

    def spoken(breath: float, voiced: float) -> Tensor:
        generator = make_generator(voiced=voiced)
        generator.config = replace(generator.config, breath=breath)
        with torch.inference_mode():
            return generator(some_mel(1, 12))

    full, half, none = (spoken(breath, 20.0) for breath in (1.0, 0.5, 0.0))
    scale = float(full.abs().max())
    assert float((full - none).abs().max()) > 0.05 * scale
    assert torch.allclose(half, (full + none) / 2, atol=1e-4 * scale)
    assert torch.allclose(spoken(0.0, -20.0), spoken(1.0, -20.0), atol=1e-4 * scale)
    with pytest.raises(ValueError, match=r"expected a breath from 0 to 1, got 1\.5"):
        HarmonicConfig(breath=1.5)


def test_gradients_reach_every_weight_but_the_pitch_readers() -> None:
    generator = make_generator(SMALL, voiced=1.0)
    generator(some_mel(2, 8, SMALL)).square().mean().backward()
    for name, parameter in generator.named_parameters():
        frozen = name.startswith("pitch.")
        assert parameter.requires_grad is not frozen
        assert (parameter.grad is None) if frozen else (parameter.grad is not None and parameter.grad.any()), name


def test_noise_outlasts_its_store(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = make_generator(SMALL)
    generator.noise = generator.noise[:100]
    noise = generator._noise(2, 250)
    assert noise.shape == (2, 250) and torch.equal(noise[0, :50], noise[1, 200:])


# On disk and in training


@torch.no_grad()
def test_a_saved_generator_sounds_the_same(tmp_path: Path) -> None:
    generator = make_generator(SMALL)
    save_generator(tmp_path / "voice", generator)
    loaded, mel = load_generator(tmp_path / "voice", SMALL), some_mel(1, 9, SMALL)
    assert isinstance(loaded, HarmonicGenerator) and loaded.config == generator.config
    assert torch.equal(loaded(mel), generator(mel))
    # The noise is made from nothing but torch's own generator, and is not worth a megabyte of every checkpoint.
    assert "noise" not in read_tensors(tmp_path / "voice" / "model.safetensors")


def test_the_seed_alone_decides_weights_and_noise() -> None:
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    one, again, other = (HarmonicGenerator(HarmonicConfig.tiny(), SMALL, seed=s) for s in (5, 5, 6))
    assert torch.rand(1) == expected
    torch.testing.assert_close(one.state_dict(), again.state_dict(), atol=0, rtol=0)
    assert not torch.equal(one.head.weight, other.head.weight)


def test_noise_is_the_same_whatever_the_seed_of_the_weights() -> None:
    """It is not stored with the weights, and a loaded generator is built with the default seed."""
    one, other = (HarmonicGenerator(HarmonicConfig.tiny(), SMALL, seed=s) for s in (5, 6))
    assert torch.equal(one.noise, other.noise)


def test_a_frozen_pitch_reader_has_no_moments_and_is_not_moved() -> None:
    config = small_config(generator=HarmonicConfig.tiny(), adversarial_from=6)
    state = TrainingState.fresh(config.generator, SMALL, seed=0, weight_decay=0.5, device=CPU)
    before = {name: value.clone() for name, value in state.generator.state_dict().items()}
    for step in range(2):
        train_step(state, draw_batch(Waves(), config, step), config)
    moments = {name.rpartition("/")[0] for name in flatten_moments(state.generator, state.generator_optimizer)}
    trained = {name for name, weight in state.generator.named_parameters() if weight.requires_grad}
    assert moments == trained and not any(name.startswith("pitch.") for name in trained)
    for module in (state.generator, state.average):
        for name, value in module.state_dict().items():
            assert torch.equal(value, before[name]) is name.startswith("pitch."), name


def test_a_killed_training_resumed_is_a_straight_one(tmp_path: Path) -> None:
    def die() -> None:
        raise MemoryError("killed")

    def run(name: str, source: Waves) -> None:
        config = small_config(generator=HarmonicConfig.tiny(), steps=4, adversarial_from=2)
        train(source, tmp_path / name, config, mel_config=SMALL, progress=False)

    run("straight", Waves())
    with pytest.raises(MemoryError):
        run("killed", Waves(at=1 + 2 * 3, event=die))  # one held-out draw, then two a step
    run("killed", Waves())
    expected, got = newest(tmp_path / "straight"), newest(tmp_path / "killed")
    assert expected.keys() == got.keys()
    assert all(torch.equal(expected[name], got[name]) for name in expected)
    assert isinstance(load_generator(tmp_path / "killed" / "generator", SMALL), HarmonicGenerator)


def test_a_training_starts_from_a_pitch_reader_that_was_taught_before(tmp_path: Path) -> None:
    taught = PitchReader(SMALL, HarmonicConfig.tiny().pitch_dim, HarmonicConfig.tiny().pitch_blocks, seed=9)
    weights = {f"pitch.{name}": value for name, value in taught.state_dict().items()}
    config = small_config(generator=HarmonicConfig.tiny(), steps=1)
    outcome = train(Waves(), tmp_path, config, mel_config=SMALL, progress=False, start_from=weights)
    torch.testing.assert_close(
        load_generator(outcome.generator).pitch.state_dict(), taught.state_dict(), atol=0, rtol=0
    )
    again = train(Waves(), tmp_path, config, mel_config=SMALL, progress=False, start_from={"ignored": torch.ones(1)})
    assert again.step == 1
    with pytest.raises(ValueError, match="start_from"):
        wrong = {"pitch.head.bias": torch.ones(3)}
        train(Waves(), tmp_path / "new", config, mel_config=SMALL, progress=False, start_from=wrong)


def test_a_training_is_of_a_harmonic_generator_unless_told_otherwise() -> None:
    default = VocoderTrainConfig()
    assert isinstance(default.generator, HarmonicConfig)
    for config in (default, replace(default, generator=IstftConfig.tiny())):
        assert VocoderTrainConfig.from_dict(config.to_dict()) == config
    with pytest.raises(ValueError, match="positive sizes"):
        HarmonicConfig(pitch_blocks=0)
    with pytest.raises(ValueError, match="odd kernel"):
        HarmonicConfig(kernel=4)


def test_a_taught_reader_tells_pitch_in_pulse_trains() -> None:
    """The smallest reader after a hundred and sixty steps, on pitches it was not shown: mostly within a tone."""
    from authentic_dubber.training.pitch_reader import pitch_errors, teach_pitch

    rng, mels, tracks = np.random.default_rng(0), [], []
    for semitones in np.linspace(8, 30, 45):
        phase = 2 * np.pi * np.cumsum(np.full(48 * MEL.hop_samples, 55 * 2 ** (semitones / 12))) / MEL.sample_rate
        wave = 0.05 * sum(np.cos(n * phase) for n in range(1, 9)) + 1e-4 * rng.standard_normal(len(phase))
        mels.append(log_mel(torch.from_numpy(wave.astype(np.float32))[None], MEL)[0].T.numpy().astype(np.float16))
        tracks.append(np.tile([semitones, 1.0], (48, 1)).astype(np.float16))

    class Runs(list):  # type: ignore[type-arg]
        values = np.concatenate(mels)

    runs: dict[str, Any] = {"mel": Runs(mels), "pitch": Runs(tracks)}
    cache: Any = SimpleNamespace(ragged=runs.__getitem__)
    taught, kept = [i for i in range(45) if i % 5], [i for i in range(45) if not i % 5]
    reader = teach_pitch(cache, taught, MEL, HarmonicConfig.tiny(), steps=160, seed=0)
    assert np.median(pitch_errors(reader, cache, kept)) < 2
    with pytest.raises(ValueError, match="got none"):
        teach_pitch(cache, [], MEL, HarmonicConfig.tiny(), steps=1, seed=0)
