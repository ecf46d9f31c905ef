"""Adapting a checkpoint: what changes, what may not, and that a turned space is answered as it was before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from authentic_dubber.checkpoint import load_acoustic, read_card
from authentic_dubber.cli import app
from authentic_dubber.config import DubberConfig
from authentic_dubber.context import line_graph
from authentic_dubber.synthesizer import Synthesizer
from authentic_dubber.training.adapt import AdaptJob, adapt_checkpoint, entrances, regress
from authentic_dubber.training.loop import export
from authentic_dubber.training.pairs import FEWEST
from library_builder.types import MODALITIES, QUERY_MODALITIES, Clip, Emotion, Modality
from retrieval import Library
from retrieval.editing import commit, replace_modality
from retrieval.versions import NoLibrary
from tests.conftest import SEED, SPACES, random_graph
from vocoder.checkpoint import save_generator
from vocoder.generator import IstftConfig, IstftGenerator
from vocoder.storage import read_tensors

CLIPS = 160


def unit(rng: np.random.Generator, space: str) -> Emotion:
    vector = rng.standard_normal(int(space.partition("/")[2]))
    return Emotion(space, (vector / np.linalg.norm(vector)).astype(np.float32))


def clips(count: int, first: int = 0) -> Iterator[Clip]:
    """Every fifth is silent, every seventh shows no face."""
    for i in range(first, first + count):
        rng = np.random.default_rng([SEED, i])
        emotions = {m: unit(rng, space) for m, space in SPACES.items() if not (m == "audio" and i % 5 == 0)}
        if i % 7 == 0:
            emotions.pop("face")
        yield Clip(f"c{i:04d}", "film.mkv", i, i + 1, "ada", f"line {i}", "film", emotions=emotions)  # type: ignore[arg-type]


def turn(modality: Modality) -> np.ndarray:
    """An orthogonal matrix of a modality's width."""
    width = int(SPACES[modality].partition("/")[2])
    return np.linalg.qr(np.random.default_rng(SEED).standard_normal((width, width)))[0]


def turned(modality: Modality, emotion: Emotion) -> Emotion:
    vector = turn(modality) @ emotion.vector
    return Emotion(f"turned-{modality}/{len(vector)}", (vector / np.linalg.norm(vector)).astype(np.float32))


@pytest.fixture
def checkpoint(tmp_path: Path, tiny_config: DubberConfig) -> Path:
    """A tiny untrained checkpoint, shaken."""
    torch.manual_seed(SEED)
    model = Synthesizer(tiny_config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    folder = tmp_path / "voice"
    export(model, folder / "acoustic", 3)
    save_generator(folder / "vocoder", IstftGenerator(IstftConfig.tiny(), tiny_config.mel))
    card = {"name": "toy", "licences": ["CC0-1.0"], "notice": "a toy", "facts": {"steps": 3}}
    (folder / "card.json").write_text(json.dumps(card))
    return folder


def job(checkpoint: Path, library: Path, modality: Modality, **changes: object) -> AdaptJob:
    """A library of both spaces, and the adaption that its versions allow."""
    old = commit(library, clips(CLIPS))
    readings = [
        (c.id, turned(modality, c.emotions[modality]) if modality in c.emotions else None) for c in clips(CLIPS)
    ]
    new = replace_modality(library, modality, readings).version
    space = turned(modality, unit(np.random.default_rng(), SPACES[modality])).space
    usual = AdaptJob(checkpoint, checkpoint.parent / "adapted", library, old, new, space, steps=50)
    return replace(usual, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("modality", ["audio", "face"])
def test_a_turned_space_is_answered_as_before_and_nothing_else_changes(
    checkpoint: Path, tmp_path: Path, modality: Modality
) -> None:
    asked = job(checkpoint, tmp_path / "library", modality, steps=50 if modality == "audio" else 0)
    adapted = adapt_checkpoint(asked)
    assert min(adapted.explained.values()) > 1 - 1e-6 and adapted.nodes < 1e-6
    assert set(adapted.explained) == set(entrances(modality)) and adapted.modality == modality

    one, other = (load_acoustic(folder / "acoustic") for folder in (checkpoint, asked.out))
    same = replace(other.config, spaces=one.config.spaces, graph=one.config.graph)
    assert same == one.config and other.config.spaces == {**SPACES, modality: asked.space}
    before, after = (read_tensors(folder / "acoustic" / "model.safetensors") for folder in (checkpoint, asked.out))
    learned = {f"{name}.{part}" for name in entrances(modality) for part in ("weight", "bias")}
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {f"{name}.weight" for name in entrances(modality)} <= changed <= learned  # a bias may well come out the same
    for file in ("vocoder/model.safetensors", "vocoder/config.json"):
        assert (asked.out / file).read_bytes() == (checkpoint / file).read_bytes()

    graph = random_graph(5, 3, seed=SEED + 1)
    matrix = torch.from_numpy(turn(modality)).float()
    # Sounds are turned wherever they stand, pictures where they are of the modality.
    shown = {
        name: {m: v @ matrix.T if modality == (name if name == "audio" else m) else v for m, v in vectors.items()}
        for name, vectors in (("own", graph.own), ("references", graph.references), ("audio", graph.audio))
    }
    with torch.no_grad():
        stages, again = one.graph(graph), other.graph(replace(graph, **shown))
        torch.testing.assert_close(again.direct.features, stages.direct.features, atol=2e-4, rtol=1e-3)
        torch.testing.assert_close(other.director(again), one.director(stages), atol=2e-4, rtol=1e-3)
        sound = graph.audio["text"][:, 0]
        heard = other.director.listen(sound @ matrix.T if modality == "audio" else sound)
        torch.testing.assert_close(heard, one.director.listen(sound), atol=2e-4, rtol=1e-3)


def test_the_adapted_checkpoint_takes_the_new_library_alone_and_its_card_says_why(
    checkpoint: Path, tmp_path: Path
) -> None:
    asked = job(checkpoint, tmp_path / "library", "audio", steps=0)
    adapt_checkpoint(asked)
    spaces = load_acoustic(asked.out / "acoustic").config.spaces
    query = {m: unit(np.random.default_rng(1), SPACES[m]) for m in QUERY_MODALITIES}
    for version, fits in ((asked.new, True), (asked.old, False)):
        library = Library.open(asked.library, version)
        hits = library.top_k(query, 2).hits  # type: ignore[arg-type]
        if fits:
            library.check_spaces(spaces)  # type: ignore[arg-type]
            line_graph(query, hits, spaces)  # type: ignore[arg-type]
        else:
            with pytest.raises(ValueError, match="turned-audio/8"):
                library.check_spaces(spaces)  # type: ignore[arg-type]
            with pytest.raises(ValueError, match="expected a vector of space turned-audio/8"):
                line_graph(query, hits, spaces)  # type: ignore[arg-type]
    card, own = read_card(asked.out), read_card(checkpoint)
    assert (card.name, card.licences, card.notice) == (own.name, own.licences, own.notice)
    assert card.weights != own.weights and card.facts["steps"] == 3
    told = card.facts["adapted"]
    assert len(told) == 1 and told[0]["new_space"] == "turned-audio/8" and told[0]["from_weights"] == own.weights


@pytest.mark.slow
def test_the_same_pairs_and_seed_make_the_same_bytes(checkpoint: Path, tmp_path: Path) -> None:
    asked = job(checkpoint, tmp_path / "library", "scene")
    outs = [tmp_path / name for name in ("a", "b")]
    for out in outs:
        adapt_checkpoint(replace(asked, out=out))
    digests = {hashlib.sha256((out / "acoustic" / "model.safetensors").read_bytes()).hexdigest() for out in outs}
    assert len(digests) == 1


def test_steps_are_kept_only_where_they_help(checkpoint: Path, tmp_path: Path) -> None:
    """A space that a line cannot undo: here steps find something, and the nodes come no further apart."""
    library = tmp_path / "library"
    old = commit(library, clips(CLIPS))
    mix = np.random.default_rng(2).standard_normal((8, 8))

    def bent(emotion: Emotion) -> Emotion:
        vector = np.tanh(2 * mix @ emotion.vector) + 0.1
        return Emotion("bent/8", (vector / np.linalg.norm(vector)).astype(np.float32))

    readings = [(c.id, bent(c.emotions["audio"]) if "audio" in c.emotions else None) for c in clips(CLIPS)]
    new = replace_modality(library, "audio", readings).version
    asked = AdaptJob(checkpoint, tmp_path / "out", library, old, new, "bent/8", steps=50)
    still = adapt_checkpoint(replace(asked, out=tmp_path / "still", steps=0))
    moved = adapt_checkpoint(asked)
    assert still.steps == 0 and still.explained == still.regression == moved.regression
    assert 0.3 < min(still.explained.values()) < 0.99
    if moved.steps == 0:
        assert moved == still
    else:
        assert moved.explained != still.explained


def test_ridge_regression_is_that_of_the_normal_equations() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((80, 6)), rng.standard_normal((80, 2))
    weight, bias, penalty = regress(x, y)
    a = x - x.mean(0)
    scale = penalty * np.trace(a.T @ a) / 6
    by_hand = np.linalg.solve(a.T @ a + scale * np.eye(6), a.T @ (y - y.mean(0))).T
    np.testing.assert_allclose(weight, by_hand, atol=1e-9)
    np.testing.assert_allclose(bias, y.mean(0) - by_hand @ x.mean(0), atol=1e-9)


def test_nonsense_is_refused_by_name(checkpoint: Path, tmp_path: Path) -> None:
    asked = job(checkpoint, tmp_path / "library", "audio")
    (tmp_path / "there").mkdir()
    few = tmp_path / "few"
    v1 = commit(few, clips(FEWEST - 1))
    v2 = replace_modality(
        few, "scene", [(c.id, turned("scene", c.emotions["scene"])) for c in clips(FEWEST - 1)]
    ).version
    other = tmp_path / "other"
    w1 = commit(other, clips(CLIPS))
    strangers = [
        c.with_(emotions={**c.emotions, "scene": turned("scene", c.emotions["scene"])}) for c in clips(CLIPS, 1000)
    ]
    w2 = commit(other, strangers)
    foreign = tmp_path / "foreign"
    commit(
        foreign, (c.with_(emotions={**c.emotions, "face": turned("face", c.emotions["scene"])}) for c in clips(CLIPS))
    )
    x1 = Library.open(foreign).version
    x2 = replace_modality(
        foreign, "scene", [(c.id, turned("scene", c.emotions["scene"])) for c in clips(CLIPS)]
    ).version
    cases = [
        (
            replace(asked, library=foreign, old=x1, new=x2, space="turned-scene/6"),
            "face: expected both .* toy-face/6, got turned-face/6",
        ),
        (replace(asked, space="elsewhere/8"), "expected version .* to be of space elsewhere/8, got turned-audio/8"),
        (replace(asked, old=asked.new, new=asked.old), "expected version .* checkpoint's space toy-audio/8"),
        (replace(asked, new=asked.old), "differ in the space of one modality alone, got none"),
        (replace(asked, modality="scene"), "scene: expected spaces that differ"),
        (replace(asked, library=few, old=v1, new=v2, space="turned-scene/6"), f"at least {FEWEST} clips.*got 49"),
        (replace(asked, library=other, old=w1, new=w2, space="turned-scene/6"), "at least .* got 0"),
    ]
    for wrong, why in cases:
        with pytest.raises(ValueError, match=why):
            adapt_checkpoint(wrong)
    with pytest.raises(NoLibrary):
        adapt_checkpoint(replace(asked, new="v0099-00000000"))
    with pytest.raises(FileExistsError, match="expected a new folder"):
        adapt_checkpoint(replace(asked, out=tmp_path / "there"))
    assert not asked.out.exists()


def test_the_command_prints_what_held_out_pairs_say(checkpoint: Path, tmp_path: Path) -> None:
    asked = job(checkpoint, tmp_path / "library", "audio")
    line = ["adapt", str(checkpoint), str(asked.out), "--space", asked.space, "--library", str(asked.library)]
    versions = ["--from", asked.old, "--to", asked.new]
    done = CliRunner().invoke(app, [*line, *versions, "--modality", "audio", "--steps", "0", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["held_out"] == 13 and told["pairs"] == CLIPS - CLIPS // 5 and set(MODALITIES) >= {told["modality"]}
    refused = CliRunner().invoke(app, [*line, *versions])
    assert refused.exit_code == 2 and "expected a new folder" in refused.stderr
