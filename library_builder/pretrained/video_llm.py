"""A video language model that answers questions about shots: VideoLLaMA3, and the Qwen-VL family.

Answers are greedy, so that the same shot gets the same words. Shots are asked about a few at a time; a GPU that runs
out of memory is asked about fewer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from library_builder.types import Frame

from .loading import LazyModel, Place, architecture, in_batches, words_of
from .pictures import Patches, PictureSettings, changed, choose, read_settings, to_patches
from .source import ModelError, ModelSource, read_config

VIDEO = "<|video_pad|>"
MOST_WORDS = 256
"""New tokens of an answer; what is still unfinished then is cut, and noted."""
_CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for c in m.content %}{% if c.type == 'video' %}"
    "VIDEO\n{% else %}{{ c.text }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
)
"""The format both families were tuned on, for a folder that lacks its template."""


@dataclass(frozen=True, slots=True)
class Family:
    """What tells one kind of model from another.

    Attributes:
        name: as it was published.
        model: its class in transformers.
        pictures: what it expects of pictures unless its folder says otherwise.
        times: where the prompt tells times: before every frame, before every patch's frames, or nowhere.
    """

    name: str
    model: str
    pictures: PictureSettings
    times: Literal["frame", "patch", "none"] = "none"


_HALF = (0.5, 0.5, 0.5)
_IMAGENET: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "deviation": (0.229, 0.224, 0.225)}
_LLAMA3 = PictureSettings(temporal=1, least=128 * 28 * 28, shared=True, rate=1.0, most_frames=180, **_IMAGENET)
_QWEN3 = PictureSettings(patch=16, least=128 * 32 * 32, most=32 * 32 * 768, shared=True, mean=_HALF, deviation=_HALF)
FAMILIES: Mapping[str, Family] = {
    "video_llama_3": Family("VideoLLaMA3", "VideoLlama3ForConditionalGeneration", _LLAMA3, "frame"),
    "qwen2_vl": Family("Qwen2-VL", "Qwen2VLForConditionalGeneration", PictureSettings()),
    "qwen2_5_vl": Family("Qwen2.5-VL", "Qwen2_5_VLForConditionalGeneration", PictureSettings()),
    "qwen3_vl": Family("Qwen3-VL", "Qwen3VLForConditionalGeneration", _QWEN3, "patch"),
}
"""By the model type in `config.json`."""
_REFUSED = {
    "videollama2": "VideoLLaMA 2 is not in transformers and needs code out of its own repository, which is not run "
    "here: take VideoLLaMA3 or a Qwen-VL model",
    "videollama3": "VideoLLaMA3 in the layout that needs code out of its own repository, which is not run here: take "
    "the conversion for transformers (model_type video_llama_3)",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said.

    Attributes:
        text: without blanks around it; `""` when it said nothing.
        finished: it came to an end by itself.
    """

    text: str
    finished: bool


class VideoLLM(LazyModel):
    """A model and how it is spoken to. The weights are loaded by the first question, or by `ready`.

    Args:
        batch: shots asked about at once; halved for good whenever a GPU runs out of memory.

    Raises:
        ModelError: it is of no known family; VideoLLaMA 2 is refused by name.
        ValueError: a batch below one.
    """

    def __init__(self, source: ModelSource, place: Place, *, batch: int = 4) -> None:
        if batch < 1:
            raise ValueError(f"expected a batch of at least one shot, got {batch}")
        config = read_config(source)
        kind = str(config.get("model_type", ""))
        named = " ".join([kind, *map(str, config.get("architectures") or ())]).lower().replace("_", "")
        for name, reason in _REFUSED.items():
            if name in named and kind not in FAMILIES:
                raise ModelError(f"{source.folder}: expected a video language model of transformers, got {reason}")
        self.family = FAMILIES[
            architecture(source, {k: f.model for k, f in FAMILIES.items()}, "a video language model")
        ]
        super().__init__(source, self.family.model, place)
        self.batch = batch
        default = self.family.pictures
        self.pictures = read_settings(source.folder, default, image_too=self.family.name.startswith("Qwen"))
        vision = config.get("vision_config") or {}
        if vision.get("patch_size", self.pictures.patch) != self.pictures.patch:
            raise ModelError(
                f"{source.folder}: expected patches of {vision['patch_size']} pixels as config.json has them, got "
                f"{self.pictures.patch} in the settings of pictures"
            )

    def _loaded(self) -> None:
        said = self._model.generation_config
        self._words = min(MOST_WORDS, said.max_new_tokens or MOST_WORDS)
        ends = said.eos_token_id if said.eos_token_id is not None else self._tokenizer.eos_token_id
        self._ends = set(ends if isinstance(ends, list) else [ends])
        pad = self._tokenizer.pad_token_id
        self._pad = pad if pad is not None else next(iter(self._ends))

    def answer(self, asked: Sequence[tuple[Sequence[Frame], str]]) -> list[Answer]:
        """What the model says of each shot, in order.

        Args:
            asked: frames of a shot in order of time, and what is asked about them.

        Raises:
            ModelError: as `ready`.
            RuntimeError: a single shot is too much for the GPU's memory.
        """
        self.ready()
        answers, self.batch = in_batches(asked, self.batch, self._answer, f"{self.family.name}: shots", self.place)
        return answers

    def _answer(self, asked: Sequence[tuple[Sequence[Frame], str]]) -> list[Answer]:
        inputs = self.inputs(asked)
        length = inputs["input_ids"].shape[1]
        with torch.inference_mode():
            said = self._model.generate(
                **inputs, do_sample=False, num_beams=1, max_new_tokens=self._words, pad_token_id=self._pad
            )
        answers = []
        for row in said[:, length:].tolist():
            end = next((n for n, token in enumerate(row) if token in self._ends), None)
            answers.append(Answer(words_of(self._tokenizer, row[:end]), end is not None))
        return answers

    def inputs(self, asked: Sequence[tuple[Sequence[Frame], str]]) -> dict[str, Tensor]:
        """What the model's class is called with, padded on the left, where it does not part question and answer."""
        self.ready()
        shots = [to_patches(choose(frames, self.pictures), self.pictures) for frames, _ in asked]
        kept = [changed(shot, self.pictures) if self.family.times == "frame" else None for shot in shots]
        prompts = [self._prompt(q, s, k) for (_, q), s, k in zip(asked, shots, kept, strict=True)]
        rows = [self._tokenizer(prompt, add_special_tokens=False)["input_ids"] for prompt in prompts]
        length = max(map(len, rows))
        ids = torch.tensor([[self._pad] * (length - len(row)) + row for row in rows])
        mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows])
        inputs: dict[str, Tensor] = {
            "input_ids": ids,
            "attention_mask": mask,
            "pixel_values_videos": torch.cat([shot.values for shot in shots]).to(self.place.dtype),
            "video_grid_thw": torch.tensor([shot.grid for shot in shots]),
        }
        if self.family.times == "frame":
            inputs["video_merge_sizes"] = torch.full((len(shots),), self.pictures.merge)
            inputs["video_compression_mask"] = torch.cat([one for one in kept if one is not None])
        else:
            video = self._tokenizer.convert_tokens_to_ids(VIDEO)
            inputs["mm_token_type_ids"] = torch.where((ids == video) & (mask == 1), 2, 0)
        if self.family.name == "Qwen2.5-VL":
            inputs["second_per_grid_ts"] = torch.tensor([_seconds_per_patch(shot) for shot in shots])
        return {name: value.to(self.place.device) for name, value in inputs.items()}

    def _prompt(self, question: str, shot: Patches, kept: Tensor | None) -> str:
        """The whole conversation as text, with a place for every token that a picture becomes."""
        content = [{"type": "video"}, {"type": "text", "text": question}]
        chat = [{"role": "user", "content": content}]
        marked = VIDEO if self.family.times == "frame" else f"<|vision_start|>{VIDEO}<|vision_end|>"
        template = self._tokenizer.chat_template or _CHATML.replace("VIDEO", marked)
        text = self._tokenizer.apply_chat_template(
            chat, chat_template=template, tokenize=False, add_generation_prompt=True
        )
        if text.count(VIDEO) != 1:
            raise ModelError(f"{self.source.folder}: expected a chat template with one place for the video ({VIDEO})")
        return str(text.replace(VIDEO, self._places(shot, kept)))

    def _places(self, shot: Patches, kept: Tensor | None) -> str:
        t, h, w = shot.grid
        tokens = h * w // self.pictures.merge**2
        depth = self.pictures.temporal
        means = [sum(shot.times[n * depth : (n + 1) * depth]) / depth for n in range(t)]
        match self.family.times:
            case "frame":
                assert kept is not None
                counts = kept.view(t, tokens).sum(dim=1).tolist()
                return ",".join(f"Time {time:.1f}s:{VIDEO * n}" for time, n in zip(means, counts, strict=True))
            case "patch":
                return "".join(f"<{time:.1f} seconds><|vision_start|>{VIDEO * tokens}<|vision_end|>" for time in means)
            case "none":
                return VIDEO * (t * tokens)


def _seconds_per_patch(shot: Patches) -> float:
    """How far apart patches are in time, which positions are counted by."""
    steps = max(1, len(shot.times) - 1)
    return max((shot.times[-1] - shot.times[0]) / steps, 1e-3) * (len(shot.times) / shot.grid[0])
