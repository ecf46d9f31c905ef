"""The network of NISQA-TTS: a convolution over 150 ms of mel spectrogram, a recurrence over time, one opinion.

Mittag and Möller, "Deep Learning Based Assessment of Synthetic Speech Naturalness", Interspeech 2020; the parts are
named in Mittag et al., "NISQA", Interspeech 2021: the standard frame-wise CNN, a bidirectional LSTM, last-step pooling.
For inference, on one clip at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

BANDS, WIDTH = 48, 15
"""Mel bands and frames of a segment: what the convolutions are made for."""
AT_ONCE = 256
"""Segments convolved together; bounds memory on long clips and changes no figure."""
ARCHITECTURE: Mapping[str, Any] = {
    "model": "NISQA",
    "double_ended": False,
    "cnn_model": "standard",
    "cnn_kernel_size": (3, 3),
    "td": "lstm",
    "td_lstm_bidirectional": True,
    "td_lstm_num_layers": 1,
    "td_2": "skip",
    "pool": "last_step_bi",
    "ms_n_mels": BANDS,
    "ms_seg_length": WIDTH,
}
"""Settings of a checkpoint that this network answers to; the same family holds others."""


class Nisqa(nn.Module):
    """Mel segments of one clip to its naturalness.

    Args:
        channels: of the first, second and the four other convolutions.
        features: width between convolutions and recurrence.
        hidden: width of the recurrence, each way.
    """

    def __init__(self, channels: tuple[int, int, int] = (16, 32, 64), features: int = 20, hidden: int = 128) -> None:
        super().__init__()
        first, second, rest = channels
        widths = [1, first, second, rest, rest, rest, rest]
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths[1:])
        self.project = nn.Linear(rest * (BANDS // 8) * 2, features)
        self.recurrence = nn.LSTM(features, hidden, batch_first=True, bidirectional=True)
        self.opinion = nn.Linear(2 * hidden, 1)

    def frames(self, segments: Tensor) -> Tensor:
        """Each segment by itself.

        Shape:
            (N, BANDS, WIDTH) -> (N, features).
        """
        x = segments[:, None]
        for i, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            x = functional.relu(norm(convolution(x)))
            if i in (0, 1, 3):  # 15 frames, padded to 17, become 8, 4 and 2
                x = functional.max_pool2d(x, 2, padding=(0, int(i == 0)))
        return self.project(x.flatten(1))

    def forward(self, segments: Tensor) -> Tensor:
        """Mean opinion score.

        Shape:
            (N, BANDS, WIDTH) -> ().
        """
        frames = torch.cat([self.frames(part) for part in segments.split(AT_ONCE)])
        _, (last, _) = self.recurrence(frames[None])
        # Each way ends where it has heard the whole clip: forwards at its end, backwards at its beginning.
        return self.opinion(last.flatten())[0]


def load(path: Path) -> tuple[Nisqa, dict[str, Any]]:
    """The network of a published checkpoint, ready to listen, and the checkpoint's settings.

    The file is a pickle; only plain values and tensors are read from it (`weights_only`), anything else is refused.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the checkpoint is of another network, or its weights are not exactly this network's.
    """
    stored = torch.load(path, weights_only=True, map_location="cpu")
    if not isinstance(stored, dict) or not {"args", "model_state_dict"} <= stored.keys():
        raise ValueError(f"{path}: expected a NISQA checkpoint with args and model_state_dict, got {type(stored)}")
    settings: dict[str, Any] = stored["args"]
    others = {key: settings.get(key) for key, value in ARCHITECTURE.items() if settings.get(key) != value}
    if others:
        raise ValueError(f"{path}: expected the NISQA-TTS network, got one with {others}")
    channels = (settings["cnn_c_out_1"], settings["cnn_c_out_2"], settings["cnn_c_out_3"])
    network = Nisqa(channels, settings["cnn_fc_out_h"], settings["td_lstm_h"])
    ours = {theirs: name for name, theirs in ((name, published_name(name)) for name in network.state_dict())}
    try:
        network.load_state_dict({ours.get(key, key): value for key, value in stored["model_state_dict"].items()})
    except RuntimeError as error:
        raise ValueError(f"{path}: expected the weights of NISQA-TTS, got others: {error}") from error
    return network.eval().requires_grad_(False), settings


def published_name(name: str) -> str:
    """What the published checkpoint calls a weight of ours.

    >>> published_name("norms.0.running_mean")
    'cnn.model.bn1.running_mean'
    """
    part, _, rest = name.partition(".")
    match part:
        case "convolutions" | "norms":
            index, _, weight = rest.partition(".")
            return f"cnn.model.{'conv' if part == 'convolutions' else 'bn'}{int(index) + 1}.{weight}"
        case "project":
            return f"cnn.model.fc_out.{rest}"
        case "recurrence":
            return f"time_dependency.model.lstm.{rest}"
        case "opinion":
            return f"pool.model.linear.{rest}"
        case _:
            raise ValueError(f"expected a weight of Nisqa, got {name!r}")
