"""One update by several processes, in parts, or in too little memory: the same lines weigh the same."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from authentic_dubber.config import DubberConfig
from authentic_dubber.narrowing import without_dropout
from authentic_dubber.training import update
from authentic_dubber.training.cache import Cache
from authentic_dubber.training.dataset import Batch, Corpus
from authentic_dubber.training.loop import Schedule, State, train, train_step
from authentic_dubber.training.losses import Counts, losses
from authentic_dubber.training.team import Team
from authentic_dubber.training.update import parts_of
from recipes.ddp_equality import Difference, compare, prepared

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def still(tiny_config: DubberConfig) -> DubberConfig:
    return without_dropout(tiny_config)


@pytest.fixture
def corpus(tiny_cache: Path, still: DubberConfig) -> Corpus:
    return Corpus(Cache(tiny_cache), still, rows=range(20))


def gradients(config: DubberConfig, parts: list[Batch], counts: Counts | None) -> dict[str, torch.Tensor]:
    """Of the sum of the parts' losses, each divided by the given counts, or by its own."""
    model = State.fresh(config, 0, torch.device("cpu")).model
    for part in parts:
        encoded = model.encode(part.inputs)
        spoken = model.decode(encoded, part.durations, part.prosody)
        lost = losses(model, encoded, spoken, part, counts).total
        (lost if counts is not None else lost / len(parts)).backward()
    return {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}


def apart(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def test_a_batch_is_dealt_whole_and_without_its_padding(corpus: Corpus) -> None:
    batch = corpus.fixed([0, 1, 2, 3, 4, 5, 6], k=2)
    hands = [batch.chosen(Team(rank, 3).share(batch.lines)) for rank in range(3)]
    dealt = [row for rank in range(3) for row in Team(rank, 3).share(7).tolist()]
    assert sorted(dealt) == list(range(7))
    for rank, hand in enumerate(hands):
        assert hand.mel.shape[2] == int(hand.mel_lengths.max())
        assert hand.durations.shape == hand.inputs.symbols.shape == hand.prosody.pitch.shape
        for i, row in enumerate(Team(rank, 3).share(7).tolist()):
            frames = int(batch.mel_lengths[row])
            assert torch.equal(hand.mel[i, :, :frames], batch.mel[row, :, :frames])
            assert torch.equal(hand.inputs.graph.own["face"][i], batch.inputs.graph.own["face"][row])
    with pytest.raises(ValueError, match="at least one line for each of 3 processes, got 2"):
        Team(0, 3).share(2)


def test_gradients_of_parts_add_up_to_those_of_the_whole(corpus: Corpus, still: DubberConfig) -> None:
    """With the counts of the whole. Divided by their own, parts of unequal length would weigh alike: it is not that."""
    batch = corpus.fixed([0, 3, 5, 8, 11, 14], k=3)
    whole = gradients(still, [batch], Counts.of(batch))
    parts = parts_of(batch, 4)
    assert [part.lines for part in parts] == [2, 2, 1, 1]
    assert set(gradients(still, parts, Counts.of(batch))) == set(whole)
    assert apart(gradients(still, parts, Counts.of(batch)), whole) < 1e-5  # float32 sums in another order
    assert apart(gradients(still, parts, None), whole) > 1e-3


def test_an_update_in_parts_is_the_update(corpus: Corpus, still: DubberConfig) -> None:
    batch = corpus.fixed([0, 3, 5, 8], k=3)
    whole, parts = (State.fresh(still, 0, torch.device("cpu")) for _ in range(2))
    parts.parts = 3
    terms = [train_step(state, batch, 0, bf16=False) for state in (whole, parts)]
    for name, term in terms[0].items():
        torch.testing.assert_close(terms[1][name], term, atol=1e-5, rtol=1e-5)


class SmallMemory:
    """Losses that need memory for every line, and of that there is little."""

    def __init__(self, lines: int) -> None:
        self.lines, self.tried = lines, []  # type: ignore[var-annotated]

    def __call__(self, model, encoded, spoken, batch, counts):  # type: ignore[no-untyped-def]
        self.tried.append(batch.lines)
        if batch.lines > self.lines:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return losses(model, encoded, spoken, batch, counts)


def test_out_of_memory_the_batch_halves_and_the_update_is_the_same(
    corpus: Corpus,
    tiny_config: DubberConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Even with dropout, an interrupted try leaves nothing behind: the run is that of one told to halve at once."""
    train_settings = dataclasses.replace(tiny_config.train, batch=8, total_steps=3)
    corpus.config = dataclasses.replace(tiny_config, train=train_settings)
    plain = Schedule(bf16=False, report_every=10**9)
    train(corpus, tmp_path / "told", seed=2, schedule=dataclasses.replace(plain, parts=4), progress=False)
    memory = SmallMemory(3)
    monkeypatch.setattr(update, "losses", memory)
    with caplog.at_level(logging.WARNING):
        train(corpus, tmp_path / "found", seed=2, schedule=plain, progress=False)
    assert memory.tried == [8, 4, *([2] * 4 * 3)]
    said = [record.getMessage() for record in caplog.records if "memory" in record.getMessage()]
    assert (
        said[0] == "step 0: out of memory; going on with 4 lines at once, in 2 parts: as many lines an update as before"
    )
    assert len(said) == 2 and "2 lines at once, in 4 parts" in said[1]
    weights = [(tmp_path / name / "acoustic" / "model.safetensors").read_bytes() for name in ("told", "found")]
    assert weights[0] == weights[1]
    # A resumed run does not try again what did not fit.
    resumed = State.fresh(corpus.config, 2, torch.device("cpu"))
    resumed.load(tmp_path / "found" / "checkpoints" / "step-00000003")
    assert resumed.parts == 4


def test_a_line_that_does_not_fit_alone_ends_the_training(
    corpus: Corpus, still: DubberConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(update, "losses", SmallMemory(0))
    state = State.fresh(still, 0, torch.device("cpu"))
    before = {name: value.clone() for name, value in state.model.state_dict().items()}
    with pytest.raises(MemoryError, match="step 0: out of memory with one line at a time; expected room"):
        train_step(state, corpus.fixed([0, 1, 2], k=1), 0, bf16=False)
    assert all(torch.equal(before[name], value) for name, value in state.model.state_dict().items())


def test_several_processes_do_not_rehearse(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one process for a training that rehearses, got 2"):
        train(corpus, tmp_path, rehearsal=object(), team=Team(0, 2), progress=False)  # type: ignore[arg-type]


FORKED = """
import os, sys
from multiprocessing import get_context
from pathlib import Path
from recipes.ddp_equality import run_worker

def start(rank):
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    run_worker(*map(Path, sys.argv[1:]))

team = [get_context("fork").Process(target=start, args=(rank,)) for rank in range(int(os.environ["WORLD_SIZE"]))]
[one.start() for one in team], [one.join() for one in team]
sys.exit(any(one.exitcode for one in team))
"""


def fork_team(cache: Path, config: Path, folder: Path, processes: int) -> None:
    """As `launch_team`, but what takes long, to import everything, is done once for all processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(processes)}
    environment = {**os.environ, **where, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-c", FORKED, str(cache), str(config), str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=200, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr


def check(differences: list[Difference]) -> None:
    *equal, wrong = differences
    assert [one.wrong for one in differences] == [False, False, True]
    for one in equal:
        assert one.largest <= 1e-4 and one.moved > 1e-3, one
    # Losses divided by each process's own counts are far off: the check can tell.
    assert wrong.largest > 5e-4 and wrong.typical > 10 * max(one.typical for one in equal), differences


def test_two_processes_train_what_one_trains(tiny_cache: Path, still: DubberConfig) -> None:
    threads = torch.get_num_threads()
    try:
        check(compare(tiny_cache, prepared(still, 3, 8, 1e-3), 2, launch=fork_team))
    finally:
        torch.set_num_threads(threads)


@pytest.mark.slow
def test_two_processes_train_what_one_trains_for_twenty_updates(
    tiny_cache: Path, still: DubberConfig, tmp_path: Path
) -> None:
    """By torchrun and at the published rate; far above it Adam would make visible steps of the rounding in gradients
    that are zero."""
    told = tmp_path / "told.json"
    told.write_text(still.to_json(), encoding="utf-8")
    command = [sys.executable, str(ROOT / "recipes" / "ddp_equality.py"), str(tiny_cache), "--config", str(told)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--json", "--steps", "20", "--rate", "1e-4"],
        capture_output=True, text=True, timeout=1500, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])["differences"]
    check([Difference(**{name: value for name, value in one.items() if name != "holds"}) for one in found])
