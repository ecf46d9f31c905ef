"""How a line makes people react, in words: a COMET-style model that was tuned on ATOMIC (BART or T5).

Paper section "Multimodal Reference Footage Library": the reaction's vector is the second half of a line's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .loading import LazyModel, Place, architecture, words_of
from .source import ModelSource

REACTORS = {"bart": "BartForConditionalGeneration", "t5": "T5ForConditionalGeneration"}
RELATION = "xReact"
"""Of ATOMIC: how whoever says so feels."""
_QUESTION = "{line} {relation} [GEN]"
_WORDS = 24
"""New tokens of a reaction; they are a word or a few."""
_NOTHING = ("", "none")
"""What the model answers where there is no reaction."""


class ReactionModel(LazyModel):
    """A line in, a reaction out; greedy. Weights are loaded by the first line, or by `ready`.

    Raises:
        ModelError: the folder holds another kind of model.
    """

    def __init__(self, source: ModelSource, place: Place) -> None:
        super().__init__(source, REACTORS[architecture(source, REACTORS, "a COMET-style model of reactions")], place)

    def react(self, lines: Sequence[str]) -> list[str]:
        """The reaction to each line, in order; `""` where there is none. One at a time: they are quick.

        Raises:
            ModelError: as `ready`.
        """
        self.ready()
        return [self._react(line) for line in lines]

    def _react(self, line: str) -> str:
        question = _QUESTION.format(line=line, relation=RELATION)
        asked = self._tokenizer(question, return_tensors="pt", truncation=True).to(self.place.device)
        with torch.inference_mode():
            said = self._model.generate(
                input_ids=asked["input_ids"],
                attention_mask=asked["attention_mask"],
                do_sample=False,
                num_beams=1,
                max_new_tokens=_WORDS,
            )
        text = words_of(self._tokenizer, said[0].tolist())
        return "" if text.lower().strip(" .") in _NOTHING else text
