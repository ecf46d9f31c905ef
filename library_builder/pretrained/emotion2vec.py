"""How a voice feels, by emotion2vec: 768 or 1024 numbers, the mean over the frames of an utterance.

Ma et al. 2024, "emotion2vec: Self-Supervised Pre-Training for Speech Emotion Representation" (ACL Findings), through
FunASR's own class. Its vectors lie close together: cosines of clearly different feelings are above 0.9, so ranks tell
more than figures.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soxr
import torch
from torch import Tensor
from torch.nn import functional

from library_builder.types import Emotion, Reading

from . import require
from .source import ModelError, ModelSource, facts_of
from .weights import fill, read_state

INSTALL = 'pip install "authentic-dubber[emotion2vec]"'
SAMPLE_RATE = 16_000
"""Hertz: the model's own."""
SHORTEST = 0.1
"""Seconds; of less there is no telling."""
SHORT = 1.0
"""Seconds; its users report weak vectors of clips not much longer."""
_SILENT = 1e-4
"""Highest sample of what is no sound: below the last bit of 13."""
_SPARE = ("_ema", "modality_encoders.AUDIO.decoder.", "proj.")
"""What checkpoints hold for training, or for telling labels where a model is only asked for vectors."""
_LAYERS = re.compile(r"[\[\](){},\s\d*+]+")
"""FunASR evaluates the convolutions of a configuration as Python: only numbers, brackets, + and * may come to that."""


class Emotion2vecAudio:
    """Voices by a published emotion2vec model of any size.

    Args:
        source: a folder with `config.yaml` and one checkpoint, as published (`model.pt` or `emotion2vec_base.pt`); with
            `tokens.txt` and a head for them in the checkpoint, captions name the likeliest label.
        device: such as `cuda`; None takes a GPU where there is one. On a GPU the model runs in bfloat16.

    Raises:
        ModelError: a file is missing, truncated, or of another architecture.
        ImportError: funasr is not installed.
    """

    def __init__(self, source: ModelSource, *, device: str | None = None) -> None:
        require("funasr", "emotion2vec", INSTALL)
        self._source = source
        self._labels = _labels(source.folder)
        self._model = load_emotion2vec(source, labels=len(self._labels))
        self._labels = self._labels if self._model.proj is not None else ()
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._model.to(self._device)

    @property
    def space(self) -> str:
        return f"emotion2vec-{self._source.sha256[:8]}/{self._model.cfg.embed_dim}"

    @property
    def weight_files(self) -> tuple[Path, ...]:
        """What a manifest tells the reader by."""
        return self._source.weight_files

    @property
    def facts(self) -> Mapping[str, str]:
        """What a manifest keeps of the model besides."""
        return facts_of({"emotion2vec": self._source}, "")

    def read(self, wave: npt.NDArray[np.floating], sample_rate: int) -> Reading | None:
        """The utterance's vector; None for silence or less than 0.1 s of sound.

        Args:
            wave: samples in [-1, 1], mono.
            sample_rate: hertz; other rates than the model's are resampled.

        Shape:
            (S,) -> vector (D,).

        Raises:
            ValueError: the wave is not one channel of finite samples, or the rate is not positive.
        """
        if wave.ndim != 1 or not np.isfinite(wave).all():
            raise ValueError(f"expected one channel of finite samples, got shape {wave.shape}")
        if sample_rate <= 0:
            raise ValueError(f"expected a positive sample rate, got {sample_rate}")
        seconds = len(wave) / sample_rate
        if seconds < SHORTEST or float(np.abs(wave).max()) < _SILENT:
            return None
        heard = np.asarray(wave, dtype=np.float32)
        if sample_rate != SAMPLE_RATE:
            heard = soxr.resample(heard, sample_rate, SAMPLE_RATE, quality="HQ")
        frames = self.frames(heard)
        vector = frames.mean(dim=0)
        notes = (f"audio: {seconds:.1f} s of sound is little for emotion2vec",) if seconds < SHORT else ()
        unit = functional.normalize(vector, dim=0).cpu().numpy().astype(np.float32)
        return Reading(Emotion(self.space, unit), caption=self._told(vector), notes=notes)

    @torch.inference_mode()
    def frames(self, wave: npt.NDArray[np.float32]) -> Tensor:
        """Vectors of a wave at 16 kHz, 50 a second.

        Shape:
            (S,) -> (T, D).
        """
        heard = torch.from_numpy(np.ascontiguousarray(wave)).to(self._device)
        if self._model.cfg.normalize:
            heard = functional.layer_norm(heard, heard.shape)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._device.type == "cuda"):
            found = self._model.extract_features(heard[None], padding_mask=None)["x"]
        return torch.as_tensor(found[0].float())

    @torch.inference_mode()
    def _told(self, vector: Tensor) -> str:
        """The likeliest label in words: "a sad voice (82 %)"; nothing without a head that tells labels."""
        if not self._labels:
            return ""
        # Labels that the model was not taught to give are never told.
        given = torch.tensor([not label.startswith("unuse") for label in self._labels], device=vector.device)
        shares = self._model.proj(vector).masked_fill(~given, float("-inf")).softmax(dim=0)
        best = int(shares.argmax())
        return f"a voice of label {self._labels[best]} ({float(shares[best]):.0%})"


def load_emotion2vec(source: ModelSource, *, labels: int = 0) -> Any:
    """FunASR's model of a folder, ready to hear; with a head where the checkpoint has one for so many labels.

    Raises:
        ModelError: a file is missing, truncated, or of another architecture.
        ImportError: funasr is not installed.
    """
    require("funasr", "emotion2vec", INSTALL)
    # At import FunASR prints what is not installed, which is none of a library build's output.
    with redirect_stdout(io.StringIO()):
        from funasr.models.emotion2vec.model import Emotion2vec
    settings, scopes = _settings(source.folder)
    checkpoints = source.weight_files
    if len(checkpoints) != 1:
        raise ModelError(f"{source.folder}: expected one checkpoint of emotion2vec, got {len(checkpoints)}")
    state = _renamed(read_state(checkpoints[0]), scopes)
    headed = labels > 0 and "proj.weight" in state
    what = f"{checkpoints[0]}, an emotion2vec of {settings['embed_dim']} numbers"
    if headed and len(state["proj.weight"]) != labels:
        raise ModelError(
            f"{what}: expected a head for the {labels} labels of tokens.txt, got {len(state['proj.weight'])}"
        )
    try:
        model: Any = Emotion2vec(model_conf=settings, vocab_size=labels if headed else -1)
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError, AssertionError) as error:
        reason = str(error).strip().partition("\n")[0][:120]
        raise ModelError(f"{source.folder / 'config.yaml'}: expected all settings of emotion2vec: {reason}") from error
    # The decoder only serves pre-training: features never pass it.
    model.modality_encoders["AUDIO"].decoder = None
    fill(model, state, what, spare=tuple(name for name in _SPARE if not (headed and name == "proj.")))
    return model


def _renamed(state: Mapping[str, Tensor], scopes: Sequence[object]) -> dict[str, Tensor]:
    """Weights under the model's own names: each beginning of `scope_map` gives way to the one after it, or to none."""
    pairs = [
        (str(old), "" if new in (None, "none", "None") else str(new))
        for old, new in zip(scopes[::2], scopes[1::2], strict=True)
    ]
    return {
        next((new + name.removeprefix(old) for old, new in pairs if name.startswith(old)), name): value
        for name, value in state.items()
    }


def _settings(folder: Path) -> tuple[dict[str, Any], Sequence[object]]:
    """`model_conf` and `scope_map` of the published configuration."""
    # Both come with FunASR. OmegaConf takes the `1e-05` of published files for a number, plain YAML does not.
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    path = folder / "config.yaml"
    if not path.is_file():
        raise ModelError(f"{path}: expected the configuration of an emotion2vec model, there is none")
    try:
        read = OmegaConf.to_container(OmegaConf.create(path.read_text(encoding="utf-8")))
    except (YAMLError, OmegaConfBaseException, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: expected YAML: {str(error).partition(chr(10))[0]}") from error
    kind = read.get("model") if isinstance(read, Mapping) else None
    settings = read.get("model_conf") if isinstance(read, Mapping) else None
    if kind != "Emotion2vec" or not isinstance(settings, dict) or "embed_dim" not in settings:
        raise ModelError(f"{path}: expected model Emotion2vec with a model_conf, got {kind!r}")
    layers = str(settings.get("modalities", {}).get("audio", {}).get("feature_encoder_spec", ""))
    if not _LAYERS.fullmatch(layers) or "**" in layers:
        raise ModelError(f"{path}: expected convolutions as numbers in feature_encoder_spec, got {layers[:60]!r}")
    scopes = read.get("scope_map") or ()
    if not isinstance(scopes, list | tuple) or len(scopes) % 2:
        raise ModelError(f"{path}: expected pairs of beginnings in scope_map, got {scopes!r}")
    return settings, scopes


def _labels(folder: Path) -> tuple[str, ...]:
    """What the head of a model tells apart; of labels in two languages the English one."""
    path = folder / "tokens.txt"
    lines = path.read_text(encoding="utf-8").split("\n") if path.is_file() else []
    return tuple(line.strip().rpartition("/")[2] for line in lines if line.strip())
