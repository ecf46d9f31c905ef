"""The paper's readers at toy size: captions and lines to vectors, and what is said where there is nothing to read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from library_builder.feeling import Seen, feel_some
from library_builder.pretrained import ModelError, find_model
from library_builder.pretrained.caption_notes import felt_in, flags_in
from library_builder.pretrained.folder import ModelFolder
from library_builder.pretrained.loading import choose_place
from library_builder.pretrained.prompts import Colours, face_prompt, scene_prompt
from library_builder.pretrained.reaction import ReactionModel
from library_builder.pretrained.text_emotion import EmotionClassifier, Felt
from library_builder.pretrained.video_llm import Answer
from library_builder.readers import Models, build_reader, build_readers, parse_names
from library_builder.scene import look_at
from library_builder.types import Frame, Unread

from . import toy_models

pytestmark = pytest.mark.pretrained
pytest.importorskip("transformers")
CPU = choose_place("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Captions, classifier and reactions."""
    root = tmp_path_factory.mktemp("models")
    toy_models.save_video_llm(root / "video_llm")
    toy_models.save_classifier(root / "roberta")
    toy_models.save_reactions(root / "comet")
    return root


@pytest.fixture(scope="module")
def models(folder: Path) -> ModelFolder:
    return ModelFolder(folder, CPU)


def shot(colour: Sequence[int] = (30, 60, 200), frames: int = 6) -> list[Frame]:
    """A picture with a mouth that opens and shuts, as a drawing has it."""
    shown = []
    for n in range(frames):
        image = np.full((112, 140, 3), colour, dtype=np.uint8)
        image[60 : 64 + 6 * (n % 2), 60:80] = 10
        shown.append(Frame(n / 10, image))
    return shown


def test_a_caption_and_its_vector_come_again_from_disk(models: ModelFolder, folder: Path) -> None:
    scene, again = models.scene(), ModelFolder(folder, CPU).scene()
    one, two = scene.read(shot()), again.read(shot())
    assert one is not None and two is not None and one.caption == two.caption and len(one.caption.split()) > 3
    assert np.array_equal(one.emotion.vector, two.emotion.vector) and one.emotion.space == scene.space
    label = felt_in(one.notes, "scene")
    assert label is not None and label[0] in toy_models.EMOTIONS and 1 / 7 < label[1] <= 1
    assert models.classifier.feel([one.caption])[0].vector.tolist() == one.emotion.vector.tolist()
    red = scene.read(shot((220, 40, 20)))
    assert red is not None and red.caption != one.caption
    assert float(red.emotion.vector @ one.emotion.vector) < 0.9999


def test_one_pixel_changes_a_scenes_vector(models: ModelFolder) -> None:
    frames = shot()
    image = frames[0].image.copy()
    image[20, 20] = 255
    one, other = models.scene().read_all([frames, [replace(frames[0], image=image), *frames[1:]]])
    assert not isinstance(one, Unread) and not isinstance(other, Unread)
    assert not np.array_equal(one.emotion.vector, other.emotion.vector)


def test_one_word_changes_a_lines_vector_in_both_halves(models: ModelFolder) -> None:
    text = models.text()
    happy, sad = text.read("I am so happy!", {}), text.read("I am so sad!", {})
    assert happy is not None and sad is not None
    width = models.classifier.width
    halves = [(h.emotion.vector[:width], h.emotion.vector[width:]) for h in (happy, sad)]
    assert all(not np.array_equal(a, b) for a, b in zip(*halves, strict=True))
    own, reacted = (float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) for a, b in zip(*halves, strict=True))
    assert float(happy.emotion.vector @ sad.emotion.vector) == pytest.approx((own + reacted) / 2, abs=1e-6)
    assert own != pytest.approx(reacted, abs=1e-3), "or the mean would prove nothing"
    again = text.read("I am  so happy! ", {"scene": "a dark shot"})
    assert again is not None and np.array_equal(again.emotion.vector, happy.emotion.vector)
    assert text.read("  ", {"scene": "a dark shot"}) is None


def test_the_classifier_gives_its_last_layers_first_vector(folder: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    source = find_model(folder / "roberta")
    line = "Please do not go."
    felt = EmotionClassifier(source, CPU).feel([line, "How dare you?", line])
    theirs = AutoModelForSequenceClassification.from_pretrained(source.folder)
    ids = AutoTokenizer.from_pretrained(source.folder)(line, return_tensors="pt")
    with torch.inference_mode():
        vector = theirs.roberta(**ids).last_hidden_state[0, 0].numpy()
        shares = theirs(**ids).logits[0].softmax(-1)
    assert felt[0].vector == pytest.approx(vector / np.linalg.norm(vector), abs=1e-6)
    assert (felt[0].label, felt[0].share) == (toy_models.EMOTIONS[int(shares.argmax())], pytest.approx(shares.max()))
    assert felt[2] is felt[0] and felt[1].vector.tolist() != felt[0].vector.tolist()
    with pytest.raises(ValueError, match="got a blank one"):
        EmotionClassifier(source, CPU).feel([" "])
    toy_models.save_classifier(tmp_path / "wide", width=64)
    wide = EmotionClassifier(find_model(tmp_path / "wide"), CPU)
    assert wide.width == 64 == len(wide.feel(["sad " * 400])[0].vector), "a text that is too long is cut"


def test_a_classifier_for_which_memory_runs_out_reads_fewer_texts_at_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    source = find_model(folder / "roberta")
    texts = [f"I am so {word}!" for word in ("happy", "sad", "proud", "tired", "loved")] * 2
    right, model = EmotionClassifier(source, CPU).feel(texts), EmotionClassifier(source, CPU)
    read = model._read

    def small(rows: Sequence[list[int]]) -> list[Felt]:
        if len(rows) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return read(rows)

    monkeypatch.setattr(model, "_read", small)
    felt = model.feel(texts)
    assert model.batch == 1 and "texts: out of memory, going on with" in caplog.text
    for one, other in zip(felt, right, strict=True):
        # Products of matrices of other sizes add up in another order.
        assert one.label == other.label and np.allclose(one.vector, other.vector, atol=1e-6)


@pytest.mark.parametrize("kind", ["bart", "t5"])
def test_reactions_come_again_from_disk_and_hang_on_the_line(kind: str, tmp_path: Path) -> None:
    toy_models.save_reactions(tmp_path / kind, kind)
    one, again = (ReactionModel(find_model(tmp_path / kind), CPU) for _ in range(2))
    lines = ["I am so happy!", "Please do not go."]
    assert one.react(lines) == again.react(lines[::-1])[::-1] and len(set(one.react(lines))) == 2


def test_a_line_without_a_reaction_stands_for_it(models: ModelFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    text = models.text()
    monkeypatch.setattr(text._reactions, "react", lambda lines: [""] * len(lines))
    read = text.read("How dare you?", {})
    assert read is not None and "text: no reaction, the line stands for it" in read.notes
    width = models.classifier.width
    assert np.array_equal(read.emotion.vector[:width], read.emotion.vector[width:])


def test_a_folder_without_reactions_has_another_space(folder: Path, tmp_path: Path) -> None:
    alone = shutil.copytree(folder, tmp_path / "alone")
    shutil.rmtree(alone / "comet")
    one, two = ModelFolder(folder, CPU).text(), ModelFolder(alone, CPU).text()
    assert one.space.endswith("/64") and two.space.endswith("/32") and one.space != two.space
    read = two.read("I am so happy!", {})
    assert read is not None and read.emotion.space == two.space


def test_other_weights_have_another_space_and_a_renamed_folder_has_not(folder: Path, tmp_path: Path) -> None:
    here = ModelFolder(folder, CPU)
    there = ModelFolder(shutil.copytree(folder, tmp_path / "there"), CPU)
    assert (here.scene().space, here.text().space) == (there.scene().space, there.text().space)
    toy_models.save_classifier(tmp_path / "there" / "roberta", width=64)
    other = ModelFolder(tmp_path / "there", CPU)
    assert other.scene().space != here.scene().space and other.scene().space.endswith("/64")
    assert here.scene().space.startswith("paper-scene/") and here.face().space.startswith("paper-face/")
    facts = here.scene().facts
    assert facts["video_llm.licence"] == "cc0-1.0" and facts["classifier.licence"] == "MIT License"
    assert facts["settings"] == "prompts-v1 fp32"


def said(models: ModelFolder, monkeypatch: pytest.MonkeyPatch, *answers: Answer) -> list[tuple[Any, str]]:
    """Has the model say these things, and tells what it was asked."""
    asked: list[tuple[Any, str]] = []

    def answer(questions: Sequence[tuple[Any, str]]) -> list[Answer]:
        asked.extend(questions)
        return list(answers[: len(questions)])

    monkeypatch.setattr(models.video_llm, "answer", answer)
    return asked


def test_a_model_that_says_nothing_is_a_note_and_no_crash(models: ModelFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    said(models, monkeypatch, Answer("", True), Answer("sad sad sad sad sad", False))
    empty, looping = models.scene().read_all([shot(), shot()])
    assert isinstance(empty, Unread) and empty.notes == ("scene: the model said nothing",)
    assert not isinstance(looping, Unread) and flags_in(looping.notes, "scene") == ("looping", "cut")
    assert models.scene().read(shot()) is None
    face = models.face().read(shot())
    assert face.reading is None and face.notes[-1] == "face: the model said nothing"
    readers = SimpleNamespace(scene=models.scene(), face=models.face(), text=models.text(), audio=None, batch=4)
    readers.audio = SimpleNamespace(read=lambda wave, rate: None)
    felt = feel_some([Seen(tuple(shot()), None)], ["Please do not go."], readers)[0]  # type: ignore[arg-type]
    assert not isinstance(felt, Exception) and set(felt.emotions) == {"text"} and "scene" not in felt.captions
    assert {"scene: the model said nothing", "face: the model said nothing"} <= set(felt.notes)


def test_questions_carry_what_was_measured(models: ModelFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = said(models, monkeypatch, Answer("a blue and lonely place", True))
    models.scene().read(shot())
    frames, question = asked[0]
    assert question == scene_prompt(Colours.of(look_at(frames))) and len(frames) == 4
    assert question.startswith("Measured: main hue blue (240 degrees, ") and "saturation 93 of 100" in question
    grey = Colours.of(look_at(shot((128, 128, 128))))
    assert "main hue none (grey), lightness 5" in grey.told() and "saturation 0 of 100" in grey.told()
    models.face().read(shot())
    crop, question = asked[1]
    assert question == face_prompt(Colours.of(look_at(crop)))
    assert crop[0].image.shape[0] == crop[0].image.shape[1] < 140, "the face alone is shown"


def test_names_of_extractors_by_modality(folder: Path) -> None:
    assert parse_names("paper,audio=light-v2") == dict(scene="paper", face="paper", text="paper", audio="light-v2")
    assert parse_names("text=paper")["scene"] == "light"
    for wrong in ("paper,light", "heavy", "smell=paper", "text=heavy", "", "text=paper,text=light"):
        with pytest.raises(ValueError, match=r"expected extractors|known readers"):
            parse_names(wrong)
    readers = build_readers("paper,audio=light", Models(folder, "cpu", batch=3))
    assert readers.batch == 3 and readers.spaces()["audio"].startswith("light-audio")
    assert readers.scene.read(shot()) is not None
    assert build_reader("text", "paper", Models(folder, "cpu")).space == readers.text.space
    with pytest.raises(ValueError, match=r"expected a folder of models .*--model-dir DIR\), got none"):
        build_readers("paper")


def test_what_a_folder_lacks_or_has_wrong_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"expected a folder with video_llm/, roberta/"):
        ModelFolder(tmp_path / "nowhere", CPU)
    wrong = shutil.copytree(folder, tmp_path / "wrong")
    (wrong / "video_llm").rename(wrong / "roberta-video")
    with pytest.raises(ModelError, match=r"expected a sub-folder video_llm/ with the model's files"):
        ModelFolder(wrong, CPU).scene()
    (wrong / "comet").rename(wrong / "video_llm")
    with pytest.raises(ModelError, match=r"expected a video language model .*, got 'bart'"):
        ModelFolder(wrong, CPU).scene()
    config = json.loads((wrong / "roberta" / "config.json").read_text())
    for changes, why in (
        ({"model_type": "bert"}, r"expected a RoBERTa classifier of emotions \(model_type roberta, .*\), got 'bert'"),
        ({"architectures": ["RobertaForMaskedLM"]}, r"\(RobertaForSequenceClassification\), got RobertaForMaskedLM"),
    ):
        (wrong / "roberta" / "config.json").write_text(json.dumps(config | changes))
        with pytest.raises(ModelError, match=why):
            ModelFolder(wrong, CPU).text()
    with pytest.raises(ValueError, match=r"expected a GPU for device cuda|expected a device"):
        choose_place("cuda:9x")
    with pytest.raises(ValueError, match="precision of auto, fp32 and bf16"):
        choose_place("cpu", "fp8")  # type: ignore[arg-type]


def test_half_precision_reads_too_and_says_so(folder: Path) -> None:
    half = ModelFolder(folder, choose_place("cpu", "bf16"))
    scene, text = half.scene(), half.text()
    read = scene.read(shot())
    assert read is not None and read.caption and scene.facts["settings"] == "prompts-v1 bf16"
    assert scene.space == ModelFolder(folder, CPU).scene().space, "the same weights, so vectors may be compared"
    line = text.read("I am so happy!", {})
    assert line is not None and half.classifier.place.precision == "fp32"
