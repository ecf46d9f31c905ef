"""Properties of durations: regulation, fitting into a slot, and the learned alignment they come from."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from authentic_dubber.config import TimingConfig
from authentic_dubber.timing import diagonal_loss, fit_durations, frame_symbols, place_in_symbol, regulate
from authentic_dubber.training.alignment import diagonal_prior, forward_sum_loss, monotonic_durations

TIMING = TimingConfig(slowest=0.6, fastest=1.5)


def test_regulation_repeats_each_symbol_for_its_frames() -> None:
    symbols = torch.arange(6.0).view(2, 3, 1)
    frames, lengths = regulate(symbols, torch.tensor([[2, 3, 1], [1, 1, 0]]))
    assert lengths.tolist() == [6, 2]
    assert frames[0, :, 0].tolist() == [0, 0, 1, 1, 1, 2]
    assert frames[1, :, 0].tolist() == [3, 4, 0, 0, 0, 0]


def test_place_runs_from_zero_to_one_inside_each_symbol() -> None:
    place = place_in_symbol(torch.tensor([[2, 4]]), 6)[0, :, 0]
    assert place.tolist() == pytest.approx([0.25, 0.75, 0.125, 0.375, 0.625, 0.875])
    assert frame_symbols(torch.tensor([[2, 4]]), 6).tolist() == [[0, 0, 1, 1, 1, 1]]


@pytest.mark.parametrize("seed", range(20))
def test_a_line_that_fits_fills_its_slot_to_the_frame(seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    predicted = torch.rand(int(torch.randint(3, 40, (1,), generator=rng)), generator=rng) * 9 + 1.5
    slot = round(float(predicted.sum()) / (0.7 + 0.7 * float(torch.rand(1, generator=rng))))
    fit = fit_durations(predicted, slot, TIMING)
    assert fit.fits
    assert int(fit.durations.sum()) == slot
    assert int(fit.durations.min()) >= 1


def test_a_line_that_does_not_fit_is_not_squeezed() -> None:
    predicted = torch.full((10,), 10.0)
    short, long = fit_durations(predicted, 40, TIMING), fit_durations(predicted, 400, TIMING)
    assert not short.fits and short.rate == pytest.approx(TIMING.fastest)
    assert int(short.durations.sum()) == round(100 / TIMING.fastest)
    assert not long.fits and long.rate == pytest.approx(TIMING.slowest)
    assert int(long.durations.sum()) == round(100 / TIMING.slowest)


def test_without_a_slot_the_models_own_rate_stays() -> None:
    fit = fit_durations(torch.tensor([2.4, 3.6, 4.0]), None, TIMING)
    assert fit.fits and fit.rate == pytest.approx(1)
    assert int(fit.durations.sum()) == fit.natural_frames == 10


def test_rounding_never_drifts_by_a_frame() -> None:
    """Ends are rounded, not lengths: a thousand symbols of 1.4 frames end within a frame of 1400."""
    fit = fit_durations(torch.full((1000,), 1.4), None, TIMING)
    ends = fit.durations.cumsum(0).double()
    # One frame each is reserved, so only the 0.4 above it is rounded.
    assert (ends - 1.4 * torch.arange(1, 1001)).abs().max() <= 0.5 + 1e-6


def test_diagonal_loss_is_zero_on_the_diagonal_and_ignores_lines_without_lips() -> None:
    diagonal = torch.cat([torch.zeros(1, 8, 1), torch.eye(8)[None]], dim=2)
    eight = torch.tensor([8])
    assert float(diagonal_loss(diagonal, eight, eight, 0.1)) == pytest.approx(0, abs=1e-6)
    backward = torch.cat([torch.zeros(1, 8, 1), torch.eye(8).flip(0)[None]], dim=2)
    assert float(diagonal_loss(backward, eight, eight, 0.1)) > 1
    assert float(diagonal_loss(backward, eight, torch.tensor([0]), 0.1)) == 0


def brute_force_paths(frames: int, symbols: int) -> list[tuple[int, ...]]:
    """Every monotonic assignment of frames to symbols that visits each symbol, as durations."""
    return [d for d in itertools.product(range(1, frames + 1), repeat=symbols) if sum(d) == frames]


@pytest.mark.parametrize("seed", range(8))
def test_monotonic_search_finds_the_best_of_all_paths(seed: int) -> None:
    score = np.random.default_rng(seed).standard_normal((7, 3)).astype(np.float32)

    def total(durations: tuple[int, ...]) -> float:
        place, value = 0, 0.0
        for n, length in enumerate(durations):
            value += float(score[place : place + length, n].sum())
            place += length
        return value

    best = max(brute_force_paths(7, 3), key=total)
    assert total(tuple(monotonic_durations(score))) == pytest.approx(total(best), abs=1e-5)


def test_monotonic_search_refuses_more_symbols_than_frames() -> None:
    with pytest.raises(ValueError, match="5 symbols"):
        monotonic_durations(np.zeros((4, 5), dtype=np.float32))


def test_forward_sum_prefers_the_true_alignment_and_ignores_padding() -> None:
    true = torch.full((1, 6, 3), -5.0)
    for t, n in enumerate([0, 0, 1, 1, 2, 2]):
        true[0, t, n] = 0.0
    n, t = torch.tensor([3]), torch.tensor([6])
    good, bad = forward_sum_loss(true, n, t), forward_sum_loss(true.flip(1), n, t)
    assert float(good) < float(bad)
    padded = torch.nn.functional.pad(true, (0, 2, 0, 4), value=9.0)
    assert float(forward_sum_loss(padded, n, t)) == pytest.approx(float(good), rel=1e-4)


def test_prior_is_a_distribution_that_follows_the_diagonal() -> None:
    prior = np.exp(diagonal_prior(10, 50))
    assert prior.sum(1) == pytest.approx(np.ones(50), abs=1e-4)
    peaks = prior.argmax(1)
    assert (np.diff(peaks) >= 0).all() and peaks[0] == 0 and peaks[-1] == 9
