"""The moving parts of an acoustic training, and its checkpoints."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import torch

from authentic_dubber.config import DubberConfig
from authentic_dubber.synthesizer import Synthesizer
from vocoder.storage import load_strictly, read_config, read_tensors, whole_folder, write_config, write_tensors
from vocoder.training_state import flatten_moments, restore_moments


@dataclass(slots=True)
class State:
    """The network, its running average (which is exported), the optimizer and the step.

    Attributes:
        parts: into how many parts a process cuts its share of a batch, one after another, so that it fits the memory.
    """

    model: Synthesizer
    average: Synthesizer
    optimizer: torch.optim.Optimizer
    step: int = 0
    parts: int = 1

    @classmethod
    def fresh(cls, config: DubberConfig, seed: int, device: torch.device) -> State:
        """Step 0; the initial weights depend on the seed alone. Without weight decay this AdamW is Adam."""
        torch.manual_seed(seed)
        model = Synthesizer(config).to(device)
        optimizer = torch.optim.AdamW(
            model.parameters(),
            betas=(0.9, 0.98),
            eps=config.train.epsilon,
            weight_decay=config.train.weight_decay,
            fused=True,
        )
        return cls(model, copy.deepcopy(model).eval().requires_grad_(False), optimizer)

    def save(self, folder: Path, seed: int) -> Path:
        target = folder / f"step-{self.step:08d}"
        with whole_folder(target) as filling:
            facts = {"step": self.step, "seed": seed, "parts": self.parts, "model": self.model.config.to_json()}
            write_config(filling, facts)
            write_tensors(filling / "model.safetensors", self.model.state_dict())
            write_tensors(filling / "average.safetensors", self.average.state_dict())
            write_tensors(filling / "optimizer.safetensors", flatten_moments(self.model, self.optimizer))
        return target

    def load(self, checkpoint: Path) -> None:
        for name, module in (("model", self.model), ("average", self.average)):
            path = checkpoint / f"{name}.safetensors"
            load_strictly(module, read_tensors(path), str(path))
        restore_moments(self.model, self.optimizer, read_tensors(checkpoint / "optimizer.safetensors"))
        facts = read_config(checkpoint)
        self.step = int(facts["step"])
        # What did not fit before will not fit now.
        self.parts = max(self.parts, int(facts.get("parts", 1)))

    @torch.no_grad()
    def advance_average(self, decay: float) -> None:
        decay = min(decay, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1 - decay)
