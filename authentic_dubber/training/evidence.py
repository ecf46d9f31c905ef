"""What the director is shown of each line in training, what its picture and words find, and what it could know.

A few films could be learned by heart; then retrieval would teach nothing. So a line is staged anew each time it comes:
for half of the times in a film whose code is shuffled once more. There looks keep their neighbours, but what they stand
for changes, and with it how the neighbours sound: what such a look means can only be learned from its references.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from authentic_dubber.config import DubberConfig
from authentic_dubber.director import NEUTRAL
from graphs import DialogueGraph
from library_builder.types import QUERY_MODALITIES

from .cache import Cache
from .corpora import SAYINGS
from .pictures import FILMED, OFF_SCREEN

Rows: TypeAlias = npt.NDArray[np.float32]
Turn: TypeAlias = Callable[[str, Rows], Rows]

_TEXT = QUERY_MODALITIES.index("text")
PLAIN = 0.5
"""Share of restaged lines whose film keeps its own code."""
FOREIGN = 0.5
"""Share of the others whose pictures are turned in their space, references with them: who is near stays near, but it
looks like no film that could be remembered. Its words and captions stay."""
REWORDED = 0.5
"""Share of restaged lines that say some plain sentence. Acted corpora hold few texts; a director who never saw a plain
sentence under a telling picture would take its plainness for the feeling."""
SAID = 0.7
"""Share of the words in a text vector beside the captions of its picture, near the text reader's own: it mixes before
it normalises, and gives words more where a caption is missing."""
_HIDDEN = -1


@dataclass(frozen=True, slots=True)
class Staging:
    """Whose picture each line of a batch wears, and what its film's looks stand for.

    Attributes:
        looks: rows whose vectors and hits are used, (B,); `_HIDDEN` for a line that no film can show.
        words: rows whose text vector and its hits are used, (B,).
        codes: per line, what each label of the taxonomy stands for, (B, E).
        foreign: lines of a film like none there is, (B,).
    """

    looks: npt.NDArray[np.int64]
    words: npt.NDArray[np.int64]
    codes: npt.NDArray[np.int64]
    foreign: npt.NDArray[np.bool_]


class Evidence:
    """Prepared vectors and hits as graphs.

    Args:
        cache: with `film`, one vector array per modality (`own_<modality>`, zero rows where it is missing),
            `own_captions`, and `hits_<modality>`, `scores_<modality>`.
        kept_films: films whose pictures and references are hidden, see `Programme`.
    """

    def __init__(self, cache: Cache, config: DubberConfig, kept_films: Sequence[int] = ()) -> None:
        self.config = config
        self.own = {m: np.asarray(cache.rows(f"own_{m}")) for m in (*QUERY_MODALITIES, "audio")}
        self.captions = cache.rows("own_captions")
        self.hits = {m: cache.rows(f"hits_{m}") for m in QUERY_MODALITIES}
        self.scores = {m: cache.rows(f"scores_{m}") for m in QUERY_MODALITIES}
        self.shown = ~np.isin(np.asarray(cache.rows("film")), list(kept_films))
        self.wordy = np.array([entry.corpus == SAYINGS for entry in cache.entries])
        film = np.asarray(cache.rows("film"))
        self.fixed = self.wordy | (film == FILMED)
        self.neutral = config.emotions.index(NEUTRAL)
        # Reading aloud, which no corpus labels, is neutral.
        self.labels = np.array([config.emotions.index(entry.emotion or NEUTRAL) for entry in cache.entries])
        self.wardrobe = self._dressed(cache.training_rows(), film)
        self.plain = np.array(
            [i for i in cache.training_rows() if cache.entries[i].emotion is None and film[i] == OFF_SCREEN]
        )

    def _dressed(self, training: Sequence[int], film: npt.NDArray[np.int8]) -> Mapping[int, npt.NDArray[np.int64]]:
        """Per label the rows that a film shows to training in it."""
        rows = np.array([i for i in training if film[i] >= 0 and self.shown[i] and not self.wordy[i]], dtype=np.int64)
        return {int(label): rows[self.labels[rows] == label] for label in np.unique(self.labels[rows])}

    def graph(
        self, rows: npt.NDArray[np.int64], k: npt.NDArray[np.int64], rng: np.random.Generator | None
    ) -> DialogueGraph:
        """Some lines with their own number of references; a generator restages them and hides modalities at random.

        Shape:
            rows (B,), k (B,) -> B lines.
        """
        most, prepared = int(k.max()), self.hits[QUERY_MODALITIES[0]].shape[1]
        if most > prepared:
            raise ValueError(f"expected at most the {prepared} references that were prepared, got {most}")
        staging = self._plain(rows) if rng is None else self._restaged(rows, rng)
        looks = np.maximum(staging.looks, 0)
        worn = {m: staging.words if m == "text" else looks for m in QUERY_MODALITIES}
        vectors = {m: np.asarray(self.own[m][worn[m]], dtype=np.float32) for m in QUERY_MODALITIES}
        if rng is not None:
            vectors["text"] = self._captioned(vectors["text"], staging)
        there = np.stack([vectors[m].any(1) for m in QUERY_MODALITIES], 1)
        shown = self.shown[looks] & (staging.looks != _HIDDEN)
        there &= shown[:, None] | (np.arange(len(QUERY_MODALITIES)) == _TEXT)
        there &= (staging.looks != _HIDDEN)[:, None]
        if rng is not None:
            there &= rng.random(there.shape) >= self.config.train.own_drop
        turn = self._turns(staging, rng)
        references, audio = dict[str, Tensor](), dict[str, Tensor]()
        live, heard, similarity = [], [], []
        for place, m in enumerate(QUERY_MODALITIES):
            hits = np.asarray(self.hits[m][worn[m]][:, :most])
            here = (hits >= 0) & (np.arange(most)[None] < k[:, None]) & (there[:, place] & shown)[:, None]
            # A line in another's clothes may meet itself among that one's references, or as one of their voices.
            here &= hits != rows[:, None]
            voices = self._voices(hits, staging, rng)
            sounds = np.asarray(self.own["audio"][voices], dtype=np.float32) * (voices != rows[:, None])[:, :, None]
            found = np.asarray(self.own[m][hits], dtype=np.float32) * here[:, :, None]
            vectors[m] = turn(m, vectors[m])
            references[m] = torch.from_numpy(turn(m, found))
            audio[m] = torch.from_numpy(sounds * here[:, :, None])
            live.append(here)
            heard.append(here & sounds.any(2))
            similarity.append(np.asarray(self.scores[m][worn[m]][:, :most], dtype=np.float32) * here)
        return DialogueGraph(
            own={m: torch.from_numpy(vectors[m] * there[:, [i]]) for i, m in enumerate(QUERY_MODALITIES)},
            own_mask=torch.from_numpy(there),
            references=references,
            audio=audio,
            reference_mask=torch.from_numpy(np.stack(live, 1)),
            audio_mask=torch.from_numpy(np.stack(heard, 1)),
            similarity=torch.from_numpy(np.stack(similarity, 1)),
        )

    def _turns(self, staging: Staging, rng: np.random.Generator | None) -> Turn:
        """One random rotation of every picture space, for foreign lines."""
        if rng is None or not staging.foreign.any():
            return lambda modality, rows: rows
        widths = {m: self.own[m].shape[1] for m in QUERY_MODALITIES if m != "text"}
        by = {m: np.linalg.qr(rng.standard_normal((d, d)))[0].astype(np.float32) for m, d in widths.items()}

        def turn(modality: str, rows: Rows) -> Rows:
            if modality in by:
                rows[staging.foreign] = rows[staging.foreign] @ by[modality]
            return rows

        return turn

    def _captioned(self, words: npt.NDArray[np.float32], staging: Staging) -> npt.NDArray[np.float32]:
        """Text vectors of reworded lines with the captions of their look, about as a reader of both would give them.

        Shape:
            (B, D) -> (B, D).
        """
        reworded = (staging.words != staging.looks) & (staging.looks != _HIDDEN)
        captions = np.asarray(self.captions[np.maximum(staging.looks, 0)], dtype=np.float32)
        told = captions.any(1) & reworded
        mixed = np.where(told[:, None], SAID * words + (1 - SAID) * captions, words)
        length = np.linalg.norm(mixed, axis=1, keepdims=True)
        return np.divide(mixed, length, out=mixed, where=told[:, None])

    def _plain(self, rows: npt.NDArray[np.int64]) -> Staging:
        codes = np.tile(np.arange(len(self.config.emotions)), (len(rows), 1))
        return Staging(rows, rows.copy(), codes, np.zeros(len(rows), dtype=bool))

    def _restaged(self, rows: npt.NDArray[np.int64], rng: np.random.Generator) -> Staging:
        staging = self._plain(rows.copy())
        for b, i in enumerate(rows):
            label = int(self.labels[i])
            if self.fixed[i]:
                continue
            if label not in self.wardrobe:
                staging.looks[b] = _HIDDEN if self.own[QUERY_MODALITIES[0]][i].any() else i
                continue
            actable = np.array(sorted(self.wardrobe))
            if rng.random() >= PLAIN:
                staging.codes[b, actable] = rng.permutation(actable)
                staging.foreign[b] = rng.random() < FOREIGN
            look = int(np.flatnonzero(staging.codes[b] == label)[0])
            staging.looks[b] = staging.words[b] = rng.choice(self.wardrobe[look])
            if len(self.plain) and rng.random() < REWORDED:
                staging.words[b] = rng.choice(self.plain)
        return staging

    def _voices(
        self, hits: npt.NDArray[np.int32], staging: Staging, rng: np.random.Generator | None
    ) -> npt.NDArray[np.int64]:
        """Whose sound each reference has: its own, or under a shuffled code that of a clip which feels so.

        Shape:
            (B, K) -> (B, K).
        """
        voices = hits.astype(np.int64)
        if rng is None:
            return voices
        felt = self.labels[hits]
        meant = np.take_along_axis(staging.codes, felt, axis=1)
        for label, rows in self.wardrobe.items():
            changed = (meant == label) & (felt != label) & (hits >= 0)
            voices[changed] = rng.choice(rows, size=int(changed.sum()))
        return voices

    def answers(self, rows: npt.NDArray[np.int64], graph: DialogueGraph) -> Tensor:
        """What the director should say: the label where a picture or telling words are there, neutral elsewhere.

        Acted corpora say one text in every feeling; asked for the feeling of their words alone, the director would
        learn to guess, and a line that nobody sees would be spoken in an average of all feelings.

        Shape:
            (B,) indices into the taxonomy.
        """
        there = graph.own_mask.numpy()
        seen = np.delete(there, _TEXT, axis=1).any(1)
        knows = seen | (self.wordy[rows] & there[:, _TEXT])
        return torch.from_numpy(np.where(knows, self.labels[rows], self.neutral))
