"""Teach the director alone, before the voice: graphs are small, so it sees each line a hundred times in minutes."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from authentic_dubber.synthesizer import Synthesizer
from library_builder.types import QUERY_MODALITIES

from .cache import Cache
from .corpora import CORPORA
from .evidence import Evidence

log = logging.getLogger(__name__)

BATCH = 64
LEARNING_RATE = 2e-3
LISTENER_WEIGHT = 0.5


def teach_director(
    model: Synthesizer, cache: Cache, *, kept_films: Sequence[int], steps: int, seed: int, corpora: Sequence[str] = ()
) -> None:
    """Fit graph, director and listener on the labelled training rows that are staged or say what they feel.

    Args:
        corpora: whose rows; all by default.

    Raises:
        ValueError: there are no such rows.
    """
    torch.manual_seed(seed)
    evidence = Evidence(cache, model.config, kept_films)
    rows, chance = _staged(cache, evidence, kept_films, corpora or tuple(CORPORA))
    parts: list[nn.Module] = [model.graph, model.director]
    optimizer = torch.optim.AdamW([p for part in parts for p in part.parameters()], weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    model.train()
    rng = np.random.default_rng([seed, 7])
    least, most = model.config.train.min_references, model.config.train.max_references
    bar = tqdm(range(steps), desc="director", unit="step")
    for step in bar:
        drawn = rng.choice(rows, size=BATCH, p=chance)
        graph = evidence.graph(drawn, rng.integers(least, most + 1, size=BATCH), rng)
        answers = evidence.answers(drawn, graph)
        loss = functional.cross_entropy(model.director(model.graph(graph)), answers)
        sounds = torch.from_numpy(evidence.own["audio"][drawn].astype(np.float32))
        heard = functional.cross_entropy(model.director.listen(sounds), torch.from_numpy(evidence.labels[drawn]))
        optimizer.zero_grad(set_to_none=True)
        (loss + LISTENER_WEIGHT * heard).backward()
        nn.utils.clip_grad_norm_([p for part in parts for p in part.parameters()], 1.0)
        optimizer.step()
        schedule.step()
        if step % 20 == 0:
            bar.set_postfix(loss=f"{float(loss.detach()):.3f}", heard=f"{float(heard.detach()):.3f}")
    model.eval()


def _staged(
    cache: Cache, evidence: Evidence, kept_films: Sequence[int], corpora: Sequence[str]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Rows with a picture or telling words, and how often each is drawn: every feeling alike, corpora alike in each.

    Reading aloud is left out: it is always neutral, and the director would learn that plain words are.
    """
    film = np.asarray(cache.rows("film"))
    rows = np.array(
        [
            i
            for i in cache.training_rows()
            if cache.entries[i].corpus in corpora
            and cache.entries[i].emotion is not None
            and (evidence.wordy[i] or any(evidence.own[m][i].any() for m in QUERY_MODALITIES[:2]))
            and film[i] not in kept_films
        ],
        dtype=np.int64,
    )
    if not len(rows):
        raise ValueError(f"expected labelled lines of {', '.join(corpora)} to teach a director, got none")
    groups: dict[tuple[int, str], list[int]] = defaultdict(list)
    for place, i in enumerate(rows):
        groups[int(evidence.labels[i]), cache.entries[i].corpus].append(place)
    labels = {label for label, _ in groups}
    chance = np.zeros(len(rows))
    for (label, _), places in groups.items():
        among = sum(other == label for other, _ in groups)
        chance[places] = 1 / (len(labels) * among * len(places))
    return rows, chance


@torch.inference_mode()
def judge(
    model: Synthesizer, cache: Cache, rows: npt.NDArray[np.int64], ks: Sequence[int], *, shuffle: int | None = None
) -> Mapping[int, Tensor]:
    """The director's logits for some lines with K references each.

    Args:
        shuffle: a seed; then every reference sounds like some other clip of the corpus.

    Shape:
        (B,) -> per K (B, E).
    """
    evidence = Evidence(cache, model.config)
    if shuffle is not None:
        order = np.random.default_rng(shuffle).permutation(len(cache.entries))
        evidence.own["audio"] = evidence.own["audio"][order]
    return {k: model.director(model.graph(evidence.graph(rows, np.full(len(rows), k), None))) for k in ks}
