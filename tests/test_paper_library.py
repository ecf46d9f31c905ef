"""A library built by the paper's extractors at toy size, from films to a page of captions, by the commands."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from authentic_dubber.caption_audit import audit, write_audit
from authentic_dubber.cli import app
from authentic_dubber.exits import REFUSED
from library_builder.mux import write_video, write_wave
from retrieval.library import Library
from retrieval.versions import current_version

from . import toy_models

pytestmark = pytest.mark.pretrained
pytest.importorskip("transformers")
LINES = ("I am so happy!", "Please do not go.", "How dare you?")
MIXED = "paper,audio=light"


def dub(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["library", *map(str, words)])
    return done.exit_code, done.output


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without a voice's model, for which its package has to be there."""
    root = tmp_path_factory.mktemp("models")
    toy_models.save_video_llm(root / "video_llm")
    toy_models.save_classifier(root / "roberta")
    toy_models.save_reactions(root / "comet")
    return root


def draw(folder: Path, name: str, colours: list[tuple[int, int, int]]) -> Path:
    """A film of one-second lines with a mouth that opens and shuts, and a voice."""
    frames, folder = [], folder / name
    folder.mkdir(parents=True)
    for colour in colours:
        for n in range(10):
            image = np.full((96, 128, 3), colour, dtype=np.uint8)
            image[60 : 62 + 6 * (n % 2), 56:74] = 12
            frames.append(image)
    write_video(folder / f"{name}.mp4", frames, 10)
    time = np.arange(16_000 * len(colours)) / 16_000
    write_wave(folder / "voice.wav", (0.3 * np.sin(2 * np.pi * 150 * time)).astype(np.float32), 16_000)
    rows = [f'{n}.0,{n}.95,Ada,"{LINES[n % 3]}",voice.wav,joy' for n in range(len(colours))]
    (folder / f"{name}.csv").write_text("\n".join(["start,end,character,text,audio,emotion", *rows]) + "\n")
    return folder


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("films")
    draw(root, "dawn", [(230, 190, 60), (20, 30, 120), (200, 40, 30)])
    return root


@pytest.fixture(scope="module")
def built(films: Path, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("lib") / "library"
    code, output = dub(
        "build", root, "--footage", films, "--extractors", MIXED, "--model-dir", models, "--device", "cpu"
    )
    assert code == 0, output
    assert "licence cc0-1.0" in output and "licence MIT License" in output and "licence apache-2.0" in output
    return root


def clips(library: Path) -> list[tuple[object, dict[str, bytes]]]:
    return [(c.record(), {m: e.vector.tobytes() for m, e in c.emotions.items()}) for c in Library.open(library).clips()]


def test_clips_keep_captions_and_the_manifest_says_who_read_them(built: Path) -> None:
    library = Library.open(built)
    told = library.info()["extractors"]
    assert len(library) == 3 and set(told) == {"scene", "face", "text", "audio"}
    for clip in library.clips():
        assert set(clip.captions) >= {"scene", "face"} and clip.captions["scene"] != clip.captions["face"]
        assert {m: e.space for m, e in clip.emotions.items()} == dict(library.spaces)
    assert len({clip.captions["scene"] for clip in library.clips()}) == 3
    assert library.spaces["text"].endswith("/64") and library.spaces["scene"].endswith("/32")
    assert told["scene"]["reader"] == "CaptionedScene" and told["scene"]["video_llm.licence"] == "cc0-1.0"
    assert told["text"]["reaction.licence"] == "apache-2.0" and len(told["text"]["classifier.sha256"]) == 64
    assert "weights" in told["audio"] and "audio.licence" not in told["audio"]


def test_built_again_nothing_is_read_though_the_models_moved(
    built: Path, films: Path, models: Path, tmp_path: Path
) -> None:
    moved = shutil.copytree(models, tmp_path / "elsewhere")
    again = shutil.copytree(built, tmp_path / "library")
    code, output = dub("build", again, "--footage", films, "--extractors", MIXED, "--model-dir", moved, "--json")
    facts = json.loads(output[output.index("{") :])
    assert code == 0 and facts["read"] == 0 and facts["version"] == current_version(built)


def test_two_workers_and_other_batches_make_the_same_clips(
    built: Path, films: Path, models: Path, tmp_path: Path
) -> None:
    many = ("--workers", 2, "--shard-clips", 2, "--model-batch", 1)
    code, output = dub(
        "build", tmp_path / "two", "--footage", films, "--extractors", MIXED, "--model-dir", models, *many
    )
    assert code == 0, output
    assert clips(tmp_path / "two") == clips(built)


def test_damaged_weights_are_refused_before_a_clip_is_read(films: Path, models: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    damaged = shutil.copytree(models, tmp_path / "damaged")
    weights = damaged / "roberta" / "model.safetensors"
    state = load_file(weights)
    weights.write_bytes(weights.read_bytes()[:-100])
    asked = ("build", tmp_path / "lib", "--footage", films, "--extractors", MIXED, "--model-dir", damaged)
    code, output = dub(*asked)
    assert code == REFUSED and "expected a whole file" in output and output.count("\n") == 1
    state.pop(next(name for name in state if "attention" in name))
    save_file(state, weights, metadata={"format": "pt"})
    code, output = dub(*asked)
    assert code == REFUSED and "weights that fill RobertaForSequenceClassification" in output
    assert "expected a folder of models for pretrained extractors (--model-dir DIR)" in dub(*asked[:-2])[1]
    assert not (tmp_path / "lib").exists()


def test_other_footage_joins_only_if_the_same_models_read_it(
    built: Path, models: Path, tmp_path: Path, films: Path
) -> None:
    library, more = shutil.copytree(built, tmp_path / "library"), draw(films / "more", "dusk", [(10, 10, 60)])
    code, output = dub("add", library, "--footage", more)
    assert code == REFUSED and "expected the models that read this library" in output
    other = shutil.copytree(models, tmp_path / "other")
    toy_models.save_classifier(other / "roberta", width=64)
    code, output = dub("add", library, "--footage", more, "--extractors", MIXED, "--model-dir", other)
    assert code == REFUSED and "was read by" in output
    code, output = dub("add", library, "--footage", more, "--model-dir", other)
    assert code == REFUSED and "expected the models that read scene in space" in output, output
    named = shutil.copytree(library, tmp_path / "named")
    for folder, how in ((library, ()), (named, ("--extractors", MIXED))):
        code, output = dub("add", folder, "--footage", more, "--model-dir", models, *how)
        assert code == 0 and len(Library.open(folder)) == 4, output
    assert clips(library) == clips(named)
    shutil.rmtree(films / "more")


def test_light_libraries_are_read_again_and_searched_with_models(films: Path, models: Path, tmp_path: Path) -> None:
    library = tmp_path / "light"
    assert dub("build", library, "--footage", films)[0] == 0
    code, output = dub(
        "reextract", library, "--modality", "scene,text", "--extractor", "paper", "--model-dir", models, "--publish"
    )
    assert code == 0, output
    opened = Library.open(library)
    assert opened.spaces["scene"].startswith("paper-scene/") and opened.spaces["face"].startswith("light-face")
    assert opened.info()["extractors"]["text"]["reader"] == "ClassifiedText"
    code, output = dub("search", library, "--text", "I am so happy!", "-k", 1)
    assert code == REFUSED and "expected the models" in output
    for extractors in (("--extractors", "light,text=paper"), ()):  # without, those of the library's own spaces
        asked = (*extractors, "--model-dir", models, "--json")
        code, output = dub("search", library, "--text", "I am so happy!", "-k", 1, *asked)
        assert code == 0 and json.loads(output)["text"][0]["score"] == pytest.approx(1, abs=1e-5), output


def test_the_page_shows_every_caption_its_emotion_and_what_is_wrong(built: Path, films: Path, tmp_path: Path) -> None:
    code, output = dub("captions", built, "--out", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    opened = Library.open(built)
    found = audit(opened)
    assert code == 0 and "scene: 3 captions of 3 clips, 3 different; 0 empty" in output
    for clip in opened.clips():
        assert all(clip.captions[m] in page for m in ("scene", "face")) and clip.id in page
    assert page.count("data:image/jpeg") == 3 and "corpus: joy" in page and "licence cc0-1.0" in page
    felt = Counter(one.emotion[0] for clip in found.clips for one in clip.captions if one.emotion)
    assert sum(felt.values()) == 6 and all(f"{name} 0." in page for name in felt)
    assert all("cut" in one.flags for clip in found.clips for one in clip.captions), "toys come to no end"
    write_audit(tmp_path / "bare.html", found, None)
    assert "data:image" not in (tmp_path / "bare.html").read_text()
    with pytest.raises(ValueError, match=r"expected to write an \.html file"):
        write_audit(tmp_path / "page.txt", found, None)
    code, output = dub("captions", built, "--json", "--most", 1, "--flagged")
    assert code == 0 and len(json.loads(output)["clips"]) == 1 and json.loads(output)["total"] == 3


def test_a_voice_by_emotion2vec_makes_the_whole_of_the_paper(films: Path, tmp_path: Path) -> None:
    pytest.importorskip("funasr")
    models = toy_models.save_all(tmp_path / "models", "qwen3_vl")
    library = tmp_path / "library"
    code, output = dub("build", library, "--footage", films, "--extractors", "paper", "--model-dir", models)
    assert code == 0, output
    opened = Library.open(library)
    assert opened.spaces["audio"].startswith("emotion2vec-") and len(opened) == 3
    assert all(set(clip.emotions) == {"scene", "face", "text", "audio"} for clip in opened.clips())
    assert opened.info()["extractors"]["audio"]["emotion2vec.revision"] == "unknown"
    shutil.rmtree(models / "emotion2vec")
    code, output = dub("build", tmp_path / "no", "--footage", films, "--extractors", "paper", "--model-dir", models)
    assert code == REFUSED and "expected a sub-folder emotion2vec/" in output
