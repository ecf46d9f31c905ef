"""Where retrieval meets graphs: a line's own feelings and the clips they found become tensors."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from graphs import DialogueGraph
from library_builder.types import QUERY_MODALITIES, Emotion, Modality, space_width
from retrieval import Hit


def line_graph(
    own: Mapping[Modality, Emotion], hits: Mapping[Modality, tuple[Hit, ...]], spaces: Mapping[str, str]
) -> DialogueGraph:
    """One line as a graph. Missing modalities, missing references and silent references are masked.

    Args:
        own: the line's own vectors; any of scene, face, text may be absent.
        hits: what each of them found, best first; K is the longest list.
        spaces: the spaces the model was trained for.

    Shape:
        B = 1, K references.

    Raises:
        ValueError: a vector lives in another space than the model's.
    """
    k = max((len(found) for found in hits.values()), default=0)
    own_vectors: dict[str, Tensor] = {}
    references: dict[str, Tensor] = {}
    audio: dict[str, Tensor] = {}
    own_mask = np.zeros((1, 3), dtype=bool)
    live, heard = np.zeros((1, 3, k), dtype=bool), np.zeros((1, 3, k), dtype=bool)
    similarity = np.zeros((1, 3, k), dtype=np.float32)
    for m, modality in enumerate(QUERY_MODALITIES):
        width, sound = space_width(spaces[modality]), space_width(spaces["audio"])
        mine, theirs, voices = np.zeros((1, width)), np.zeros((1, k, width)), np.zeros((1, k, sound))
        if modality in own:
            mine[0], own_mask[0, m] = _checked(own[modality], spaces[modality]), True
        for j, hit in enumerate(hits.get(modality, ())):
            theirs[0, j], live[0, m, j] = _checked(hit.emotion, spaces[modality]), True
            similarity[0, m, j] = hit.score
            if hit.audio is not None:
                voices[0, j], heard[0, m, j] = _checked(hit.audio, spaces["audio"]), True
        own_vectors[modality] = torch.from_numpy(mine.astype(np.float32))
        references[modality] = torch.from_numpy(theirs.astype(np.float32))
        audio[modality] = torch.from_numpy(voices.astype(np.float32))
    return DialogueGraph(
        own=own_vectors,
        own_mask=torch.from_numpy(own_mask),
        references=references,
        audio=audio,
        reference_mask=torch.from_numpy(live),
        audio_mask=torch.from_numpy(heard),
        similarity=torch.from_numpy(similarity),
    )


def _checked(emotion: Emotion, space: str) -> npt.NDArray[np.float32]:
    if emotion.space != space:
        raise ValueError(f"expected a vector of space {space}, got one of {emotion.space}")
    return emotion.vector
