"""Video language models in their real classes at toy size: what they are shown, what they say, and what is refused."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from library_builder.pretrained import ModelError, find_model
from library_builder.pretrained.loading import choose_place
from library_builder.pretrained.pictures import PictureSettings, changed, choose, fit, to_patches
from library_builder.pretrained.video_llm import FAMILIES, VideoLLM
from library_builder.types import Frame

from . import toy_models

pytestmark = pytest.mark.pretrained
pytest.importorskip("transformers")

QUESTION = "Describe the emotional atmosphere of this film scene."
Shown = Callable[[str], VideoLLM]


def shot(seed: int = 0, frames: int = 4, side: int = 56) -> list[Frame]:
    """A noisy picture that drifts."""
    random = np.random.default_rng(seed)
    still = random.integers(0, 256, (side, side, 3))
    return [Frame(n / 4, ((still + 40 * n * random.random(3)) % 256).astype(np.uint8)) for n in range(frames)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("video")
    for kind in FAMILIES:
        toy_models.save_video_llm(root / kind, kind)
    return {kind: root / kind for kind in FAMILIES}


@pytest.fixture(scope="module")
def loaded(folders: dict[str, Path]) -> Shown:
    made: dict[str, VideoLLM] = {}

    def one(kind: str) -> VideoLLM:
        if kind not in made:
            made[kind] = load(folders[kind])
        return made[kind]

    return one


def load(folder: Path, batch: int = 4) -> VideoLLM:
    return VideoLLM(find_model(folder), choose_place("cpu"), batch=batch)


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_model_that_is_saved_and_loaded_says_the_same(kind: str, folders: dict[str, Path], loaded: Shown) -> None:
    model = loaded(kind)
    first = model.answer([(shot(), QUESTION)])
    assert first[0].text and len(first[0].text.split()) <= 12
    again = folders[kind].parent / f"{kind}-again"
    shutil.copytree(folders[kind], again)
    (again / "model.safetensors").unlink()
    model._model.save_pretrained(again)
    assert load(again).answer([(shot(), QUESTION)]) == first


@pytest.mark.parametrize("kind", FAMILIES)
def test_one_pixel_and_one_word_change_what_the_model_computes(kind: str, loaded: Shown) -> None:
    model, frames = loaded(kind), shot()
    image = frames[0].image.copy()
    image[30, 30] = 255 - image[30, 30]
    pixel = [replace(frames[0], image=image), *frames[1:]]
    said = _scores(model, frames, QUESTION)
    assert torch.equal(said, _scores(model, frames, QUESTION))
    assert not torch.equal(said, _scores(model, pixel, QUESTION))
    other = _scores(model, frames, QUESTION.replace("film", "sad"))
    assert other.shape == said.shape and not torch.equal(said, other)


def _scores(model: VideoLLM, frames: list[Frame], question: str) -> torch.Tensor:
    """Of the first word of an answer."""
    with torch.inference_mode():
        return model._model(**model.inputs([(frames, question)])).logits[0, -1]


@pytest.mark.parametrize("kind", FAMILIES)
def test_answers_do_not_hang_on_who_is_asked_beside_them(kind: str, loaded: Shown) -> None:
    asked = [
        (shot(1), QUESTION),
        (shot(2, frames=6, side=84), "A face. " + QUESTION),
        (shot(3, side=70), "Sad?"),
    ]
    together = loaded(kind).answer(asked)
    assert together == [loaded(kind).answer([one])[0] for one in asked]
    assert len({answer.text for answer in together}) == 3, "and each is about its own shot"


def test_prompts_have_a_place_for_every_token_and_tell_times(loaded: Shown) -> None:
    frames = shot(side=84)
    frames[1] = replace(frames[1], image=frames[0].image)
    texts = {}
    for kind in FAMILIES:
        model = loaded(kind)
        inputs = model.inputs([(frames, QUESTION)])
        video = model._tokenizer.convert_tokens_to_ids("<|video_pad|>")
        tokens = int(inputs["video_grid_thw"].prod()) // 4
        kept = int(inputs["video_compression_mask"].sum()) if kind == "video_llama_3" else tokens
        assert int((inputs["input_ids"] == video).sum()) == kept
        texts[kind] = model._tokenizer.decode(inputs["input_ids"][0])
        assert texts[kind].count("<|im_start|>") == 2 and QUESTION in texts[kind]
    assert "Time 0.0s:" in texts["video_llama_3"] and ",Time 0.2s:<|video_pad|>,Time 0.5s:" in texts["video_llama_3"]
    assert "<0.1 seconds><|vision_start|>" in texts["qwen3_vl"] and "<0.6 seconds>" in texts["qwen3_vl"]
    assert "seconds>" not in texts["qwen2_vl"]


def test_an_own_chat_template_is_used_and_has_to_have_a_place_for_the_video(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    own = shutil.copytree(folders["qwen2_vl"], tmp_path / "own")
    (own / "chat_template.jinja").write_text("HARK <|video_pad|> {{ messages[0].content[1].text }} SPEAK")
    model = load(own)
    model.ready()
    text = model._tokenizer.decode(model.inputs([(shot(), QUESTION)])["input_ids"][0])
    assert text.startswith("HARK <|video_pad|>") and text.endswith("SPEAK")
    (own / "chat_template.jinja").write_text("{{ messages[0].content[1].text }}")
    with pytest.raises(ModelError, match=r"one place for the video \(<\|video_pad\|>\)"):
        load(own).answer([(shot(), QUESTION)])


@pytest.mark.parametrize("kind", ["qwen2_vl", "video_llama_3"])
def test_patches_are_those_of_the_libraries_own_processor(kind: str) -> None:
    """Of stills, as those for videos need a package that is not here: a still is a shot that does not move."""
    from PIL import Image

    if kind == "qwen2_vl":
        from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil as Processor
    else:
        from transformers.models.video_llama_3.image_processing_pil_video_llama_3 import (
            VideoLlama3ImageProcessorPil as Processor,
        )
    settings = replace(FAMILIES[kind].pictures, least=56 * 56, most=28 * 28 * 40, shared=False)
    processor: Any = Processor(
        min_pixels=settings.least, max_pixels=settings.most, patch_size=14, merge_size=2,
        temporal_patch_size=settings.temporal, image_mean=list(settings.mean), image_std=list(settings.deviation),
    )  # fmt: skip
    for height, width in ((112, 224), (90, 300), (40, 30)):
        image = np.random.default_rng(1).integers(
            100, 156, (height, width, 3), dtype=np.uint8
        )  # resized, none is cut off
        theirs = processor(images=[Image.fromarray(image)], return_tensors="pt")
        ours = to_patches([Frame(0.0, image)] * settings.temporal, settings)
        assert theirs["image_grid_thw"][0].tolist() == list(ours.grid)
        error = float((theirs["pixel_values"].reshape(ours.values.shape) - ours.values).abs().max())
        level = 1 / 255 / min(settings.deviation)
        # Two ways to resize round differently, by a level of 255; a wrong layout would be off by fifty.
        assert error <= (1e-5 if (height, width) == (112, 224) else 1.01 * level)


def test_frames_are_taken_at_the_models_rate() -> None:
    frames = [Frame(n / 8, np.zeros((8, 8, 3), dtype=np.uint8)) for n in range(64)]
    settings = PictureSettings(rate=2, fewest_frames=4, most_frames=12, temporal=2)
    assert [frame.time for frame in choose(frames[:9], settings)] == [0, 0.375, 0.625, 1.0]
    assert len(choose(frames, settings)) == 12 and len(choose(frames, replace(settings, rate=0.7))) == 6
    assert len(choose(frames[:3], settings)) == 2 and len(choose(frames[:1], settings)) == 1
    with pytest.raises(ValueError, match="at least one frame"):
        choose([], settings)


def test_sizes_keep_to_the_budget_of_a_frame_or_a_shot() -> None:
    settings = PictureSettings(least=56 * 56, most=28 * 28 * 64)
    assert fit(448, 796, 4, settings) == (168, 280)
    high, wide = fit(448, 796, 4, replace(settings, shared=True))
    assert 4 * high * wide <= settings.most and high % 28 == wide % 28 == 0
    assert fit(10, 10, 1, settings) == (56, 56)
    with pytest.raises(ValueError, match="within 200"):
        fit(4, 900, 1, settings)


def test_what_does_not_move_is_told_once() -> None:
    settings = FAMILIES["video_llama_3"].pictures
    settings = replace(settings, least=56 * 56)
    still = np.full((56, 56, 3), 90, dtype=np.uint8)
    moved = still.copy()
    moved[:28, :28] += 50
    kept = changed(to_patches([Frame(n, one) for n, one in enumerate((still, still, moved))], settings), settings)
    assert kept.view(3, 4).tolist() == [[True] * 4, [True, False, False, False], [True, False, False, False]]


def test_a_gpu_that_runs_out_is_asked_about_fewer(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model, asked = load(folders["qwen2_vl"], batch=8), [(shot(n), QUESTION) for n in range(7)]
    right = model.answer(asked)
    generate, sizes = model._model.generate, []

    def small(**inputs: Any) -> Any:
        sizes.append(len(inputs["input_ids"]))
        if sizes[-1] > room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return generate(**inputs)

    room = 2
    monkeypatch.setattr(model._model, "generate", small)
    with caplog.at_level(logging.WARNING):
        assert model.answer(asked) == right
    assert sizes == [7, 3, *[1] * 7]
    assert model.batch == 1 and "out of memory, going on with 3 at once" in caplog.text
    room = 0
    with pytest.raises(RuntimeError, match="shots: expected memory for one on cpu, it ran out"):
        model.answer(asked[:1])


def test_models_of_other_kinds_are_refused_by_name(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders["qwen2_vl"], tmp_path / "other")
    config = json.loads((folder / "config.json").read_text())

    def described(**changes: Any) -> Path:
        (folder / "config.json").write_text(json.dumps(config | changes))
        return folder

    for kind in ("videollama2_mistral", "videollama2_qwen2"):
        with pytest.raises(ModelError, match=r"VideoLLaMA 2 is not in transformers .* take VideoLLaMA3 or a Qwen-VL"):
            load(described(model_type=kind, architectures=["Videollama2MistralForCausalLM"]))
    with pytest.raises(ModelError, match="conversion for transformers"):
        load(described(model_type="videollama3_qwen2", architectures=["Videollama3Qwen2ForCausalLM"]))
    with pytest.raises(ModelError, match=r"expected a video language model \(model_type .*\), got 'roberta'"):
        load(described(model_type="roberta"))
    with pytest.raises(ModelError, match=r"\(Qwen2VLForConditionalGeneration\), got Qwen2VLModel"):
        load(described(architectures=["Qwen2VLModel"]))
    with pytest.raises(ModelError, match="expected patches of 16 pixels"):
        load(described(vision_config=config["vision_config"] | {"patch_size": 16}))
    with pytest.raises(ValueError, match="at least one shot"):
        load(described(), batch=0)


def test_weights_that_do_not_fill_the_model_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(folders["video_llama_3"], tmp_path / "hollow")
    state = load_file(folder / "model.safetensors")
    name = next(name for name in state if "projector" in name)
    lost = {key: value for key, value in state.items() if key != name}
    save_file(lost, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"weights that fill VideoLlama3ForConditionalGeneration, got none for .*proj"):
        load(folder).ready()
    save_file(lost | {name: torch.zeros(3, 3)}, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError):
        load(folder).ready()
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(ModelError, match="expected a tokenizer"):
        load(folder).ready()
