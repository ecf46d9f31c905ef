"""Rehearsal: lines nobody recorded, and the ears that judge them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from authentic_dubber.config import DubberConfig
from authentic_dubber.speaker import GE2E
from authentic_dubber.synthesizer import Synthesizer
from authentic_dubber.training import ears
from authentic_dubber.training.cache import Cache
from authentic_dubber.training.dataset import Corpus
from authentic_dubber.training.ears import FeelingEar, SpeakerEar, registers, teach_feeling
from authentic_dubber.training.loop import Schedule, train
from authentic_dubber.training.rehearsal import Rehearsal
from tests.test_training import Killer
from vocoder.mel import MelConfig, log_mel

SHARES = {"toy": 1.0}


@pytest.fixture(scope="module")
def ge2e() -> GE2E:
    return GE2E()


@pytest.fixture
def rehearsing(tiny_config: DubberConfig) -> DubberConfig:
    return dataclasses.replace(tiny_config, train=dataclasses.replace(tiny_config.train, rehearsed=3, total_steps=6))


@pytest.fixture
def corpus(tiny_cache: Path, rehearsing: DubberConfig, monkeypatch: pytest.MonkeyPatch) -> Corpus:
    monkeypatch.setattr(Cache, "held_out_rows", lambda self: [])
    return Corpus(Cache(tiny_cache), rehearsing, rows=range(20))


@pytest.fixture
def rehearsal(corpus: Corpus, ge2e: GE2E) -> Rehearsal:
    torch.manual_seed(0)
    ear = FeelingEar(corpus.config).eval().requires_grad_(False)
    return Rehearsal(corpus, SpeakerEar(ge2e.network, corpus.config.mel), ear, SHARES, seed=0)


def vowel(f0: float, formants: tuple[float, ...], seconds: float = 2.0) -> np.ndarray:
    """A sung vowel with vibrato: harmonics weighed by resonances, at 22 050 Hz."""
    t = np.arange(int(seconds * 22050)) / 22050
    phase = 2 * np.pi * np.cumsum(f0 * (1 + 0.03 * np.sin(2 * np.pi * 5 * t))) / 22050
    wave = np.zeros_like(t)
    for n in range(1, int(7000 / f0)):
        gain = sum(1 / (1 + ((n * f0 - f) / 120) ** 2) for f in formants) + 0.005
        wave += gain * np.sin(n * phase)
    return (0.1 * wave / np.abs(wave).max() * (1.2 + np.sin(2 * np.pi * 3 * t))).astype(np.float32)


def test_the_speaker_ear_hears_in_a_mel_what_ge2e_hears_in_the_wave(ge2e: GE2E) -> None:
    """Another road to the same vector. Windows differ (46 and 25 ms), so it is near and not equal: .9 on recordings;
    each voice must be nearer to itself than to any other by a clear margin."""
    config = MelConfig()
    voices = [vowel(110, (500, 1500, 2500)), vowel(220, (800, 1200, 2900)), vowel(160, (300, 2200, 3000))]
    told = np.stack([ge2e.embed(wave, 22050) for wave in voices])
    mels = [log_mel(torch.from_numpy(wave)[None], config)[0] for wave in voices]
    torch.manual_seed(0)
    heard = SpeakerEar(ge2e.network, config)(torch.stack(mels), torch.tensor([m.shape[1] for m in mels])).numpy()
    cosines = heard @ told.T
    assert (np.diag(cosines) > 0.75).all()
    assert (cosines.argmax(1) == np.arange(3)).all()


def test_the_speaker_ear_does_not_hear_level_nor_padding(ge2e: GE2E) -> None:
    """A mel 1.5 nepers louder, or with garbage past its end, gives the same vector up to float rounding."""
    config = MelConfig()
    ear, mel = SpeakerEar(ge2e.network, config), log_mel(torch.from_numpy(vowel(140, (600, 1400)))[None], config)
    length = torch.tensor([mel.shape[2]])
    results = []
    for shown in (mel, mel + 1.5, torch.cat([mel, torch.zeros(1, 80, 30)], dim=2)):
        torch.manual_seed(3)
        results.append(ear(shown, length))
    assert torch.allclose(results[0], results[1], atol=1e-4)
    assert torch.equal(results[0], results[2])


def test_gradients_pass_the_speaker_ear_and_leave_it_alone(ge2e: GE2E) -> None:
    mel = log_mel(torch.from_numpy(vowel(140, (600, 1400)))[None], MelConfig()).requires_grad_(True)
    ear = SpeakerEar(ge2e.network, MelConfig())
    ear(mel, torch.tensor([mel.shape[2]])).sum().backward()
    assert mel.grad is not None and bool(mel.grad.abs().sum() > 0)
    assert all(weight.grad is None for weight in ear.parameters())


def test_the_feeling_ear_does_not_hear_padding(tiny_config: DubberConfig) -> None:
    torch.manual_seed(0)
    ear, mel = FeelingEar(tiny_config).eval(), torch.randn(1, 80, 41)
    alone = ear(mel, torch.tensor([41]))
    padded = ear(torch.cat([mel, torch.randn(1, 80, 20)], dim=2), torch.tensor([41]))
    assert torch.allclose(alone, padded, atol=1e-5)


def test_the_feeling_ear_learns_what_tells_feelings_apart(
    tiny_cache: Path, tiny_config: DubberConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every feeling raises ten bands of its own: learned in 60 updates, and heard in clips it never saw."""
    monkeypatch.setattr(ears, "BATCH", 8)
    cache = Cache(tiny_cache)
    monkeypatch.setattr(Cache, "training_rows", lambda self: list(range(18)))
    marked = {}
    for i, entry in enumerate(cache.entries):
        mel = np.array(cache.ragged("mel")[i], dtype=np.float32)
        if entry.emotion is not None:
            first = 10 * tiny_config.emotions.index(entry.emotion)
            mel[:, first : first + 10] += 4
        marked[i] = mel
    monkeypatch.setattr(Cache, "ragged", lambda self, name: marked)
    ear = teach_feeling(cache, tiny_config, [i for i in range(18) if i % 2 == 0], steps=60, seed=0)
    units = registers(cache, list(range(24)))
    right = []
    for i in (i for i in range(18, 24) if cache.entries[i].emotion is not None):
        mel = units[cache.entries[i].voice].apply(torch.from_numpy(marked[i].T))
        said = tiny_config.emotions[int(ear(mel[None], torch.tensor([mel.shape[1]])).argmax())]
        right.append(said == cache.entries[i].emotion)
    assert np.mean(right) >= 2 / 3


def test_an_ear_for_feelings_needs_labels(tiny_cache: Path, tiny_config: DubberConfig) -> None:
    with pytest.raises(ValueError, match="expected recordings with a feeling"):
        teach_feeling(Cache(tiny_cache), tiny_config, [], steps=1, seed=0)


def test_a_rehearsal_without_voices_is_refused_at_once(corpus: Corpus, ge2e: GE2E) -> None:
    with pytest.raises(ValueError, match="expected voices to rehearse"):
        Rehearsal(corpus, SpeakerEar(ge2e.network, corpus.config.mel), None, {"elsewhere": 1.0}, seed=0)


def test_a_config_that_rehearses_is_not_trained_without_ears(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected ears for the 3 lines"):
        train(corpus, tmp_path, progress=False)


def test_lines_depend_on_seed_and_step_alone_and_are_told(rehearsal: Rehearsal) -> None:
    a, b, c = rehearsal.lines(4), rehearsal.lines(4), rehearsal.lines(5)
    assert a.voices == b.voices and torch.equal(a.inputs.symbols, b.inputs.symbols)
    assert a.inputs.symbols.shape != c.inputs.symbols.shape or not torch.equal(a.inputs.symbols, c.inputs.symbols)
    assert bool(a.inputs.directed.all()) and bool((a.inputs.lip_lengths == 0).all())
    assert torch.equal(a.inputs.feeling.argmax(1), a.labels)


def test_what_is_judged_moves_the_voice_and_never_the_ears(rehearsal: Rehearsal, rehearsing: DubberConfig) -> None:
    torch.manual_seed(0)
    model = Synthesizer(rehearsing)
    with torch.no_grad():  # past its first steps: what begins at zero passes no gradient yet
        for weight in model.parameters():
            weight.add_(0.02 * torch.randn_like(weight))
    heard = rehearsal.judge(model, rehearsal.lines(0), bf16=False)
    (heard.voice + heard.feeling).backward()
    moved = {
        name.partition(".")[0] for name, w in model.named_parameters() if w.grad is not None and bool(w.grad.any())
    }
    assert {"condition", "prosody", "decoder", "out"} <= moved
    listeners: list[nn.Module] = [rehearsal.speaker, rehearsal.feeling]  # type: ignore[list-item]
    assert all(weight.grad is None for ear in listeners for weight in ear.parameters())


@pytest.fixture
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
def test_a_resumed_rehearsal_ends_where_a_straight_one_ends(
    corpus: Corpus, rehearsal: Rehearsal, ge2e: GE2E, tmp_path: Path
) -> None:
    """To the last bit, with ears and centroids made again as a new process makes them; and elsewhere than without.

    On one thread, as the recipe trains: on several, how sums are shared out may depend on what else the machine does.
    """
    schedule = Schedule(log_every=2, report_every=1000, checkpoint_every=2, bf16=False)

    def weights(name: str) -> bytes:
        return (tmp_path / name / "acoustic" / "model.safetensors").read_bytes()

    train(corpus, tmp_path / "straight", schedule=schedule, progress=False, rehearsal=rehearsal)
    with pytest.raises(KeyboardInterrupt):
        killed = Killer(corpus, at=5)
        train(killed, tmp_path / "killed", schedule=schedule, progress=False, rehearsal=rehearsal)  # type: ignore[arg-type]
    assert (tmp_path / "killed" / "checkpoints" / "step-00000004").is_dir()
    ear = FeelingEar(corpus.config).eval().requires_grad_(False)
    assert rehearsal.feeling is not None
    ear.load_state_dict(rehearsal.feeling.state_dict())
    again = Rehearsal(corpus, SpeakerEar(ge2e.network, corpus.config.mel), ear, SHARES, seed=0)
    train(corpus, tmp_path / "killed", schedule=schedule, progress=False, rehearsal=again)
    assert weights("straight") == weights("killed")
    plain = dataclasses.replace(corpus.config, train=dataclasses.replace(corpus.config.train, rehearsed=0))
    train(Corpus(corpus.cache, plain, rows=range(20)), tmp_path / "plain", schedule=schedule, progress=False)
    assert weights("plain") != weights("straight")
