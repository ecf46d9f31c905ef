"""One update of the acoustic model: its rate, its gradient in parts and over processes, and what if memory ends."""

from __future__ import annotations

import logging
import math

import torch
from torch import Tensor, nn

from authentic_dubber.config import DubberConfig

from .dataset import Batch
from .losses import Counts, losses
from .rehearsal import Rehearsal
from .state import State
from .team import ALONE, Team

log = logging.getLogger(__name__)

_RANK_SEED = 2_305_843_009
"""Between the dice of two processes, further than any step goes."""


def learning_rate(config: DubberConfig, step: int) -> float:
    """Linear warm-up, then half a cosine down to a twentieth; or the published fall (`noam`), which has no end.

    Published: min(s^-0.5, s * w^-1.5) times 0.00625 at update s from 1 with w warm-up updates, which peaks at s = w;
    then 0.3 times as much after each of three updates (reference 1.10). The peak is `learning_rate` here.
    """
    train = config.train
    if train.decay == "noam":
        s, w = step + 1, max(1, train.warmup)
        return train.learning_rate * min(s / w, math.sqrt(w / s)) * train.fall ** sum(s > end for end in train.falls)
    if step < train.warmup:
        return train.learning_rate * (step + 1) / train.warmup
    done = min(1.0, (step - train.warmup) / max(1, train.total_steps - train.warmup))
    return train.learning_rate * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done)))


def train_step(
    state: State,
    batch: Batch,
    seed: int,
    bf16: bool,
    rehearsal: Rehearsal | None = None,
    team: Team = ALONE,
) -> dict[str, Tensor]:
    """One update; what it lost, by name, over all processes. A resumed run rolls the same dice for dropout.

    Out of memory, `state.parts` is doubled and the update computed again: the lines of an update stay the same.

    Args:
        batch: this process's share of it.

    Raises:
        FloatingPointError: the gradient is not finite.
        MemoryError: one line at a time is too much.
    """
    config = state.model.config
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(config, state.step)
    state.model.train()
    counts = Counts(*team.total(Counts.of(batch).stacked()).unbind())
    terms = None
    while terms is None:
        # Each try rolls the same dice.
        torch.manual_seed(seed * 1_000_003 + state.step + team.rank * _RANK_SEED)
        state.optimizer.zero_grad(set_to_none=True)
        terms = _gradient_if_it_fits(state, batch, counts, bf16, rehearsal)
        if team.most(terms is None):
            terms = None
            _halve(state, team.most(batch.lines), team)
    parameters = [*state.model.parameters()]
    team.sum_gradients(parameters)
    terms = team.sum_terms(terms)
    norm = nn.utils.clip_grad_norm_(parameters, config.train.clip)
    if not bool(torch.isfinite(norm)):
        raise FloatingPointError(f"step {state.step}: gradient norm is {float(norm)}; the last checkpoint is intact")
    state.optimizer.step()
    state.step += 1
    state.advance_average(config.train.ema)
    return terms


def _gradient_if_it_fits(
    state: State, batch: Batch, counts: Counts, bf16: bool, rehearsal: Rehearsal | None
) -> dict[str, Tensor] | None:
    """Gradients of all parts, added up; None when the memory did not suffice.

    The error ends here: while it lives it holds every tensor of the failed pass.
    """
    try:
        return _gradient(state, batch, counts, bf16, rehearsal)
    except torch.OutOfMemoryError:
        return None


def _gradient(state: State, batch: Batch, counts: Counts, bf16: bool, rehearsal: Rehearsal | None) -> dict[str, Tensor]:
    terms: dict[str, Tensor] = {}
    device = batch.mel.device
    for part in parts_of(batch, state.parts):
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            encoded = state.model.encode(part.inputs)
            spoken = state.model.decode(encoded, part.durations, part.prosody)
        lost = losses(state.model, encoded, spoken, part, counts)
        lost.total.backward()
        for name, term in lost.tensors().items():
            terms[name] = terms[name] + term.detach() if name in terms else term.detach()
    if rehearsal is not None:
        # After the recorded lines and apart from them, so that only one graph of activations is held at a time.
        terms |= _rehearse(state, rehearsal, device, bf16)
    return terms


def parts_of(batch: Batch, parts: int) -> list[Batch]:
    """A batch in so many parts of neighbours, as nearly alike as can be; fewer where it has fewer lines."""
    if parts <= 1:
        return [batch]
    rows = torch.arange(batch.lines).tensor_split(min(parts, batch.lines))
    return [batch.chosen(some.to(batch.mel.device)) for some in rows]


def _halve(state: State, lines: int, team: Team) -> None:
    """Twice as many parts from now on.

    Raises:
        MemoryError: they are single lines already.
    """
    if state.parts >= lines:
        raise MemoryError(
            f"step {state.step}: out of memory with one line at a time; expected room for it: "
            "give shorter lines, fewer references or a narrower model"
        )
    state.parts = min(2 * state.parts, lines)
    if team.device != "cpu":
        torch.cuda.empty_cache()
    if team.leads:
        log.warning(
            "step %d: out of memory; going on with %d lines at once, in %d parts: as many lines an update as before",
            state.step,
            -(-lines // state.parts),
            state.parts,
        )


def _rehearse(state: State, rehearsal: Rehearsal, device: torch.device, bf16: bool) -> dict[str, Tensor]:
    train = state.model.config.train
    heard = rehearsal.judge(state.model, rehearsal.lines(state.step).to(device), bf16=bf16)
    (train.voice_weight * heard.voice + train.feeling_weight * heard.feeling).backward()
    return {"rehearsed_voice": heard.voice.detach(), "rehearsed_feeling": heard.feeling.detach()}
