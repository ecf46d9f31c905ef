"""Whisper as a listener (Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", 2022)."""

from __future__ import annotations

from pathlib import Path

from .intelligibility import SAMPLE_RATE
from .measured import Wave


class WhisperListener:
    """Writes down what it hears, from weights in a local folder; nothing is downloaded, and no pickle is read.

    Args:
        folder: as published for transformers, with `model.safetensors`.
        language: of what is spoken, `en` or `pl`.

    Raises:
        ImportError: transformers is not installed.
        OSError: the folder is incomplete.
    """

    def __init__(self, folder: Path, language: str) -> None:
        try:
            from transformers import WhisperForConditionalGeneration, WhisperProcessor
        except ModuleNotFoundError as error:
            raise ImportError(f"Whisper needs transformers ({error}); pip install transformers") from error
        self._processor = WhisperProcessor.from_pretrained(folder, local_files_only=True)
        model = WhisperForConditionalGeneration.from_pretrained(folder, local_files_only=True, use_safetensors=True)
        self._model = model.eval()
        # Weights for English alone refuse to be told a language.
        several = getattr(self._model.generation_config, "is_multilingual", True)
        self._told = {"language": language, "task": "transcribe"} if several else {}
        self.note = f"Whisper ({folder.name}), greedy, told the language and nothing of the text."

    def hear(self, wave: Wave) -> list[str]:
        """The words of an utterance at 16 kHz of up to 30 s; what is longer is not heard.

        Shape:
            (S,) -> words.
        """
        import torch

        with torch.inference_mode():
            features = self._processor(wave, sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features
            ids = self._model.generate(features, do_sample=False, num_beams=1, **self._told)
        return str(self._processor.batch_decode(ids, skip_special_tokens=True)[0]).split()
