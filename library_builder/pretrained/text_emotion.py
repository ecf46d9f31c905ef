"""What a text feels like to a classifier of emotions: the last layer's first vector of a RoBERTa, and its own answer.

Paper section "Multimodal Reference Footage Library": one such classifier reads the captions of scene and face, the
line, and the reaction to it. 1024 numbers for the large model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from .loading import LazyModel, Place, architecture, in_batches
from .source import ModelSource, read_config

CLASSIFIERS = {"roberta": "RobertaForSequenceClassification", "xlm-roberta": "XLMRobertaForSequenceClassification"}
_WORDS = 512
"""Tokens the models take in; what lies beyond is cut."""
_KEPT = 4096


@dataclass(frozen=True, slots=True)
class Felt:
    """A text's feeling.

    Attributes:
        vector: unit length, float32, read-only. Shape (D,).
        label: the emotion the classifier itself would answer, in its own words.
        share: the probability it gives that answer.
    """

    vector: npt.NDArray[np.float32]
    label: str
    share: float


class EmotionClassifier(LazyModel):
    """A RoBERTa that was tuned to tell emotions. Weights are loaded by the first text, or by `ready`.

    Args:
        batch: texts read at once, of one length: padding would make a vector depend on its neighbours. Halved for good
            whenever a GPU runs out of memory.

    Raises:
        ModelError: the folder holds another kind of model.
    """

    def __init__(self, source: ModelSource, place: Place, *, batch: int = 16) -> None:
        kind = CLASSIFIERS[architecture(source, CLASSIFIERS, "a RoBERTa classifier of emotions")]
        super().__init__(source, kind, place.exact())
        self.batch = max(1, batch)
        config = read_config(source)
        self.width = int(config["hidden_size"])
        self._longest = min(_WORDS, int(config["max_position_embeddings"]) - 2)  # two places are the padding's
        self._felt: dict[str, Felt] = {}

    def feel(self, texts: Sequence[str]) -> list[Felt]:
        """The feeling of each text, in order. Equal texts are read once.

        Raises:
            ModelError: as `ready`.
            ValueError: a text is blank.
            RuntimeError: a single text is too much for the GPU's memory.
        """
        if any(not text.strip() for text in texts):
            raise ValueError("expected texts with words, got a blank one")
        self.ready()
        if len(self._felt) > _KEPT:
            self._felt.clear()
        by_length: dict[int, list[tuple[str, list[int]]]] = {}
        for text in dict.fromkeys(texts):
            if text not in self._felt:
                ids = self._tokenizer(text, truncation=True, max_length=self._longest)["input_ids"]
                by_length.setdefault(len(ids), []).append((text, ids))
        for rows in by_length.values():
            ids = [one for _, one in rows]
            found, self.batch = in_batches(ids, self.batch, self._read, "emotions: texts", self.place)
            self._felt |= {text: felt for (text, _), felt in zip(rows, found, strict=True)}
        return [self._felt[text] for text in texts]

    def _read(self, rows: Sequence[list[int]]) -> list[Felt]:
        with torch.inference_mode():
            ids = torch.tensor(rows, device=self.place.device)
            told = self._model(input_ids=ids, attention_mask=torch.ones_like(ids), output_hidden_states=True)
            vectors = torch.nn.functional.normalize(told.hidden_states[-1][:, 0].float(), dim=-1).cpu().numpy()
            shares, answers = told.logits.float().softmax(dim=-1).max(dim=-1)
        vectors.setflags(write=False)
        labels = self._model.config.id2label
        return [
            Felt(vector, str(labels[answer]).lower(), share)
            for vector, answer, share in zip(vectors, answers.tolist(), shares.tolist(), strict=True)
        ]
