"""Studies: grids of settings, models that share a voice, and cells that are resumed and never half done."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from authentic_dubber.checkpoint import Card
from authentic_dubber.cli import app
from authentic_dubber.config import DubberConfig, Vocabulary, build_config
from authentic_dubber.dubber import Dubber
from authentic_dubber.espeak import Espeak
from authentic_dubber.evaluation.runs import RunError, read_run
from authentic_dubber.evaluation.scoring import read_scores
from authentic_dubber.evaluation.sets import Case, Content, EvaluationSet, write_set
from authentic_dubber.sweeps.asking import Enquiry
from authentic_dubber.sweeps.models import teach_voice, varied_config
from authentic_dubber.sweeps.running import DONE, SCORES, Bench, finished, run_cell, sweep
from authentic_dubber.sweeps.settings import KEYS, SettingError, Study, cell_name, parse
from authentic_dubber.sweeps.speaking import Booth
from authentic_dubber.symbols import INVENTORY_NAME, SYMBOL_COUNT
from authentic_dubber.synthesizer import Synthesizer
from authentic_dubber.text import TextFrontend
from authentic_dubber.training.cache import Cache
from authentic_dubber.training.corpora import EMOTIONS
from library_builder.readers import build_readers
from library_builder.types import QUERY_MODALITIES, Clip, Emotion
from vocoder.generator import IstftConfig, IstftGenerator
from vocoder.storage import MODEL, read_tensors

from .conftest import SEED
from .test_evaluation_runs import Bands, buzz
from .toy_studies import DEFAULTS, RATE, ROOT, answers, study, unit

# Settings


@pytest.mark.parametrize(
    ("key", "text", "wanted"),
    [
        ("retrieval.k", "three", "whole number"),
        ("retrieval.k", "-1", "whole number"),
        ("graph.single", "yes", "true or false"),
        ("retrieval.metric", "manhattan", "cosine, dot, euclidean"),
        ("graph.stages", "direct+basic", "basic"),
        ("retrieval.depth", "1", "known settings are seed"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_with_what_could(key: str, text: str, wanted: str) -> None:
    with pytest.raises(SettingError, match=wanted) as refused:
        parse(key, text)
    assert text in str(refused.value) or key in str(refused.value)


def test_every_default_is_a_value_of_its_key() -> None:
    for key, known in KEYS.items():
        written = str(known.default).lower() if isinstance(known.default, bool) else str(known.default)
        assert parse(key, written) == known.default


def test_a_grid_is_every_combination_once_and_whole_seeds_come_first() -> None:
    cells = study("retrieval.scope=any,other").resolved()
    assert len(cells) == 8 and len({cell_name(cell) for cell in cells}) == 8
    assert [cell["seed"] for cell in cells] == [0] * 4 + [1] * 4
    assert all(set(cell) == set(KEYS) and cell["train.steps"] == 2 for cell in cells)
    assert {(cell["retrieval.k"], cell["retrieval.scope"]) for cell in cells} == {
        (k, scope) for k in (0, 2) for scope in ("any", "other")
    }


def test_the_command_line_replaces_an_axis_and_fixes_a_setting() -> None:
    cells = study("retrieval.k=5,7", "seed=3", "retrieval.metric=dot").resolved()
    assert [(c["seed"], c["retrieval.k"], c["retrieval.metric"]) for c in cells] == [(3, 5, "dot"), (3, 7, "dot")]
    with pytest.raises(SettingError, match="KEY=VALUE"):
        study("retrieval.k")


def test_cells_besides_the_grid_are_crossed_with_it() -> None:
    listed = study(cells=({}, {"retrieval.off": "text"}), grid={"seed": (0, 1)})
    assert [(c["seed"], c["retrieval.off"]) for c in listed.resolved()] == [
        (0, "none"), (0, "text"), (1, "none"), (1, "text"),
    ]  # fmt: skip


@pytest.mark.parametrize("path", sorted((ROOT / "recipes" / "studies").glob("*.json")), ids=lambda path: path.stem)
def test_every_published_study_can_be_read_and_holds_its_baseline(path: Path) -> None:
    cells = Study.read(path).resolved()
    baseline = Study.read(path).baseline
    assert {cell["seed"] for cell in cells} == {0, 1, 2}
    assert any(all(cell[key] == value for key, value in baseline.items()) for cell in cells)


def test_a_file_that_is_no_study_is_refused(tmp_path: Path) -> None:
    for text in ("{", "[]", '{"name": "x"}', '{"name": "x", "question": "y", "grids": {}}'):
        (tmp_path / "s.json").write_text(text)
        with pytest.raises(SettingError, match="expected"):
            Study.read(tmp_path / "s.json")


# Models


def test_graph_and_director_are_drawn_anew_and_the_voice_stays(bench: Bench, checkpoint: Path) -> None:
    before = read_tensors(checkpoint / "acoustic" / MODEL)
    models = [bench.workshop.model({**DEFAULTS, "train.steps": 2, "seed": seed}) for seed in (0, 1, 0)]
    states = [model.state_dict() for model in models]
    for name, value in states[0].items():
        taught = name.startswith(("graph.", "director."))
        assert torch.equal(value, states[2][name])
        assert taught or torch.equal(value, before[name])
    assert not torch.equal(states[0]["graph.own.face.weight"], states[1]["graph.own.face.weight"])
    assert len(list((bench.workshop.folder / "models").iterdir())) == 2


def test_every_structure_is_taught_and_read_back(bench: Bench) -> None:
    for changes in (
        {"graph.stages": "none"}, {"graph.stages": "basic+direct"}, {"graph.single": True},
        {"graph.audio_link": "retrieved"}, {"graph.similarity_weight": True},
    ):  # fmt: skip
        model = bench.workshop.model({**DEFAULTS, "train.steps": 1, **changes})
        again = bench.workshop.model({**DEFAULTS, "train.steps": 1, **changes})
        assert model.config == again.config and not model.training
        assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    assert len({p.name for p in (bench.workshop.folder / "models").iterdir()}) == 5


def test_a_single_aggregation_is_taught_with_the_voice_and_refused_without(
    bench: Bench, tiny_config: DubberConfig
) -> None:
    values = {**DEFAULTS, "train.steps": 1, "voice.aggregation": "single"}
    with pytest.raises(ValueError, match=r"expected voice\.steps"):
        varied_config(tiny_config, values)
    model = bench.workshop.model({**values, "voice.steps": 2})
    assert len(model.aggregators) == 1 and model.config.aggregation == "single"


def test_teaching_the_voice_moves_all_of_it_and_is_the_seeds_alone(tiny_cache: Path, tiny_config: DubberConfig) -> None:
    def taught(seed: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(SEED)
        return teach_voice(Synthesizer(tiny_config), Cache(tiny_cache), (), steps=2, seed=seed).state_dict()

    torch.manual_seed(SEED)
    before, one, again, other = Synthesizer(tiny_config).state_dict(), taught(0), taught(0), taught(1)
    moved = {name.partition(".")[0] for name in before if not torch.equal(before[name], one[name])}
    assert {"aggregators", "decoder", "graph", "phonemes"} <= moved
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


# Running


def test_a_sweep_leaves_everything_a_cell_is_known_by(bench: Bench) -> None:
    done = sweep(study(), bench)
    assert (done.cells, done.kept, done.taught, dict(done.failed)) == (4, 0, 2, {})
    for values in study().resolved():
        cell = bench.cell(values)
        told = json.loads((cell / "settings.json").read_text())
        assert told["settings"] == values and set(told["libraries"]) == {"f0", "f1"}
        lines = json.loads((cell / "lines.json").read_text())
        hits = json.loads((cell / "hits.json").read_text())
        assert set(lines) == set(hits) == {f"c{i:02d}" for i in range(12)}
        for id, line in lines.items():
            assert sum(line["shares"].values()) == pytest.approx(1, abs=1e-4)
            assert line["judged"] == max(line["shares"], key=line["shares"].get)
            assert line["log_loss"] == pytest.approx(-np.log(line["shares"][line["felt"]]), abs=1e-3)
            assert all(len(found) == values["retrieval.k"] for found in hits[id].values())
        judged, doubt = read_scores(cell / SCORES)[1]
        assert {id: row.values[0] == 1 for id, row in judged.rows.items()} == {
            id: line["judged"] == line["felt"] for id, line in lines.items()
        }
        assert doubt.rows["c00"].values[0] == pytest.approx(lines["c00"]["log_loss"], abs=1e-5)
        assert "0.250 balanced" in judged.note


def test_attention_is_kept_for_every_line_and_sums_to_one(bench: Bench) -> None:
    values = {**DEFAULTS, "train.steps": 2, "retrieval.k": 2, "retrieval.scope": "same"}
    (bench.folder / "runs").mkdir(parents=True)
    run_cell(bench, values)
    hits = json.loads((bench.cell(values) / "hits.json").read_text())
    kept = np.load(bench.cell(values) / "attention.npz")
    ids = kept["lines"].tolist()
    assert ids == list(hits) and int(kept["k"]) == 2
    for stage, most in (("basic", 3), ("indirect", 9), ("direct", 15)):
        edges, heads = kept[f"{stage}_edges"], np.hstack([kept[f"{stage}_spread"], kept[f"{stage}_join"]])
        assert edges[:, 1:3].max() < most and len(np.unique(edges[:, 0])) == 12
        total: dict[tuple[int, int], np.ndarray] = {}
        for (line, _, target, _), shares in zip(edges.tolist(), heads.astype(np.float64), strict=True):
            total[line, target] = total.get((line, target), 0) + shares
        assert np.allclose(list(total.values()), 1, atol=2e-3)
    # A node of rank r exists just where r clips were found: the numbering is the cell's, not a batch's.
    for line, id in enumerate(ids):
        mine = kept["indirect_edges"][kept["indirect_edges"][:, 0] == line]
        nodes = set(mine[:, 1].tolist()) | set(mine[:, 2].tolist())
        wanted = {3 + 2 * m + r for m, name in enumerate(QUERY_MODALITIES) for r in range(len(hits[id][name]))}
        assert {node for node in nodes if node >= 3} == wanted


def test_a_sweep_goes_on_where_it_was(bench: Bench) -> None:
    sweep(study(), bench)
    whole, cells = answers(bench.folder), [bench.cell(values) for values in study().resolved()]
    stamps = [(cell / DONE).stat().st_mtime_ns for cell in cells]
    (cells[1] / DONE).unlink()  # as if it had been killed before its end
    (cells[1] / "lines.json").write_text("{")
    again = sweep(study(), bench)
    assert (again.kept, again.taught) == (3, 0) and answers(bench.folder) == whole
    assert [(cell / DONE).stat().st_mtime_ns == stamp for cell, stamp in zip(cells, stamps, strict=True)] == [
        True, False, True, True,
    ]  # fmt: skip


@pytest.mark.slow
def test_two_jobs_come_to_what_one_comes_to(bench: Bench) -> None:
    sweep(study(), bench)
    other = replace(bench, study="other")
    done = sweep(study("seed=0,1,2"), other, jobs=2)
    assert (done.cells, done.taught, dict(done.failed)) == (6, 1, {})
    both = answers(other.folder)
    assert {name: both[name] for name in answers(bench.folder)} == answers(bench.folder)


def test_a_cell_that_cannot_be_is_named_and_the_others_go_on(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = study(grid={"seed": (0,), "retrieval.references": ("nearest", "shuffled-audio")}, fixed={"train.steps": 2})
    done = sweep(bad.varied(["retrieval.k=10"]), bench)
    ((name, why),) = done.failed.items()
    assert "shuffled-audio" in name and "expected 10 other clips with sound" in why
    assert sum(finished(bench.cell(v)) for v in bad.varied(["retrieval.k=10"]).resolved()) == 1


def test_another_set_in_the_same_folder_is_refused_before_anything_is_taught(bench: Bench, tmp_path: Path) -> None:
    sweep(study("seed=0", "retrieval.k=2"), bench)
    content = replace(EvaluationSet.open(bench.cases).content, note="another")
    opened = EvaluationSet.open(bench.cases)
    wave = np.full(RATE, 0.1, dtype=np.float32)
    write_set(tmp_path / "set2", content, waves={"p.wav": wave}, sample_rate=RATE, own=dict(opened.own))
    with pytest.raises(SettingError, match="choose another folder"):
        sweep(study("seed=0", "retrieval.k=2"), replace(bench, cases=tmp_path / "set2"))
    with pytest.raises(ValueError, match="similarity_weight"):
        sweep(study("graph.stages=none", "graph.similarity_weight=true"), bench)
    with pytest.raises(SettingError, match="one job"):
        sweep(study(), bench, jobs=0)


def dub(*words: str) -> list[str]:
    return [sys.executable, "-m", "authentic_dubber.launcher", "sweep", *words]


def test_a_killed_sweep_ends_where_a_straight_one_ends(bench: Bench, tmp_path: Path) -> None:
    """Killed for good as soon as its first cell is done; what is half done is done again, what is done is kept."""
    grid = {"seed": [0, 1], "retrieval.k": [0, 2, 3]}
    file = tmp_path / "toy.json"
    file.write_text(json.dumps({"name": "toy", "question": "?", "fixed": {"train.steps": 2}, "grid": grid}))
    assert bench.workshop.checkpoint is not None
    words = [str(file), "--corpus", str(bench.workshop.corpus), "--set", str(bench.cases)]
    words += ["--checkpoint", str(bench.workshop.checkpoint), "--out"]
    killed = tmp_path / "killed"
    with subprocess.Popen(dub(*words, str(killed)), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as one:
        deadline = time.monotonic() + 200
        while not list(killed.glob(f"toy/runs/*/{DONE}")) and one.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(one.pid, signal.SIGKILL)
    before = answers(killed / "toy")
    assert 0 < len(before) < 6, "it was to be killed in the middle"
    done = CliRunner().invoke(app, ["sweep", *words, str(killed)])
    assert done.exit_code == 0, done.output
    assert f"6 cells, {len(before)} of them there before" in done.output
    straight = replace(bench, study="toy")
    sweep(Study.read(file), straight)
    assert answers(killed / "toy") == answers(straight.folder) and before.items() <= answers(straight.folder).items()


# Speaking


def test_a_cell_is_spoken_with_what_it_is_shown_and_goes_on(tmp_path: Path, tiny_cache: Path) -> None:
    """The run is one of `dub evaluate`: a cell of another K is refused in its folder, and no take is spoken twice."""
    torch.manual_seed(SEED)
    readers, rng = build_readers("light"), np.random.default_rng(SEED)
    words = Vocabulary(INVENTORY_NAME, SYMBOL_COUNT, dict(readers.spaces()), readers.lips.space, EMOTIONS)
    model = Synthesizer(build_config("tiny", words)).eval()
    vocoder = IstftGenerator(IstftConfig.tiny(), model.config.mel).eval()
    booth = Booth(
        Dubber(model, vocoder, TextFrontend(Espeak()), Bands(), readers, Card("toy", (), "", "0123")), tiny_cache
    )
    space = readers.face.space
    faces = [Emotion(space, unit(rng, int(space.rpartition("/")[2]))) for _ in range(7)]
    clips = [Clip(f"k{i}", "x.mp4", 0, 1, emotions={"face": face}) for i, face in enumerate(faces[2:])]
    made = [Case(c, "Good evening.", "en", "toy/v0", "sad", "waves/p.wav", film="f") for c in "ab"]
    write_set(
        tmp_path / "set", Content("toy", "2.0", "en", "", {"face": space}, None, tuple(made)),
        waves={"p.wav": buzz(1.0)}, sample_rate=RATE, own={"face": np.stack([f.vector for f in faces[:2]])},
        libraries={"f": clips},
    )  # fmt: skip
    enquiry = Enquiry(EvaluationSet.open(tmp_path / "set"), tmp_path / "features")
    run = tmp_path / "run"
    values = {**DEFAULTS, "retrieval.k": 2, "outcome": "voice"}
    found = booth.speak(model, "m", enquiry, values, run, None)
    takes = read_run(run).takes
    assert {id: take.hits for id, take in takes.items()} == {"a": 2, "b": 2}
    assert found[0].note.startswith("not measured")  # a toy corpus has no acted voices to learn from
    stamps = [(run / "takes" / f"{id}.wav").stat().st_mtime_ns for id in takes]
    booth.speak(model, "m", enquiry, values, run, None)
    assert [(run / "takes" / f"{id}.wav").stat().st_mtime_ns for id in takes] == stamps
    for other, name in (({**values, "retrieval.k": 1}, "m"), ({**values, "retrieval.off": "face"}, "m"), (values, "n")):
        with pytest.raises(RunError, match="choose another folder"):
            booth.speak(model, name, enquiry, other, run, None)
    booth.speak(model, "m", enquiry, {**values, "retrieval.off": "face"}, tmp_path / "off", None)
    off = read_run(tmp_path / "off").takes
    assert {take.hits for take in off.values()} == {0}
    assert {take.fingerprint for take in off.values()}.isdisjoint(take.fingerprint for take in takes.values())
