"""Packaging: what a checkpoint takes from recordings besides weights, and what that does to a melody."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from authentic_dubber.config import DubberConfig
from authentic_dubber.prosody import PITCH_MEAN, PITCH_SCALE, Prosody, as_loud, as_wide
from authentic_dubber.synthesizer import Spoken, Synthesizer
from authentic_dubber.training.cache import Cache, save_ragged
from authentic_dubber.training.calibrate import calibrated_f0_range
from authentic_dubber.training.dataset import Corpus
from authentic_dubber.training.loop import export
from authentic_dubber.training.package import f0_range_of_feelings, loudness_of_feelings, package_checkpoint
from vocoder.checkpoint import load_generator, save_generator
from vocoder.generator import IstftConfig, IstftGenerator
from vocoder.harmonic import HarmonicConfig, HarmonicGenerator
from vocoder.mel import MelConfig
from vocoder.storage import write_config

LENGTHS = torch.tensor([9, 6])


def melody(seed: int, spread: float) -> Prosody:
    """Two lines of nine and six symbols, most of them voiced; semitones around 140 Hz."""
    draw = torch.Generator().manual_seed(seed)
    voiced = (torch.rand(2, 9, generator=draw) > 0.2).float()
    pitch = (16 + spread * torch.randn(2, 9, generator=draw) - PITCH_MEAN) / PITCH_SCALE
    return Prosody(pitch, voiced, torch.randn(2, 9, generator=draw))


def hertz(prosody: Prosody, line: int, heard: Tensor) -> np.ndarray:
    """F0 of a line's symbols that sound, by the definition of a semitone."""
    semitones = (prosody.pitch[line] * PITCH_SCALE + PITCH_MEAN)[heard].numpy()
    return 55.0 * 2.0 ** (semitones / 12)


@pytest.mark.parametrize("gain", [-0.4, 0.0, 0.5])
def test_a_melody_becomes_as_wide_as_the_neutral_one_and_so_much_wider(gain: float) -> None:
    """Stretched in semitones and asked for in hertz: equal to within what an exponential bends over two semitones."""
    felt, rest = melody(1, 0.6), melody(2, 1.2)
    wide = as_wide(felt, rest._replace(voiced=felt.voiced), LENGTHS, torch.full((2,), gain))
    for line, length in enumerate(LENGTHS.tolist()):
        heard = (felt.voiced[line] > 0.5) & (torch.arange(9) < length)
        assert hertz(wide, line, heard).std() == pytest.approx(hertz(rest, line, heard).std() * np.exp(gain), rel=0.12)
        middle = float(felt.pitch[line][heard].mean())
        assert float(wide.pitch[line][heard].mean()) == pytest.approx(middle, abs=1e-4)
        order = felt.pitch[line][heard].argsort()
        assert torch.equal(wide.pitch[line][heard].argsort(), order)
    assert torch.equal(wide.pitch[1, 6:], felt.pitch[1, 6:])
    assert torch.equal(wide.energy, felt.energy) and torch.equal(wide.voiced, felt.voiced)


def test_a_flat_melody_is_not_blown_up() -> None:
    flat = melody(1, 0.0)
    wide = as_wide(flat, melody(2, 3.0), LENGTHS, torch.full((2,), 2.0))
    assert torch.allclose(wide.pitch, flat.pitch, atol=1e-4)


def test_a_line_becomes_as_loud_as_the_neutral_one_and_so_many_nepers_louder() -> None:
    felt, rest = melody(1, 1.0), melody(2, 1.0)
    loud = as_loud(felt, rest, LENGTHS, torch.tensor([0.0, 0.5]))
    for line, (length, nepers) in enumerate(((9, 0.0), (6, 0.5))):
        gap = loud.energy[line, :length].mean() - rest.energy[line, :length].mean()
        assert float(gap) == pytest.approx(nepers / 2.0, abs=1e-5)  # energy is told in units of two nepers


def test_tables_are_measured_against_the_same_voices_neutral_recordings(
    tiny_cache: Path, tiny_config: DubberConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recordings made twice as wide and 0.7 nepers louder when happy are found to be so, whatever the voice's own."""
    cache = Cache(tiny_cache)
    monkeypatch.setattr(Cache, "training_rows", lambda self: list(range(24)))
    rng, pitch, mels = np.random.default_rng(0), [], []
    for i, entry in enumerate(cache.entries):
        happy, voice = entry.emotion == "happy", i % 3
        frames = len(cache.ragged("mel")[i])
        octaves = np.log2(120 + 40 * voice + (10 + 5 * voice) * (1 + happy) * np.linspace(-1, 1, frames))
        pitch.append(np.stack([12 * (octaves - np.log2(55)), np.ones(frames)], axis=1).astype(np.float32))
        mels.append((rng.normal(-4 - voice, 0.01, (frames, 80)) + 0.7 * happy).astype(np.float32))
    save_ragged(tiny_cache, "pitch", pitch)
    save_ragged(tiny_cache, "mel", mels)
    ranges, levels = f0_range_of_feelings(Cache(tiny_cache)), loudness_of_feelings(Cache(tiny_cache))
    assert ranges["neutral"] == levels["neutral"] == 0
    assert ranges["happy"] == pytest.approx(np.log(2), abs=0.01)
    assert levels["happy"] == pytest.approx(0.7, abs=0.02)
    assert ranges["angry"] == pytest.approx(0, abs=0.01)


def parts(folder: Path, config: DubberConfig, generator: HarmonicGenerator | IstftGenerator) -> tuple[Path, Path]:
    export(Synthesizer(config), folder / "voice" / "acoustic", 3)
    save_generator(folder / "sound" / "generator", generator)
    (folder / "sound" / "checkpoints" / "step-00000005").mkdir(parents=True)
    write_config(folder / "sound" / "checkpoints" / "step-00000005", {"step": 5})
    return folder / "voice", folder / "sound"


def test_less_breath_is_packaged_with_a_harmonic_vocoder_and_refused_for_another(
    tiny_cache: Path, tiny_config: DubberConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Cache, "training_rows", lambda self: list(range(24)))
    mel = MelConfig()
    voice, sound = parts(tmp_path / "a", tiny_config, HarmonicGenerator(HarmonicConfig.tiny(), mel))
    package_checkpoint(voice, sound, tiny_cache, tmp_path / "out", "toy", breath=0.5)
    kept = load_generator(tmp_path / "out" / "vocoder")
    assert isinstance(kept, HarmonicGenerator) and kept.config.breath == 0.5
    voice, sound = parts(tmp_path / "b", tiny_config, IstftGenerator(IstftConfig(16, 1, 2, 7), mel))
    with pytest.raises(ValueError, match="expected a harmonic vocoder to breathe less"):
        package_checkpoint(voice, sound, tiny_cache, tmp_path / "refused", "toy", breath=0.5)
    assert not (tmp_path / "refused").exists()


class Tone(torch.nn.Module):
    """A vocoder that sings each mel's first band, read as semitones, as plain harmonics: what is asked can be heard."""

    def forward(self, mel: Tensor) -> Tensor:
        hertz = 55 * 2 ** (mel[:, 0].double() / 12).repeat_interleave(256, dim=1)
        phase = 2 * np.pi * hertz.cumsum(1) / 22050
        return sum(torch.sin(n * phase) / n for n in range(1, 6)).float() * 0.1  # type: ignore[union-attr]


class Flattening:
    """Stands for a voice: F0 sweeps as widely as its table asks, but one feeling comes out at a fraction of that."""

    def __init__(self, config: DubberConfig, flattened: dict[str, float]) -> None:
        self.config, self.flattened = config, flattened

    def encode(self, inputs: object) -> tuple[str, int]:
        feeling: Tensor = inputs.feeling  # type: ignore[attr-defined]
        return self.config.emotions[int(feeling[0].argmax())], len(feeling)

    def predicted_frames(self, encoded: tuple[str, int], lengths: Tensor) -> Tensor:
        return torch.ones(encoded[1], int(lengths.max()))

    def decode(self, encoded: tuple[str, int], durations: Tensor) -> Spoken:
        emotion, count = encoded
        asked = self.config.f0_range.get(emotion, 0.0) + self.flattened.get(emotion, 0.0)
        sweep = 12 * torch.log2((150 + 25 * np.exp(asked) * torch.sin(torch.linspace(0, 12, 120))) / 55)
        mel = torch.zeros(count, 80, 120)
        mel[:, 0] = sweep
        return Spoken(mel, mel, torch.full((count,), 120))


def test_a_feeling_that_is_heard_flatter_than_told_is_asked_for_wider(
    tiny_cache: Path, tiny_config: DubberConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a decoder takes away from fear is added to its table, and the others keep theirs; a tracker of F0 hears
    ranges to within a few hundredths."""
    monkeypatch.setattr(Cache, "held_out_rows", lambda self: [])
    corpus = Corpus(Cache(tiny_cache), tiny_config, rows=range(20))
    voice = Flattening(tiny_config, {"fearful": -0.3, "sad": 0.2})
    targets = {"neutral": 0.0, "fearful": 0.1, "happy": 0.4, "sad": -0.2}
    table = calibrated_f0_range(voice, Tone(), corpus, targets, ["toy"], lines=2, rounds=2)  # type: ignore[arg-type]
    assert table == pytest.approx({"neutral": 0.0, "fearful": 0.4, "happy": 0.4, "sad": -0.4}, abs=0.06)
    assert voice.config == tiny_config


def test_a_corpus_without_short_lines_cannot_be_calibrated_on(
    tiny_cache: Path, tiny_config: DubberConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Cache, "held_out_rows", lambda self: [])
    corpus = Corpus(Cache(tiny_cache), tiny_config, rows=range(20))
    with pytest.raises(ValueError, match="expected recordings of another"):
        calibrated_f0_range(Synthesizer(tiny_config), Tone(), corpus, {"happy": 0.4}, ["another"])
