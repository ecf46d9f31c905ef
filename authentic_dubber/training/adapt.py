"""A checkpoint for a better extractor: only where one modality's vectors enter is learned anew, the voice stays.

The same clips, read by the old extractor and by the new, say which new vector means what an old one meant. Ridge
regression gives the layers at once; some steps through the frozen graph follow where they bring its nodes nearer. Every
other weight stays as it is, bit by bit, and no recording is listened to.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from authentic_dubber.checkpoint import load_acoustic, read_card
from authentic_dubber.config import DubberConfig
from authentic_dubber.synthesizer import Synthesizer
from graphs import DialogueGraph
from library_builder.types import QUERY_MODALITIES, Modality, space_width
from vocoder.storage import MODEL, load_strictly, read_config, read_tensors, whole_folder, write_config, write_tensors

from .pairs import Pairs, draw_graphs, read_pairs

PENALTIES = np.logspace(-9, 0, 10)
"""Of the regression, in parts of the mean variance of a new coordinate."""
FOLDS = 5
_HELD, _CHECK = 0.1, 0.1
"""Shares of the pairs that the figures are told of, and that decide whether steps help."""
_LINES, _REFERENCES, _DRAWS = 32, 3, 8
_EVERY, _RATE = 50, 3e-4

Rows = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class AdaptJob:
    """What to adapt, by which pairs.

    Attributes:
        old, new: versions of the library; clips of both, read by the old extractor and by the new.
        space: the one the new extractor gives.
        modality: the one it reads, by default whichever the versions differ in.
        steps: through the frozen graph, at most; 0 keeps the regression.
    """

    checkpoint: Path
    out: Path
    library: Path
    old: str
    new: str
    space: str
    modality: Modality | None = None
    steps: int = 300
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Adapted:
    """What came of it; figures are of pairs that no step of it saw.

    Attributes:
        explained: per layer the share of variance of the old projections that the new ones give again.
        regression: the same before any step.
        nodes: mean squared error of the encoded nodes, the director and the listener, in parts of their variance.
        nodes_regression: the same before any step.
        penalty: of each layer's regression.
        steps: that were kept.
    """

    modality: Modality
    old_space: str
    new_space: str
    pairs: int
    held_out: int
    penalty: dict[str, float]
    regression: dict[str, float]
    explained: dict[str, float]
    nodes_regression: float
    nodes: float
    steps: int


@dataclass(frozen=True, slots=True)
class _Parts:
    """Pairs to learn from, to decide by, and to tell of."""

    fit: npt.NDArray[np.int64]
    check: npt.NDArray[np.int64]
    held: npt.NDArray[np.int64]


def entrances(modality: Modality) -> tuple[str, ...]:
    """The linear layers that a modality's vectors enter by, as the model names them."""
    if modality == "audio":
        return (*(f"graph.audio.{m}" for m in QUERY_MODALITIES), "director.listener.0")
    return f"graph.own.{modality}", f"graph.references.{modality}"


def adapt_checkpoint(job: AdaptJob) -> Adapted:
    """Write a checkpoint that understands the new space, with a card that says so.

    Raises:
        FileExistsError: `out` is there already.
        FileNotFoundError: there is no checkpoint, or no such version of the library.
        ValueError: the spaces are not those of the checkpoint and the versions, or the versions share too few clips.
    """
    if job.out.exists():
        raise FileExistsError(f"{job.out}: expected a new folder for the checkpoint, it is there already")
    read_card(job.checkpoint)
    before = load_acoustic(job.checkpoint / "acoustic")
    pairs = read_pairs(job.library, job.old, job.new, job.modality)
    _check(before.config, pairs, job)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(job.seed)
        after, adapted = adapt(before, pairs, steps=job.steps, seed=job.seed)
    _write(job, after, adapted)
    return adapted


def _check(config: DubberConfig, pairs: Pairs, job: AdaptJob) -> None:
    trained = config.spaces[pairs.modality]
    if trained != pairs.old_space:
        raise ValueError(
            f"{pairs.modality}: expected version {job.old} to be of the checkpoint's space {trained}, "
            f"got {pairs.old_space}"
        )
    if job.space != pairs.new_space:
        raise ValueError(
            f"{pairs.modality}: expected version {job.new} to be of space {job.space}, got {pairs.new_space}"
        )
    for modality, space in pairs.spaces.items():
        known = config.spaces[modality]
        if space != known:
            raise ValueError(f"{modality}: expected both versions to be of the checkpoint's space {known}, got {space}")


def adapt(before: Synthesizer, pairs: Pairs, *, steps: int, seed: int) -> tuple[Synthesizer, Adapted]:
    """A model whose layers of one modality take the new space, and what came of it."""
    rng = np.random.default_rng(seed)
    parts = _part(len(pairs), rng)
    names = entrances(pairs.modality)
    targets = {name: _projected(before, name, pairs.old) for name in names}
    fits = {name: regress(pairs.new[parts.fit], targets[name][parts.fit]) for name in names}
    after = _widened(before, pairs, {name: (weight, bias) for name, (weight, bias, _) in fits.items()})

    def explained() -> dict[str, float]:
        told = {name: _projected(after, name, pairs.new)[parts.held] for name in names}
        return {name: _explained(targets[name][parts.held], told[name]) for name in names}

    def nodes(rows: npt.NDArray[np.int64]) -> float:
        draw = np.random.default_rng([seed, 1])
        with torch.no_grad():
            return float(np.mean([float(_apart(before, after, pairs, rows, draw)) for _ in range(_DRAWS)]))

    regression, start = explained(), nodes(parts.held)
    kept = _descend(before, after, pairs, parts, steps=steps, rng=rng, judge=lambda: nodes(parts.check))
    penalty = {name: fit[2] for name, fit in fits.items()}
    facts = pairs.modality, pairs.old_space, pairs.new_space, len(pairs), len(parts.held)
    return after, Adapted(*facts, penalty, regression, explained(), start, nodes(parts.held), kept)


def _part(count: int, rng: np.random.Generator) -> _Parts:
    order = rng.permutation(count)
    held, check = round(_HELD * count), round((_HELD + _CHECK) * count)
    return _Parts(np.sort(order[check:]), np.sort(order[held:check]), np.sort(order[:held]))


def _projected(model: Synthesizer, name: str, vectors: npt.NDArray[np.float32]) -> Rows:
    with torch.no_grad():
        layer = model.get_submodule(name)
        return np.asarray(layer(torch.from_numpy(vectors)).double().numpy())


def _explained(expected: Rows, got: Rows) -> float:
    left = ((expected - got) ** 2).sum() / max(((expected - expected.mean(axis=0)) ** 2).sum(), 1e-30)
    return float(1 - left)


def regress(x: npt.NDArray[np.floating], y: npt.NDArray[np.floating]) -> tuple[Rows, Rows, float]:
    """Ridge regression with a bias, its penalty chosen by cross-validation.

    Shape:
        x (n, D), y (n, E) -> weight (E, D), bias (E,), penalty.
    """
    given: Rows = x.astype(np.float64)
    wanted: Rows = y.astype(np.float64)
    fold = np.arange(len(given)) % FOLDS
    errors = np.zeros(len(PENALTIES))
    for out in range(FOLDS):
        inside, outside = fold != out, fold == out
        for i, (weight, bias) in enumerate(_ridge(given[inside], wanted[inside], PENALTIES)):
            errors[i] += float(((given[outside] @ weight.T + bias - wanted[outside]) ** 2).sum())
    best = float(PENALTIES[int(np.argmin(errors))])
    weight, bias = _ridge(given, wanted, np.array([best]))[0]
    return weight, bias, best


def _ridge(x: Rows, y: Rows, penalties: Rows) -> list[tuple[Rows, Rows]]:
    middle, level = x.mean(axis=0), y.mean(axis=0)
    u, s, vt = np.linalg.svd(x - middle, full_matrices=False)
    told, found = u.T @ (y - level), []
    for penalty in penalties:
        # The penalty is told in parts of the mean eigenvalue, so that it means the same for every space.
        weight = ((vt.T * (s / (s**2 + penalty * np.sum(s**2) / x.shape[1]))) @ told).T
        found.append((weight, level - weight @ middle))
    return found


def _widened(before: Synthesizer, pairs: Pairs, layers: Mapping[str, tuple[Rows, Rows]]) -> Synthesizer:
    """The same model with other layers where the modality enters, and a config that names the new space."""
    config, modality = before.config, pairs.modality
    widths = {**config.graph.in_widths, modality: space_width(pairs.new_space)}
    spaces = {**config.spaces, modality: pairs.new_space}
    model = Synthesizer(replace(config, spaces=spaces, graph=replace(config.graph, in_widths=widths)))
    state = dict(before.state_dict())
    for name, (weight, bias) in layers.items():
        state[f"{name}.weight"] = torch.from_numpy(weight).float()
        state[f"{name}.bias"] = torch.from_numpy(bias).float()
    load_strictly(model, state, "adapted weights")
    return model.eval()


def _heard(model: Synthesizer, graph: DialogueGraph, sounds: Tensor | None) -> list[tuple[Tensor, Tensor]]:
    """All that a line's graph becomes and that anything later reads, each with what of it counts."""
    stages = model.graph(graph)
    out = [(nodes.features, nodes.mask) for nodes in (stages.basic, stages.indirect, stages.direct)]
    logits = [model.director(stages), *([] if sounds is None else [model.director.listen(sounds)])]
    return [*out, *((one, torch.ones(one.shape[:1], dtype=torch.bool)) for one in logits)]


def _apart(
    before: Synthesizer, after: Synthesizer, pairs: Pairs, rows: npt.NDArray[np.int64], rng: np.random.Generator
) -> Tensor:
    """How far the two models are apart on the same lines, in parts of the variance of the first."""
    widths = before.config.graph.in_widths
    old, new = draw_graphs(pairs, rows, widths, _LINES, _REFERENCES, rng)
    chosen = rng.choice(rows, _LINES)
    speaks = pairs.modality == "audio"
    with torch.no_grad():
        wanted = _heard(before, old, torch.from_numpy(pairs.old[chosen]) if speaks else None)
    got = _heard(after, new, torch.from_numpy(pairs.new[chosen]) if speaks else None)
    parts = []
    for (one, live), (other, _) in zip(wanted, got, strict=True):
        if live.any():
            a, b = one[live], other[live]
            parts.append(((a - b) ** 2).mean() / (a - a.mean(dim=0)).pow(2).mean().clamp(min=1e-8))
    return torch.stack(parts).mean()


def _descend(
    before: Synthesizer,
    after: Synthesizer,
    pairs: Pairs,
    parts: _Parts,
    *,
    steps: int,
    rng: np.random.Generator,
    judge: Callable[[], float],
) -> int:
    """Steps through the frozen graph; the model is left as it judged best, and the number of steps there comes back."""
    names = {f"{name}.{part}" for name in entrances(pairs.modality) for part in ("weight", "bias")}
    for name, parameter in after.named_parameters():
        parameter.requires_grad_(name in names)
    open_to_change = {name: p for name, p in after.named_parameters() if name in names}
    optimizer = torch.optim.Adam(open_to_change.values(), lr=_RATE)
    best, kept = judge(), 0
    state = {name: p.detach().clone() for name, p in open_to_change.items()}
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        loss = _apart(before, after, pairs, parts.fit, rng)
        loss.backward()
        optimizer.step()
        if step % _EVERY == 0 and (error := judge()) < best:
            best, kept = error, step
            state = {name: p.detach().clone() for name, p in open_to_change.items()}
    with torch.no_grad():
        for name, parameter in open_to_change.items():
            parameter.copy_(state[name])
    after.requires_grad_(True)
    return kept


def _write(job: AdaptJob, after: Synthesizer, adapted: Adapted) -> None:
    """The old checkpoint's files with the new layers in their place; what was not learned is copied as it lies."""
    acoustic = job.checkpoint / "acoustic"
    tensors, learned = read_tensors(acoustic / MODEL), after.state_dict()
    for name in entrances(adapted.modality):
        for key in (f"{name}.weight", f"{name}.bias"):
            tensors[key] = learned[key].to(tensors[key].dtype)
    card = json.loads((job.checkpoint / "card.json").read_text(encoding="utf-8"))
    facts = card.setdefault("facts", {})
    told = {**asdict(adapted), "from_weights": read_card(job.checkpoint).weights, "versions": [job.old, job.new]}
    facts["adapted"] = [*facts.get("adapted", []), {**told, "seed": job.seed}]
    with whole_folder(job.out) as filling:
        shutil.copytree(job.checkpoint / "vocoder", filling / "vocoder")
        (filling / "acoustic").mkdir()
        write_config(filling / "acoustic", {**read_config(acoustic), "model": after.config.to_json()})
        write_tensors(filling / "acoustic" / MODEL, tensors)
        text = json.dumps(card, indent=2, ensure_ascii=False) + "\n"
        (filling / "card.json").write_text(text, encoding="utf-8")
