"""Lines of unequal length to padded tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from graphs import DialogueGraph
from graphs.dialogue import collate

from .synthesizer import Inputs


def pad(rows: Sequence[npt.NDArray[Any]], value: float = 0) -> Tensor:
    """Stack arrays of unequal first length.

    Shape:
        B x (L_i, ...) -> (B, L, ...) with L at least 1.
    """
    longest = max(1, *(len(row) for row in rows))
    out = np.full((len(rows), longest, *rows[0].shape[1:]), value, dtype=rows[0].dtype)
    for i, row in enumerate(rows):
        out[i, : len(row)] = row
    return torch.from_numpy(out)


def collate_inputs(
    *,
    symbols: Sequence[Sequence[int]],
    prompts: Sequence[npt.NDArray[np.float32]],
    speakers: Sequence[npt.NDArray[np.float32]],
    lips: Sequence[npt.NDArray[np.float32]],
    graphs: Sequence[DialogueGraph],
    feelings: Sequence[npt.NDArray[np.float32] | None],
    strengths: Sequence[float],
) -> Inputs:
    """Lines to a batch.

    Args:
        feelings: shares over the taxonomy for lines whose feeling is set, None where the director judges.

    Shape:
        symbols B x (N,), prompts B x (F, R), speakers B x (C,), lips B x (V, L), graphs B x one line, feelings (E,).
    """
    width = max((len(shares) for shares in feelings if shares is not None), default=1)
    rows = [np.zeros(width, dtype=np.float32) if shares is None else shares for shares in feelings]
    return Inputs(
        symbols=pad([np.array(ids, dtype=np.int64) for ids in symbols]),
        symbol_lengths=torch.tensor([len(ids) for ids in symbols]),
        prompt=pad([mel.T.astype(np.float32) for mel in prompts]).transpose(1, 2),  # (B, R, F) -> (B, F, R)
        prompt_lengths=torch.tensor([mel.shape[1] for mel in prompts]),
        speaker=torch.from_numpy(np.stack(speakers).astype(np.float32)),
        lips=pad([x.astype(np.float32) for x in lips]),
        lip_lengths=torch.tensor([len(x) for x in lips]),
        graph=collate(graphs),
        feeling=torch.from_numpy(np.stack(rows).astype(np.float32)),
        directed=torch.tensor([shares is not None for shares in feelings]),
        strength=torch.tensor(list(strengths), dtype=torch.float32),
    )
