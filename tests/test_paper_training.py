"""The paper's extractors at toy size all the way: from films to a prepared corpus, a model of its spaces, a line."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from authentic_dubber.checkpoint import load_acoustic
from authentic_dubber.cli import app
from authentic_dubber.espeak import Espeak
from authentic_dubber.evaluation.film_line import FilmLine
from authentic_dubber.evaluation.film_sets import Splits, build_training_library, make_set, write_sheets
from authentic_dubber.exits import REFUSED
from authentic_dubber.extraction import Extraction
from authentic_dubber.speaker import GE2E
from authentic_dubber.text import TextFrontend
from authentic_dubber.theatre.demo import make_demo
from authentic_dubber.training.cache import Cache
from authentic_dubber.training.film_corpus import write_film_corpus
from library_builder.cues import read_cues
from library_builder.readers import Models, readers_of
from library_builder.types import MODALITIES, space_width
from retrieval import Library
from vocoder.checkpoint import save_generator
from vocoder.generator import IstftConfig, IstftGenerator
from vocoder.mel import MelConfig
from vocoder.storage import write_config

from . import toy_models

pytestmark = pytest.mark.pretrained
pytest.importorskip("transformers")
pytest.importorskip("funasr")


def dub(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, [*map(str, words)])
    return done.exit_code, done.output


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Films, models, corpus, prepared corpus, library and checkpoint, each made of those before by its command."""
    root = tmp_path_factory.mktemp("paper")
    models = toy_models.save_all(root / "models")
    with Espeak() as espeak:
        demo = make_demo(root / "drawn", seed=3, espeak=espeak, size=(96, 160), fps=12.5, lines=4)
        lines = [
            FilmLine(f"{media.stem}@{n}", media.stem, cue.character, cue.text, cue.emotion, media, cue.start, cue.end)
            for media in demo.footage[:2]
            for n, cue in enumerate(read_cues(media.with_suffix(".csv")).cues)
        ]
        splits = Splits(lines[:-2], [lines[-2]], [lines[-1]])
        short = FilmLine("short", "f", "Ada", "A line.", None, lines[0].media, 0.0, 0.05)
        splits.train.append(short)
        unused = write_film_corpus(root / "data", splits, "ours", TextFrontend(espeak), GE2E())
        splits.train.remove(short)
    assert len(unused) == 1 and unused[0].startswith("short: expected")
    asked = ("--extractors", "paper", "--model-dir", models, "--device", "cpu")
    prepare = ("prepare", root / "data", root / "cache", "--corpora", "v2c", "--aligner-steps", 5)
    code, output = dub(*prepare, *asked)
    assert code == 0 and "licence cc0-1.0" in output, output
    code, output = dub(
        "train", root / "cache", root / "run", "--size", "tiny", "--steps", 2, "--director-steps", 2, "--device", "cpu"
    )
    assert code == 0, output
    save_generator(root / "vocoder" / "generator", IstftGenerator(IstftConfig(16, 1, 2, 7), MelConfig()))
    (root / "vocoder" / "checkpoints" / "step-00000001").mkdir(parents=True)
    write_config(root / "vocoder" / "checkpoints" / "step-00000001", {"step": 1})
    code, output = dub("package", root / "run", root / "vocoder", root / "cache", root / "checkpoint")
    assert code == 0, output
    using = Extraction("paper", models, "cpu")
    sheets = write_sheets(root / "cues", splits.train)
    library, troubles = build_training_library(root / "library", splits.train, sheets, "ours", using, using.load())
    assert not troubles
    return SimpleNamespace(
        root=root, models=models, demo=demo, splits=splits, library=library, prepare=prepare, using=using
    )


def test_the_prepared_corpus_holds_the_models_vectors_and_says_whose(made: SimpleNamespace) -> None:
    cache = Cache(made.root / "cache")
    readers = made.using.open()
    assert cache.read_by is not None and dict(cache.read_by.spaces) == readers.spaces()
    assert cache.read_by.lip_space == readers.lips.space and readers.lips.space.startswith("resnet-tcn-lips-")
    assert cache.read_by.extractors["scene"]["video_llm.licence"] == "cc0-1.0"
    assert len(cache.training_rows()) == len(made.splits.train) and len(cache.held_out_rows()) == 1
    assert {entry.licence for entry in cache.entries} == {"ours"}
    for modality, space in readers.spaces().items():
        rows = np.asarray(cache.rows(f"own_{modality}"), dtype=np.float32)
        assert rows.shape == (len(cache.entries), space_width(space)), modality
        lengths = np.linalg.norm(rows, axis=1)
        there = lengths > 0  # a drawn face is not always found
        assert lengths[there] == pytest.approx(1, abs=2e-3) and there.sum() >= (4 if modality == "face" else len(rows))
    # A library of the same lines was read on its own way to the same vectors of words.
    clips = {clip.text: clip.emotions["text"].vector for clip in made.library.clips()}
    words = np.asarray(cache.rows("own_text"), dtype=np.float32)
    near = [float(words[i] @ clips[cache.entries[i].text]) for i in cache.training_rows()]
    assert near == pytest.approx([1] * len(near), abs=2e-3)
    assert cache.ragged("lips").values.shape[1] == space_width(readers.lips.space)
    hits = np.asarray(cache.rows("hits_text"))
    assert set(np.unique(hits)) - {-1} <= set(cache.training_rows()) and (hits >= 0).any()
    assert all(i not in row for i, row in enumerate(hits))


def test_a_corpus_of_one_space_is_not_gone_on_with_in_another(made: SimpleNamespace) -> None:
    code, output = dub(*made.prepare)
    assert code == REFUSED and "expected extractors of the spaces it was begun in (scene paper-scene/" in output
    code, output = dub(*made.prepare, "--extractors", "paper", "--model-dir", made.models, "--device", "cpu")
    assert code == 0, output


def test_the_model_has_the_widths_of_the_spaces(made: SimpleNamespace) -> None:
    config = load_acoustic(made.root / "checkpoint" / "acoustic").config
    spaces = made.using.open().spaces()
    assert dict(config.spaces) == spaces
    assert {m: config.graph.in_widths[m] for m in MODALITIES} == {m: space_width(spaces[m]) for m in MODALITIES}
    card = json.loads((made.root / "checkpoint" / "card.json").read_text())
    assert card["licences"] == ["ours"] and "another licence (ours)" in card["notice"]


def test_a_line_is_dubbed_with_readers_of_the_checkpoints_spaces_or_refused(
    made: SimpleNamespace, tmp_path: Path
) -> None:
    line, prompt = made.splits.test[0], next(iter(made.demo.prompts.values()))
    script = tmp_path / "script.csv"
    script.write_text(f'start,end,character,text\n{line.start},{line.end},Ada,"{line.text}"\n')
    words = ("say", line.media, "--script", script, "--voice", f"Ada={prompt}", "--library", made.root / "library")
    words += ("--checkpoint", made.root / "checkpoint", "--bed", "none", "--device", "cpu", "--out", tmp_path / "out")
    code, output = dub(*words)
    assert code == REFUSED and "expected the models that read scene in space paper-scene/" in output
    assert "--model-dir DIR" in output and "got none" in output
    code, output = dub(*words, "--model-dir", made.models)
    assert code == 0, output
    record = json.loads((tmp_path / "out" / "takes.json").read_text())["lines"][0]
    assert record["status"] == "ok" and (tmp_path / "out" / record["file"]).is_file()
    # Its words asked the library as the paper's reader feels them.
    felt = made.using.load().text.read(line.text, {})
    wanted = made.library.top_k({"text": felt.emotion}, 3).hits["text"]
    got = record["hits"]["text"]
    assert [hit["id"] for hit in got] == [hit.clip.id for hit in wanted] and len(got) == 3
    assert [hit["score"] for hit in got] == pytest.approx([hit.score for hit in wanted], abs=1e-4)
    assert set(record["hits"]) >= {"scene", "text"}


def test_a_set_in_the_same_spaces_is_judged_through_another_vocoder(made: SimpleNamespace, tmp_path: Path) -> None:
    readers = made.using.load()
    lent = made.splits.train[0]
    cases, lost = make_set(
        tmp_path / "set", "2.0", made.splits.test, lambda line: lent, made.library, readers, corpus="v2c", note=""
    )
    assert not lost and dict(cases.content.spaces).items() <= readers.spaces().items()
    words = ("evaluate", tmp_path / "run", "--set", tmp_path / "set", "--checkpoint", made.root / "checkpoint")
    words += ("--measures", "timing", "--conditions", "takes", "--device", "cpu")
    code, output = dub(*words, "--vocoder", made.root / "vocoder" / "generator")
    assert code == REFUSED and "--model-dir DIR" in output
    code, output = dub(*words, "--vocoder", made.root / "vocoder" / "generator", "--model-dir", made.models)
    assert code == 0, output
    assert "Spoken through another vocoder" in output


def test_models_of_another_space_are_named(made: SimpleNamespace, tmp_path: Path) -> None:
    spaces = made.using.open().spaces()
    toy_models.save_classifier(tmp_path / "roberta", width=48)
    for name in ("video_llm", "comet", "emotion2vec", "lips"):
        (tmp_path / name).symlink_to(made.models / name)
    with pytest.raises(ValueError, match=r"expected the models that read scene in space paper-scene/.*got ones of pap"):
        readers_of(spaces, models=Models(tmp_path, "cpu"))
    assert readers_of(spaces, models=Models(made.models, "cpu")).spaces() == spaces
    assert Library.open(made.root / "library").spaces == spaces
