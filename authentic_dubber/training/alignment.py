"""Learned alignments: which mel frames belong to which symbol, without any pronunciation dictionary.

A small network places symbols and frames in one space; the forward-sum loss raises the total probability of all
monotonic paths (Shih et al. 2021, "RAD-TTS"; Badlani et al. 2022, "One TTS alignment to rule them all"), helped by a
beta-binomial prior around the diagonal. Monotonic alignment search (Kim et al. 2020, "Glow-TTS") then reads durations
off. It works on any language the front end speaks, which a dictionary-bound aligner does not.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import betabinom
from torch import Tensor, nn
from torch.nn import functional

BLANK_LOG_PROBABILITY = -1.0
"""Logit of the CTC blank beside the attention logits; the value of the published recipe."""
PRIOR_SCALE = 0.6
"""Concentration of the beta-binomial prior; smaller is wider. Wide, since acted speech pauses where text does not."""


class Aligner(nn.Module):
    """Soft alignment between symbols and mel frames.

    Args:
        symbols: size of the inventory with padding.
        mels: mel bands F.
        width: width of the shared space.
    """

    def __init__(self, symbols: int, mels: int, width: int = 96) -> None:
        super().__init__()
        self.embedding = nn.Embedding(symbols, 2 * width, padding_idx=0)
        self.text = nn.Sequential(
            nn.Conv1d(2 * width, 2 * width, 3, padding=1), nn.ReLU(), nn.Conv1d(2 * width, width, 1)
        )
        self.sound = nn.Sequential(
            nn.Conv1d(mels, 2 * width, 3, padding=1), nn.ReLU(), nn.Conv1d(2 * width, width, 3, padding=1)
        )

    def forward(self, symbols: Tensor, mel: Tensor, prior: Tensor) -> Tensor:
        """Log-probability of each symbol given a frame, prior included; padding is not masked here.

        Shape:
            symbols (B, N), mel (B, F, T), prior (B, T, N) in log -> (B, T, N).
        """
        text = self.text(self.embedding(symbols).transpose(1, 2))  # (B, D, N)
        sound = self.sound(mel)  # (B, D, T)
        distance = torch.cdist(sound.transpose(1, 2), text.transpose(1, 2))
        return functional.log_softmax(-0.2 * distance.square(), dim=2) + prior


def forward_sum_loss(log_probability: Tensor, symbol_lengths: Tensor, frame_lengths: Tensor) -> Tensor:
    """Mean negative log-likelihood per frame of all monotonic paths that visit every symbol.

    CTC over the target 1..N with a blank of fixed logit is exactly that sum, so the library's kernel serves.

    Shape:
        (B, T, N), (B,), (B,) -> ().
    """
    batch, _frames, symbols = log_probability.shape
    padded = functional.pad(log_probability, (1, 0), value=BLANK_LOG_PROBABILITY)
    columns = torch.arange(symbols + 1, device=padded.device)[None, None]
    padded = padded.masked_fill(columns > symbol_lengths[:, None, None], -1e4)
    classes = functional.log_softmax(padded, dim=2).transpose(0, 1)  # (T, B, N + 1)
    targets = torch.arange(1, symbols + 1, device=padded.device).expand(batch, -1)
    loss = functional.ctc_loss(
        classes.float(), targets, frame_lengths, symbol_lengths, blank=0, reduction="none", zero_infinity=True
    )
    return (loss / frame_lengths).mean()


@lru_cache(maxsize=4096)
def diagonal_prior(symbols: int, frames: int) -> npt.NDArray[np.float32]:
    """Log of a beta-binomial band around the diagonal, (T, N); each row sums to one before the logarithm."""
    position = np.arange(1, frames + 1)
    a, b = PRIOR_SCALE * position, PRIOR_SCALE * (frames + 1 - position)
    probability = betabinom.pmf(np.arange(symbols)[None], symbols - 1, a[:, None], b[:, None])
    return np.log(probability + 1e-8).astype(np.float32)


def monotonic_durations(log_probability: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Frames per symbol along the likeliest monotonic path; every symbol gets at least one.

    Shape:
        (T, N) -> (N,), sums to T.

    Raises:
        ValueError: fewer frames than symbols.
    """
    frames, symbols = log_probability.shape
    if frames < symbols:
        raise ValueError(f"{symbols} symbols need at least as many frames, got {frames}")
    score = np.full(symbols, -np.inf)
    score[0] = log_probability[0, 0]
    stayed = np.ones((frames, symbols), dtype=bool)
    for t in range(1, frames):
        moved = np.concatenate([[-np.inf], score[:-1]])
        stayed[t] = score >= moved
        score = np.maximum(score, moved) + log_probability[t]
    durations = np.zeros(symbols, dtype=np.int64)
    n = symbols - 1
    for t in range(frames - 1, -1, -1):
        durations[n] += 1
        if not stayed[t, n]:
            n -= 1
    return durations
