"""What a vocoder training shows of itself: TensorBoard scalars, held-out distance, mels side by side, sound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .checkpoint import AnyGenerator
from .losses import mel_distance
from .mel import MelConfig, log_mel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 3
"""Held-out waves that are drawn; the distance is over all of them."""


class TrainingReport:
    """A TensorBoard log of one training.

    Args:
        folder: of the event files.
        waves: held-out waves, each (S,).
        step: where the training stands; later points of an interrupted run are hidden.
    """

    def __init__(self, folder: Path, waves: Sequence[npt.NDArray[np.float32]], step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.waves = [torch.from_numpy(np.asarray(wave, np.float32)) for wave in waves]
        self.writer = SummaryWriter(str(folder), purge_step=step + 1)

    def __enter__(self) -> TrainingReport:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.writer.close()

    def scalars(self, values: Mapping[str, Tensor], step: int) -> None:
        """Record the scalars of a training step."""
        for name, value in values.items():
            self.writer.add_scalar(f"train/{name}", float(value), step)

    def held_out(self, generator: AnyGenerator, step: int) -> float | None:
        """Record mel distance, pictures and sound of held-out waves resynthesised; returns the distance in nepers.

        None when there are no held-out waves.
        """
        config = generator.mel_config
        distances = []
        for place, wave in enumerate(self.waves):
            real, fake = resynthesise(generator, wave)
            mel = log_mel(real[None], config)
            distances.append(float(mel_distance(fake[None], mel, config)))
            if place < SHOWN:
                figure = draw_mels(mel[0], log_mel(fake[None], config)[0], config)
                self.writer.add_figure(f"held_out/{place}", figure, step)
                self.writer.add_audio(f"held_out/{place}", fake[None], step, sample_rate=config.sample_rate)
        if not distances:
            return None
        mean = float(np.mean(distances))
        self.writer.add_scalar("held_out/mel_distance", mean, step)
        self.writer.flush()
        return mean


@torch.no_grad()
def resynthesise(generator: AnyGenerator, wave: Tensor) -> tuple[Tensor, Tensor]:
    """A wave, cut to whole hops, and what the generator makes of its mel; both on the CPU.

    Shape:
        (S,) -> (S,), (S,) with S a multiple of the hop
    """
    config = generator.mel_config
    real = wave[: len(wave) // config.hop_samples * config.hop_samples]
    mel = log_mel(real[None], config)
    device = next(generator.parameters()).device
    return real, generator(mel.to(device))[0].cpu()


def draw_mels(real: Tensor, made: Tensor, config: MelConfig) -> Figure:
    """The two mels under each other, on one colour scale.

    Shape:
        (F, T), (F, T) -> a figure
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 1, sharex=True)
    seconds = config.seconds(real.shape[1])
    for axis, mel, title in zip(axes, (real, made), ("recording", "resynthesised"), strict=True):
        axis.imshow(
            mel.numpy(), origin="lower", aspect="auto", extent=(0, seconds, 0, config.n_mels), vmin=-11.5, vmax=2
        )
        axis.set(title=title, ylabel="mel band")
    axes[-1].set_xlabel("seconds")
    return figure
