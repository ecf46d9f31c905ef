"""Everything a vocoder training must remember to go on as if it had never stopped, and its checkpoints."""

from __future__ import annotations

import copy
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from .discriminators import MultiPeriodDiscriminator
from .generator import IstftConfig, IstftGenerator
from .harmonic import HarmonicConfig, HarmonicGenerator
from .mel import MelConfig
from .storage import load_strictly, read_config, read_tensors, whole_folder, write_config, write_tensors

BETAS = (0.8, 0.99)
"""HiFi-GAN's and Vocos's: a shorter memory than Adam's default, since an adversary keeps moving the target."""


@dataclass(slots=True)
class TrainingState:
    """The moving parts of a training.

    Attributes:
        generator: the network being trained.
        average: exponential moving average of its weights; this one is exported.
        discriminator: the critics, idle until the adversarial phase.
        generator_optimizer, discriminator_optimizer: their AdamWs.
        step: updates made so far.
    """

    generator: IstftGenerator | HarmonicGenerator
    average: IstftGenerator | HarmonicGenerator
    discriminator: MultiPeriodDiscriminator
    generator_optimizer: Optimizer
    discriminator_optimizer: Optimizer
    step: int = 0

    @classmethod
    def fresh(
        cls, size: IstftConfig | HarmonicConfig, mel: MelConfig, *, seed: int, weight_decay: float, device: torch.device
    ) -> TrainingState:
        """Step 0; the initial weights depend on the seed alone."""
        kind = HarmonicGenerator if isinstance(size, HarmonicConfig) else IstftGenerator
        generator = kind(size, mel, seed=seed).to(device)  # type: ignore[arg-type]
        discriminator = MultiPeriodDiscriminator(seed=seed + 1).to(device)
        return cls(
            generator=generator,
            average=copy.deepcopy(generator).eval().requires_grad_(False),
            discriminator=discriminator,
            generator_optimizer=_adamw(generator, weight_decay),
            discriminator_optimizer=_adamw(discriminator, weight_decay),
        )

    @torch.no_grad()
    def advance_average(self, decay: float) -> None:
        """Move the average towards the weights just reached.

        Early on the decay is lower, else the average would remember the random start for thousands of steps.
        """
        decay = min(decay, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.generator.parameters()), 1 - decay)

    def save(self, folder: Path, config: dict[str, Any]) -> Path:
        """Write the checkpoint of this step under `folder`, whole or not at all.

        Args:
            config: the training's settings, stored to refuse a resume under others.
        """
        target = folder / f"step-{self.step:08d}"
        with whole_folder(target) as filling:
            write_config(filling, {"step": self.step, "train": config})
            for name, module in self._modules().items():
                write_tensors(filling / f"{name}.safetensors", module.state_dict())
            for name, (module, optimizer) in self._optimizers().items():
                write_tensors(filling / f"{name}_optimizer.safetensors", flatten_moments(module, optimizer))
            write_tensors(filling / "random.safetensors", _random_states())
        return target

    def load(self, checkpoint: Path) -> None:
        """Go back to a checkpoint, random states included.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: its weights are of another size.
        """
        for name, module in self._modules().items():
            path = checkpoint / f"{name}.safetensors"
            load_strictly(module, read_tensors(path), str(path))
        for name, (module, optimizer) in self._optimizers().items():
            restore_moments(module, optimizer, read_tensors(checkpoint / f"{name}_optimizer.safetensors"))
        _restore_random(read_tensors(checkpoint / "random.safetensors"))
        self.step = int(read_config(checkpoint)["step"])

    def _modules(self) -> dict[str, nn.Module]:
        return {"generator": self.generator, "average": self.average, "discriminator": self.discriminator}

    def _optimizers(self) -> dict[str, tuple[nn.Module, Optimizer]]:
        return {
            "generator": (self.generator, self.generator_optimizer),
            "discriminator": (self.discriminator, self.discriminator_optimizer),
        }


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints under a folder, oldest first."""
    return sorted(path for path in folder.glob("step-*") if path.is_dir())


def keep_newest(folder: Path, count: int) -> None:
    """Delete all but the newest `count` checkpoints."""
    for old in checkpoints(folder)[:-count]:
        shutil.rmtree(old)


def _adamw(module: nn.Module, weight_decay: float) -> AdamW:
    trained = [weight for weight in module.parameters() if weight.requires_grad]
    return AdamW(trained, betas=BETAS, weight_decay=weight_decay, fused=True)


def flatten_moments(module: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """Moments by parameter name; empty before the first update."""
    flat: dict[str, Tensor] = {}
    for name, parameter in module.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            flat[f"{name}/{key}"] = value
    return flat


def restore_moments(module: nn.Module, optimizer: Optimizer, flat: dict[str, Tensor]) -> None:
    trained = (name for name, weight in module.named_parameters() if weight.requires_grad)
    index = {name: place for place, name in enumerate(trained)}
    state: dict[int, dict[str, Tensor]] = {}
    for path, value in flat.items():
        name, key = path.rsplit("/", 1)
        state.setdefault(index[name], {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _random_states() -> dict[str, Tensor]:
    """Batches draw from (seed, step) and layers draw nothing; this keeps a source that rolls torch's own dice exact."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def _restore_random(states: dict[str, Tensor]) -> None:
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
