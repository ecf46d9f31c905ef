"""Do two processes train what one trains with twice the lines? And does an update in parts train what a whole one does?

    python recipes/ddp_equality.py CACHE [--size paper --width 32] [--steps 20] [--lines 4] [--processes 2]

The same updates are made by one process, by several under `torchrun`, each with its share of the lines, and by one
process in as many parts; float32, without dropout (there is no batch norm in the model). Exits with 1 when any weight
differs by more than the bar.

Beside them stands what must be seen to be wrong: the same processes, each dividing its losses by its own lines, frames
and symbols, and gradients averaged, which is what wrapping a model for distributed training does where nobody thinks
of counts. Exits with 1 when that comes within the bar too, for then the figures could not tell.

What differs most are biases of attention keys: no output depends on them, so their gradient is rounding, which Adam
makes steps of. At ten times the published rate twenty such steps reach the bar.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from authentic_dubber.config import DubberConfig
from authentic_dubber.narrowing import without_dropout
from authentic_dubber.training.cache import Cache
from authentic_dubber.training.dataset import Corpus
from authentic_dubber.training.loop import Schedule, State, train
from authentic_dubber.training.start import AcousticRun, run_config
from authentic_dubber.training.team import Team, join_team
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
        typical: the middle one of the largest differences of each tensor.
        wrong: done so that it must differ.
    """

    of: str
    largest: float
    where: str
    moved: float
    typical: float
    wrong: bool = False

    @property
    def equal(self) -> bool:
        return self.largest <= BAR < self.moved

    @property
    def holds(self) -> bool:
        """Equal where it must be, and apart where it must be."""
        return self.equal != self.wrong


@dataclass(frozen=True, slots=True)
class ByOwnCounts(Team):
    """A team that makes the usual mistake: every process's loss is the mean over its own share, gradients are averaged.

    A frame of a process that has few then weighs more than one of a process that has many.
    """

    def total(self, values: Tensor) -> Tensor:
        """Of counts: this process's own, so often that gradients, which are summed, come out as their mean."""
        return values * self.size

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        self._honest.sum_gradients(parameters)

    def sum_terms(self, terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return self._honest.sum_terms(terms)

    @property
    def _honest(self) -> Team:
        return Team(self.rank, self.size, self.device)


def compared(
    of: str, expected: dict[str, Tensor], got: dict[str, Tensor], start: dict[str, Tensor], wrong: bool = False
) -> Difference:
    """The largest difference of two trainings from the same start."""
    apart = {name: float((value - got[name]).abs().max()) for name, value in expected.items()}
    where = max(apart, key=lambda name: apart[name])
    moved = max(float((value - start[name]).abs().max()) for name, value in expected.items())
    return Difference(of, apart[where], where, moved, statistics.median(apart.values()), wrong)


def prepared(config: DubberConfig, steps: int, lines: int, rate: float) -> DubberConfig:
    """The same config for a comparison: so many updates of so many lines, the rate at its peak from the second."""
    settings = {"total_steps": steps, "batch": lines, "warmup": 2, "learning_rate": rate, "rehearsed": 0}
    return without_dropout(replace(config, train=replace(config.train, augmented=0.0, **settings)))


def run(cache: Path, config: DubberConfig, folder: Path, team: Team, parts: int = 1) -> None:
    """Train in this process, as one of the team's."""
    torch.set_num_threads(1)
    schedule = Schedule(bf16=False, parts=parts, report_every=10**9, checkpoint_every=10**9)
    train(Corpus(Cache(cache), config), folder, seed=SEED, schedule=schedule, progress=False, team=team)


def run_alone(cache: Path, config: DubberConfig, folder: Path, parts: int = 1) -> dict[str, Tensor]:
    """Train in this process alone; the weights at the end."""
    run(cache, config, folder, Team(), parts)
    return weights(folder)


def run_worker(cache: Path, config: Path, folder: Path) -> None:
    """One process of several: first as it should be, into `folder/right`, then by own counts, into `folder/wrong`."""
    told = DubberConfig.from_json(config.read_text(encoding="utf-8"))
    with join_team("cpu") as team:
        run(cache, told, folder / "right", team)
        run(cache, told, folder / "wrong", ByOwnCounts(team.rank, team.size, team.device))


def weights(folder: Path) -> dict[str, Tensor]:
    """Of the last checkpoint; the model itself, not its average."""
    return read_tensors(checkpoints(folder / "checkpoints")[-1] / "model.safetensors")


def launch_team(cache: Path, config: Path, folder: Path, processes: int) -> None:
    """The same by `torchrun`, see `run_worker`.

    Raises:
        subprocess.CalledProcessError: a process failed.
    """
    # Standalone takes a free port, so that two comparisons on one machine do not meet.
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [sys.executable, *launch, __file__, str(cache), "--config", str(config), "--worker", str(folder)]
    root = str(Path(__file__).resolve().parents[1])
    paths = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths})


def compare(
    cache: Path,
    config: DubberConfig,
    processes: int,
    launch: Callable[[Path, Path, Path, int], None] = launch_team,
) -> list[Difference]:
    """One process against several, and against one that computes in parts.

    Args:
        launch: runs `run_worker` in so many processes, given corpus, config and folder.
    """
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        told = folder / "config.json"
        told.write_text(config.to_json(), encoding="utf-8")
        start = State.fresh(config, SEED, torch.device("cpu")).model.state_dict()
        whole = run_alone(cache, config, folder / "whole")
        launch(cache, told, folder / "team", processes)
        right, wrong = weights(folder / "team" / "right"), weights(folder / "team" / "wrong")
        parts = run_alone(cache, config, folder / "parts", parts=processes)
    return [
        compared(f"{processes} processes", whole, right, start),
        compared(f"one process in {processes} parts", whole, parts, start),
        compared(f"wrong on purpose: {processes} processes, each by its own counts", whole, wrong, start, wrong=True),
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
        run_worker(options.cache, options.config, options.worker)
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
            told = f"largest difference {one.largest:.2e} ({one.where}), in the median tensor {one.typical:.2e}"
            told += f"; weights moved up to {one.moved:.2e}"
            print(f"{'ok  ' if one.holds else 'MISS'} {one.of}, {options.steps} updates: {told}")
    return 0 if all(one.holds for one in found) else 1


if __name__ == "__main__":
    sys.exit(main())
