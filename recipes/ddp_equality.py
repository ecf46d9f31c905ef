"""Do two processes train what one trains with twice the lines? And does an update in parts train what a whole one does?

    python recipes/ddp_equality.py CACHE [--size paper --width 32] [--steps 20] [--lines 4] [--processes 2]

The same updates are made by one process, by several under `torchrun`, each with its share of the lines, and by one
process in as many parts; float32, without dropout (there is no batch norm in the model). Exits with 1 when any weight
differs by more than the bar.

What differs most are biases of attention keys: no output depends on them, so their gradient is rounding, which Adam
makes steps of. At ten times the published rate twenty such steps reach the bar.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from authentic_dubber.config import DubberConfig
from authentic_dubber.narrowing import without_dropout
from authentic_dubber.training.cache import Cache
from authentic_dubber.training.dataset import Corpus
from authentic_dubber.training.loop import Schedule, State, train
from authentic_dubber.training.start import AcousticRun, run_config
from authentic_dubber.training.team import join_team
from vocoder.storage import read_tensors
from vocoder.training_state import checkpoints

BAR = 1e-4
SEED = 0


@dataclass(frozen=True, slots=True)
class Difference:
    """Two trainings, weight by weight.

    Attributes:
        largest: absolute difference of any weight, and `where`.
        moved: the most that any weight moved since its start; a difference says little where nothing moves.
    """

    of: str
    largest: float
    where: str
    moved: float

    @property
    def holds(self) -> bool:
        return self.largest <= BAR < self.moved


def compared(of: str, expected: dict[str, Tensor], got: dict[str, Tensor], start: dict[str, Tensor]) -> Difference:
    """The largest difference of two trainings from the same start."""
    apart = {name: float((value - got[name]).abs().max()) for name, value in expected.items()}
    where = max(apart, key=lambda name: apart[name])
    moved = max(float((value - start[name]).abs().max()) for name, value in expected.items())
    return Difference(of, apart[where], where, moved)


def prepared(config: DubberConfig, steps: int, lines: int, rate: float) -> DubberConfig:
    """The same config for a comparison: so many updates of so many lines, the rate at its peak from the second."""
    settings = {"total_steps": steps, "batch": lines, "warmup": 2, "learning_rate": rate, "rehearsed": 0}
    return without_dropout(replace(config, train=replace(config.train, augmented=0.0, **settings)))


def run(cache: Path, config: DubberConfig, folder: Path, parts: int = 1) -> dict[str, Tensor]:
    """Train in this process, or in this process's team; the weights at the end."""
    torch.set_num_threads(1)
    with join_team("cpu") as team:
        schedule = Schedule(bf16=False, parts=parts, report_every=10**9, checkpoint_every=10**9)
        train(Corpus(Cache(cache), config), folder, seed=SEED, schedule=schedule, progress=False, team=team)
    return weights(folder)


def weights(folder: Path) -> dict[str, Tensor]:
    """Of the last checkpoint; the model itself, not its average."""
    return read_tensors(checkpoints(folder / "checkpoints")[-1] / "model.safetensors")


def run_team(cache: Path, config: Path, folder: Path, processes: int) -> dict[str, Tensor]:
    """The same by `torchrun`.

    Raises:
        subprocess.CalledProcessError: a process failed.
    """
    # Standalone takes a free port, so that two comparisons on one machine do not meet.
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [sys.executable, *launch, __file__, str(cache), "--config", str(config), "--worker", str(folder)]
    root = str(Path(__file__).resolve().parents[1])
    paths = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths})
    return weights(folder)


def compare(cache: Path, config: DubberConfig, processes: int) -> list[Difference]:
    """One process against several, and against one that computes in parts."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        told = folder / "config.json"
        told.write_text(config.to_json(), encoding="utf-8")
        start = State.fresh(config, SEED, torch.device("cpu")).model.state_dict()
        whole = run(cache, config, folder / "whole")
        team = run_team(cache, told, folder / "team", processes)
        parts = run(cache, config, folder / "parts", parts=processes)
    return [
        compared(f"{processes} processes under torchrun", whole, team, start),
        compared(f"one process in {processes} parts", whole, parts, start),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path, help="a prepared corpus")
    parser.add_argument("--size", default="paper")
    parser.add_argument("--width", type=int, default=32, help="of the model, all its parts as much narrower")
    parser.add_argument("--config", type=Path, help="a model's config as JSON, in place of a size; trained as it says")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--lines", type=int, default=4, help="of each process; one process alone takes them all")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rate", type=float, default=1e-4, help="learning rate; the published peak is 1e-4")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker is not None:
        run(options.cache, DubberConfig.from_json(options.config.read_text(encoding="utf-8")), options.worker)
        return 0
    if options.config is None:
        config = run_config(AcousticRun(size=options.size, width=options.width), Cache(options.cache))
    else:
        config = DubberConfig.from_json(options.config.read_text(encoding="utf-8"))
    config = prepared(config, options.steps, options.lines * options.processes, options.rate)
    found = compare(options.cache, config, options.processes)
    if options.json:
        print(json.dumps({"bar": BAR, "differences": [asdict(one) | {"holds": one.holds} for one in found]}))
    else:
        for one in found:
            told = f"largest difference {one.largest:.2e} ({one.where}); weights moved up to {one.moved:.2e}"
            print(f"{'ok  ' if one.holds else 'MISS'} {one.of}, {options.steps} updates: {told}")
    return 0 if all(one.holds for one in found) else 1


if __name__ == "__main__":
    sys.exit(main())
