"""`--model NAME=...` beside `--model-dir`: what is refused, what stands where, and what is told of models that lack."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from authentic_dubber.cli import app
from authentic_dubber.exits import REFUSED
from authentic_dubber.extraction import Extraction
from authentic_dubber.reading import readers_like
from library_builder.pretrained import ModelError
from library_builder.pretrained.places import ModelPlaces

COMMIT = "89abcdef" * 5


def dub(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, [*map(str, words)])
    return done.exit_code, done.output


def weights(folder: Path, value: float = 0.0) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "roberta"}')
    save_file({"a": torch.full((3,), value)}, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (("roberta",), r"expected --model NAME=DIR\|HUB-ID\[@REVISION\], got 'roberta'"),
        (("roberta=",), "got 'roberta='"),
        (("roberta=some/model@",), "got 'roberta=some/model@'"),
        (("bert=some/model",), "NAME of video_llm, roberta, comet, emotion2vec, lips, face_api, got 'bert'"),
        (("comet=a/b", "comet=c/d"), "expected one model for comet, got a/b and c/d"),
    ],
)
def test_what_is_no_model_is_refused_in_a_line(given: tuple[str, ...], why: str) -> None:
    with pytest.raises(ModelError, match=why) as told:
        ModelPlaces.of(None, given)
    assert "\n" not in str(told.value)


def test_models_that_nothing_would_read_are_refused(tmp_path: Path) -> None:
    places = ModelPlaces.of(tmp_path, ())
    with pytest.raises(ValueError, match="made of models beside --model-dir or --model, got 'light'"):
        Extraction("light", places)
    with pytest.raises(ValueError, match="got one of light extractors"):
        readers_like({"audio": "light-audio-v1/64"}, places)


def test_every_command_that_takes_a_folder_of_models_refuses_a_mistaken_one(tmp_path: Path) -> None:
    film, out = tmp_path / "film.mp4", tmp_path / "out"
    commands = [
        ("library", "build", out, "--footage", film),
        ("library", "add", out, "--footage", film, "--extractors", "paper"),
        ("library", "reextract", out, "--modality", "text", "--extractor", "paper"),
        ("library", "search", out, "--text", "hello"),
        ("prepare", tmp_path, out),
        ("say", film, "--script", film, "--voice", f"Ada={__file__}", "--out", out),
        ("evaluate", out, "--set", film),
    ]
    for command in commands:
        code, output = dub(*command, "--model", "bert=some/model")
        assert code == REFUSED and "got 'bert'" in output and output.count("\n") == 1, (command, output)


def test_a_model_that_is_named_goes_before_its_sub_folder(tmp_path: Path) -> None:
    models = tmp_path / "models"
    weights(models / "roberta")
    other = weights(tmp_path / "odd@name", 1.0)
    assert ModelPlaces.of(None) is None
    below = ModelPlaces(models).find("roberta")
    places = ModelPlaces.of(models, [f"roberta={other}"])
    assert places is not None and places.has("roberta") and not places.has("comet")
    named = places.find("roberta")
    assert (below.folder, named.folder) == (models / "roberta", other) and below.sha256 != named.sha256
    with pytest.raises(ModelError, match=rf"{other}: expected revision main, got unknown"):
        ModelPlaces.of(None, [f"roberta={other}@main"]).find("roberta")  # type: ignore[union-attr]
    with pytest.raises(ModelError, match=r"expected a sub-folder comet/ .*\(or --model comet=DIR\|HUB-ID\)"):
        places.find("comet")
    alone = ModelPlaces.of(None, [f"roberta={other}"])
    assert alone is not None and alone.find_folder("roberta") == other
    with pytest.raises(ModelError, match=r"expected the model lips \(--model lips=.*\), got only roberta"):
        alone.find("lips")
    with pytest.raises(ModelError, match="expected the folder of a model, there is none"):
        ModelPlaces.of(None, ["lips=/no/such/folder"]).find("lips")  # type: ignore[union-attr]


def test_folders_are_named_in_full_for_workers_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights(tmp_path / "models" / "mine")
    monkeypatch.chdir(tmp_path)
    places = ModelPlaces.of(Path("models"), ["roberta=models/mine", "comet=some/model@v1"])
    assert places is not None and places.folder == tmp_path / "models"
    assert dict(places.named) == {"roberta": str(tmp_path / "models" / "mine"), "comet": "some/model@v1"}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, and no network."""
    constants = pytest.importorskip("huggingface_hub").constants
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "home" / "hub"


def cached(hub: Path, name: str, folder: Path) -> None:
    """A folder as the hub's client keeps the `main` of a model."""
    root = hub / f"models--{name.replace('/', '--')}"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text(COMMIT)
    shutil.copytree(folder, root / "snapshots" / COMMIT)


@pytest.mark.pretrained
def test_models_of_the_hubs_cache_read_footage_and_a_missing_one_is_told(tmp_path: Path, hub: Path) -> None:
    pytest.importorskip("transformers")
    from . import toy_models
    from .test_paper_library import draw

    toy_models.save_video_llm(tmp_path / "models" / "video_llm")
    toy_models.save_classifier(tmp_path / "toy")
    cached(hub, "nobody/toy-roberta", tmp_path / "toy")
    draw(tmp_path / "films", "dawn", [(230, 190, 60), (20, 30, 120)])
    asked = ("build", tmp_path / "lib", "--footage", tmp_path / "films", "--extractors", "paper,audio=light")
    models = ("--model-dir", tmp_path / "models", "--device", "cpu")
    code, output = dub("library", *asked, *models, "--model", "roberta=nobody/other")
    assert code == REFUSED and output.count("\n") == 1 and "(hf download nobody/other), or put its files" in output
    code, output = dub("library", *asked, *models, "--model", f"roberta=nobody/toy-roberta@{COMMIT[::-1]}")
    assert code == REFUSED and f"hf download nobody/toy-roberta --revision {COMMIT[::-1]}" in output
    code, output = dub("library", *asked, *models, "--model", f"roberta=nobody/toy-roberta@{COMMIT}")
    assert code == 0 and "model nobody/toy-roberta" in output, output
    assert f"note: no comet/ in {tmp_path / 'models'}: a line's vector has no half for reactions (32 values)" in output
    assert "no lips/" not in output, "a library has no lips"
    from retrieval.library import Library

    told = Library.open(tmp_path / "lib").info()["extractors"]["text"]
    assert told["classifier.revision"] == COMMIT and told["classifier.name"] == "nobody/toy-roberta"
    words = ("--text", "I am so happy!", "--extractors", "light,text=paper", "--json")
    code, output = dub("library", "search", tmp_path / "lib", *words, "--model", "roberta=nobody/toy-roberta")
    assert code == 0 and '"no comet/ in the models named: ' in output, output
