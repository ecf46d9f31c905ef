"""Copies of recordings: another speed is what a tape would do, noise is as loud as said, and all that belongs to a line
changes with it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from authentic_dubber.config import DubberConfig
from authentic_dubber.training import augment
from authentic_dubber.training.augment import COPIES, SPEAKER_COPIES, SPEEDS, Recordings, prepare_copies
from authentic_dubber.training.cache import Cache, save_rows
from authentic_dubber.training.dataset import Corpus
from vocoder.mel import MelConfig, log_mel

RATE = 22050


@pytest.fixture
def cache(tiny_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    monkeypatch.setattr(Cache, "held_out_rows", lambda self: [])
    vectors = np.random.default_rng(0).standard_normal((24, len(COPIES), 256))
    save_rows(tiny_cache, SPEAKER_COPIES, (vectors / np.linalg.norm(vectors, axis=2, keepdims=True)).astype(np.float16))
    return Cache(tiny_cache)


class Spectrum:
    """A speaker encoder whose vector is the spectrum of the sound."""

    width = 16

    def embed(self, wave: np.ndarray, sample_rate: int) -> np.ndarray:
        power = np.abs(np.fft.rfft(wave, 2 * self.width - 2)).astype(np.float32)
        return power / np.linalg.norm(power)


def peak_hertz(wave: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave))))
    return float(np.argmax(spectrum) * RATE / len(wave))


@pytest.mark.parametrize("copy", SPEEDS)
def test_a_copy_at_another_speed_is_shorter_and_higher_by_the_same_factor(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, copy: augment.Copy
) -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / RATE).astype(np.float32)
    monkeypatch.setattr(Cache, "wave", lambda self, i: tone)
    heard = augment.copied(cache, 0, copy)
    assert len(heard) * SPEEDS[copy] == pytest.approx(len(tone), abs=1)
    assert peak_hertz(heard) == pytest.approx(440 * SPEEDS[copy], abs=1)  # a bin is half a hertz


def test_noise_is_as_loud_as_said_and_the_same_each_time() -> None:
    wave = np.sin(np.arange(RATE) / 9).astype(np.float32)
    for seed in range(8):
        heard = augment.noisy(wave, RATE, np.random.default_rng(seed))
        above = 10 * np.log10(np.mean(wave**2) / np.mean((heard - wave) ** 2))
        assert augment.LOUDEST_NOISE - 0.01 <= above <= augment.QUIETEST_NOISE + 0.01
        assert np.array_equal(heard, augment.noisy(wave, RATE, np.random.default_rng(seed)))


def test_durations_move_with_the_sound() -> None:
    """Symbols end where they did, in proportion, to the frame; none vanishes however short it was."""
    rng = np.random.default_rng(3)
    for _ in range(200):
        durations = rng.integers(1, 12, size=int(rng.integers(1, 30))).astype(np.int64)
        assert np.array_equal(augment.copied_durations(durations, int(durations.sum())), durations)
        frames = int(rng.integers(len(durations), 2 * durations.sum() + 1))
        moved = augment.copied_durations(durations, frames)
        assert moved.sum() == frames and moved.min() >= 1
        if frames >= durations.sum():  # there is room, so no end had to give way
            proportional = np.cumsum(durations) * frames / durations.sum()
            assert np.abs(np.cumsum(moved) - proportional).max() <= 0.5
    with pytest.raises(ValueError, match="a frame or more for each of 3 symbols, got 2"):
        augment.copied_durations(np.array([4, 4, 4]), 2)


def test_pitch_is_read_at_the_same_place_and_moved_by_the_speed() -> None:
    track = np.stack([np.linspace(10, 30, 100), np.arange(100) >= 50], axis=1).astype(np.float32)
    for speed in SPEEDS.values():
        moved = augment.copied_pitch(track, round(100 / speed), speed)
        places = (np.arange(len(moved)) + 0.5) / len(moved)
        expected = 10 + 20 * (places * 100 - 0.5) / 99 + 12 * np.log2(speed)
        assert moved[1:-1, 0] == pytest.approx(expected[1:-1], abs=1e-3)
        assert abs(int(moved[:, 1].sum()) - len(moved) / 2) <= 1


def test_lips_keep_their_course() -> None:
    ramp = np.stack([np.arange(20), np.full(20, 3)], axis=1).astype(np.float32)
    for speed in SPEEDS.values():
        moved = augment.copied_lips(ramp, speed)
        assert len(moved) == round(20 / speed)
        assert np.ptp(np.diff(moved[1:-1, 0])) < 1e-4 and np.allclose(moved[:, 1], 3)
    assert not len(augment.copied_lips(ramp[:0], 0.9))


def test_a_line_and_its_prompt_are_changed_alike_and_noise_is_on_the_prompt_alone(
    cache: Cache, tiny_config: DubberConfig
) -> None:
    corpus = Corpus(cache, tiny_config, rows=range(20))
    rows, prompts = np.array([3, 4, 5, 6]), [0, 1, 2, 9]
    copies: list[augment.Copy | None] = [None, "slower", "faster", "noisy"]
    batch = corpus.collate(rows, prompts, np.zeros(4, dtype=int), None, copies)
    plain = corpus.collate(rows, prompts, np.zeros(4, dtype=int), None)
    assert torch.equal(batch.durations.sum(1), batch.mel_lengths)
    speeds = torch.tensor([1, *SPEEDS.values(), 1])
    assert (batch.mel_lengths * speeds - plain.mel_lengths).abs().max() < 1.2  # both are whole frames
    assert (batch.inputs.prompt_lengths * speeds - plain.inputs.prompt_lengths).abs().max() < 1.2
    said = torch.from_numpy(np.asarray(cache.rows(SPEAKER_COPIES), dtype=np.float32))
    for b, copy in enumerate(copies):
        if copy is not None:
            assert torch.equal(batch.inputs.speaker[b], said[prompts[b], COPIES.index(copy)])
    for kept in (0, 3):
        length = int(plain.mel_lengths[kept])
        assert torch.equal(batch.mel[kept, :, :length], plain.mel[kept, :, :length])
        assert torch.equal(batch.speaker[kept], plain.speaker[kept])
    wave = torch.from_numpy(augment.copied(cache, 9, "noisy"))[None]
    expected = log_mel(wave, MelConfig())[0]
    assert torch.allclose(batch.inputs.prompt[3, :, : expected.shape[1]], expected)


def test_the_share_of_copies_is_the_one_set_and_a_batch_is_the_same_twice(
    cache: Cache, tiny_config: DubberConfig
) -> None:
    half = dataclasses.replace(tiny_config, train=dataclasses.replace(tiny_config.train, augmented=0.5))
    corpus, rng = Corpus(cache, half, rows=range(20)), np.random.default_rng(0)
    drawn = corpus.copies(np.tile(corpus.rows, 50), rng)
    share = np.mean([copy is not None for copy in drawn])
    assert abs(share - 0.5) < 0.065  # a thousand throws: four standard deviations
    assert {copy for copy in drawn if copy is not None} == set(COPIES)
    first, again = corpus.batch(5, 9), corpus.batch(5, 9)
    assert torch.equal(first.mel, again.mel) and torch.equal(first.inputs.prompt, again.inputs.prompt)


def test_who_speaks_too_fast_is_not_hurried(cache: Cache) -> None:
    recordings = Recordings(cache, MelConfig())
    count, frames = len(recordings.line(0).durations), recordings.frames()[0]
    assert recordings.has_room(0, "faster")
    crowded = dataclasses.replace(
        recordings._durations, values=np.ones(frames, dtype=np.int16), offsets=np.array([0, frames])
    )
    recordings._durations = crowded
    assert count < frames and not recordings.has_room(0, "faster")


def test_copies_that_nobody_listened_to_are_named(tiny_cache: Path) -> None:
    recordings = Recordings(Cache(tiny_cache), MelConfig())
    with pytest.raises(ValueError, match="expected speaker_copies"):
        recordings.speaker(0, "slower")


def test_held_out_recordings_have_no_copies(tiny_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cache, "training_rows", lambda self: [1, 4])
    cache = Cache(tiny_cache)
    prepare_copies(cache, Spectrum())
    heard = np.asarray(cache.rows(SPEAKER_COPIES), dtype=np.float32)
    assert heard.shape == (24, len(COPIES), Spectrum.width)
    assert not heard[[0, 2, 3]].any() and not heard[5:].any()
    assert np.linalg.norm(heard[[1, 4]], axis=2) == pytest.approx(np.ones((2, len(COPIES))), abs=2e-3)  # half precision
