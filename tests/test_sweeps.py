"""Studies: grids of settings, cells that are resumed and never half done, and differences that tell what they can."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from authentic_dubber.checkpoint import Card
from authentic_dubber.cli import app
from authentic_dubber.config import DubberConfig, Vocabulary, build_config
from authentic_dubber.dubber import Dubber
from authentic_dubber.espeak import Espeak
from authentic_dubber.evaluation.measured import Measured, Row, difference
from authentic_dubber.evaluation.runs import RunError, read_run
from authentic_dubber.evaluation.scoring import read_scores
from authentic_dubber.evaluation.sets import Case, Content, EvaluationSet, write_set
from authentic_dubber.sweeps.asking import Enquiry
from authentic_dubber.sweeps.features import set_of
from authentic_dubber.sweeps.models import Workshop, teach_voice, varied_config
from authentic_dubber.sweeps.page import as_text, write_page
from authentic_dubber.sweeps.pairs import Pool, estimate, gap
from authentic_dubber.sweeps.reading import as_csv, read_study
from authentic_dubber.sweeps.running import DONE, SCORES, Bench, finished, run_cell, sweep
from authentic_dubber.sweeps.settings import KEYS, SettingError, Study, Values, cell_name, parse
from authentic_dubber.sweeps.speaking import Booth
from authentic_dubber.symbols import INVENTORY_NAME, SYMBOL_COUNT
from authentic_dubber.synthesizer import Synthesizer
from authentic_dubber.text import TextFrontend
from authentic_dubber.training.cache import Cache
from authentic_dubber.training.corpora import EMOTIONS
from authentic_dubber.training.loop import export
from library_builder.readers import build_readers
from library_builder.types import QUERY_MODALITIES, Clip, Emotion
from retrieval import Library
from vocoder.checkpoint import save_generator
from vocoder.generator import IstftConfig, IstftGenerator
from vocoder.mel import MelConfig
from vocoder.storage import MODEL, read_tensors

from .conftest import SEED, SPACES
from .test_evaluation_runs import Bands, buzz

ROOT = Path(__file__).resolve().parents[1]
RATE = MelConfig().sample_rate
FELT = ("neutral", "happy", "sad", "angry")
DEFAULTS: Values = {key: known.default for key, known in KEYS.items()}


def unit(rng: np.random.Generator, width: int) -> np.ndarray:
    row = rng.standard_normal(width)
    return (row / np.linalg.norm(row)).astype(np.float32)


def emotion(rng: np.random.Generator, modality: str) -> Emotion:
    return Emotion(SPACES[modality], unit(rng, int(SPACES[modality].split("/")[1])))


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve lines of four feelings in two films of twenty clips by four voices; two clips are silent."""
    rng = np.random.default_rng(SEED)
    made = [
        Case(f"c{i:02d}", f"line {i // 4}", "en", f"toy/v{i % 3}", FELT[i % 4], "waves/p.wav", film=f"f{i % 2}",
             group=f"g{i // 4}")
        for i in range(12)
    ]  # fmt: skip
    libraries = {}
    for film in ("f0", "f1"):
        vectors = [{m: emotion(rng, m) for m in SPACES} for _ in range(20)]
        vectors[3].pop("audio"), vectors[7].pop("audio")
        libraries[film] = [
            Clip(f"{film}-{n:02d}", "x.mp4", 0, 1, speaker=f"toy/v{n % 4}", text=f"words {n % 9}", emotions=own)  # type: ignore[arg-type]
            for n, own in enumerate(vectors)
        ]
    content = Content("toy", "2.0", "en", "", {m: SPACES[m] for m in QUERY_MODALITIES}, None, tuple(made))
    own = {m: np.stack([emotion(rng, m).vector for _ in made]) for m in QUERY_MODALITIES}
    folder = tmp_path_factory.mktemp("sets") / "toy"
    wave = (0.1 * np.sin(np.arange(RATE) / 20)).astype(np.float32)
    write_set(folder, content, waves={"p.wav": wave}, sample_rate=RATE, own=own, libraries=libraries)
    return folder


@pytest.fixture
def checkpoint(tmp_path: Path, tiny_config: DubberConfig) -> Path:
    torch.manual_seed(SEED)
    folder = tmp_path / "checkpoint"
    export(Synthesizer(tiny_config), folder / "acoustic", 0)
    save_generator(folder / "vocoder", IstftGenerator(IstftConfig.tiny(), tiny_config.mel))
    (folder / "card.json").write_text(json.dumps({"name": "toy", "licences": ["CC0-1.0"], "notice": ""}))
    return folder


@pytest.fixture
def bench(tmp_path: Path, tiny_cache: Path, checkpoint: Path, cases: Path) -> Bench:
    return Bench(Workshop(tiny_cache, checkpoint, tmp_path / "out"), cases, "toy")


def study(*words: str, name: str = "toy", **changes: Any) -> Study:
    made = Study(name, "Does it?", {"train.steps": 2}, {"seed": (0, 1), "retrieval.k": (0, 2)}, ({},), {})
    return replace(made, **changes).varied(words)


def answers(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """What every done cell scored, by its name."""
    done = {cell.parent.name: cell.parent for cell in folder.glob(f"runs/*/{DONE}")}
    return {name: [one.to_dict() for one in read_scores(cell / SCORES)[1]] for name, cell in done.items()}


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


# Asking


def ids(enquiry: Enquiry, **changes: Any) -> list[dict[str, list[str]]]:
    values = {**DEFAULTS, **{key.replace("__", "."): value for key, value in changes.items()}}
    return [
        {m: [hit.clip.id for hit in found] for m, found in enquiry.hits(i, values).items()}
        for i in range(len(enquiry.cases.cases))
    ]


@pytest.fixture
def enquiry(cases: Path, tmp_path: Path) -> Enquiry:
    return Enquiry(EvaluationSet.open(cases), tmp_path / "features")


def test_unit_vectors_are_ranked_alike_by_every_metric_and_others_are_not(enquiry: Enquiry) -> None:
    alike = [ids(enquiry, retrieval__metric=metric) for metric in ("cosine", "dot", "euclidean")]
    assert alike[0] == alike[1] == alike[2]
    apart = [
        ids(enquiry, retrieval__metric=metric, retrieval__vectors="standardised")
        for metric in ("cosine", "dot", "euclidean")
    ]
    assert apart[0] != apart[1] != apart[2] != apart[0]


def test_standardised_vectors_are_ranked_as_by_hand(enquiry: Enquiry) -> None:
    found = ids(enquiry, retrieval__metric="euclidean", retrieval__vectors="standardised", retrieval__k=4)
    for i, case in enumerate(enquiry.cases.cases):
        shelf = enquiry.shelf(case)
        assert shelf is not None
        clips = list(shelf.clips.values())
        rows = np.stack([clip.emotions["face"].vector for clip in clips]).astype(np.float64)
        own = enquiry.cases.feelings(i)["face"].vector
        apart = ((rows - own) ** 2 / rows.var(0)).sum(1)
        assert found[i]["face"] == [clips[j].id for j in np.argsort(apart)[:4]]


def test_fewer_references_are_the_first_of_more(enquiry: Enquiry) -> None:
    few, many = ids(enquiry, retrieval__k=2), ids(enquiry, retrieval__k=5)
    assert [{m: some[:2] for m, some in line.items()} for line in many] == few
    assert all(len(some) == 5 for line in many for some in line.values())


def test_a_scope_is_kept_to(enquiry: Enquiry) -> None:
    for scope in ("same", "other"):
        for vectors in ("unit", "standardised"):
            found = ids(enquiry, retrieval__scope=scope, retrieval__vectors=vectors)
            for case, line in zip(enquiry.cases.cases, found, strict=True):
                voices = {f"toy/v{int(id[-2:]) % 4}" for some in line.values() for id in some}
                assert voices == {case.voice} if scope == "same" else voices and case.voice not in voices


def test_what_is_off_is_gone_and_the_rest_as_it_was(enquiry: Enquiry) -> None:
    whole = ids(enquiry)
    for m in QUERY_MODALITIES:
        kept = [{name: some for name, some in line.items() if name != m} for line in whole]
        assert ids(enquiry, retrieval__off=m) == kept == ids(enquiry, input__off=m)
        assert m in enquiry.own(0, {**DEFAULTS, "retrieval.off": m})
        assert m not in enquiry.own(0, {**DEFAULTS, "input.off": m})
    assert ids(enquiry, retrieval__off="all") == [{}] * 12 == ids(enquiry, retrieval__k=0)
    assert ids(enquiry, retrieval__off="audio") == whole
    mute = [enquiry.hits(i, {**DEFAULTS, "retrieval.off": "audio"}) for i in range(12)]
    assert all(hit.audio is None for line in mute for some in line.values() for hit in some)
    shown = [enquiry.hits(i, dict(DEFAULTS)) for i in range(12)]
    assert any(hit.audio is not None for line in shown for some in line.values() for hit in some)


def test_rankings_are_kept_and_read_again(enquiry: Enquiry, cases: Path) -> None:
    first = ids(enquiry)
    kept = list(enquiry.folder.glob("ranking-*.json"))
    assert len(kept) == 1
    stamp = kept[0].stat().st_mtime_ns
    assert ids(Enquiry(EvaluationSet.open(cases), enquiry.folder), retrieval__k=1) == [
        {m: some[:1] for m, some in line.items()} for line in first
    ]
    assert kept[0].stat().st_mtime_ns == stamp


def test_words_alone_are_read_anew_in_set_and_libraries(tmp_path: Path) -> None:
    rng, reader = np.random.default_rng(1), build_readers("light").text
    mixed = reader.read("What a day.", {"scene": "a dark, blue, still shot"})
    assert mixed is not None
    face = Emotion(SPACES["face"], unit(rng, 6))
    clip = Clip("k", "x.mp4", 0, 1, text="Never again!", emotions={"text": mixed.emotion, "face": face})
    case = Case("a", "What a day.", "en", "toy/v", "sad", "waves/p.wav", film="f")
    write_set(
        tmp_path / "set", Content("toy", "2.0", "en", "", {"text": reader.space}, None, (case,)),
        waves={"p.wav": np.full(RATE, 0.1, dtype=np.float32)}, sample_rate=RATE,
        own={"text": mixed.emotion.vector[None]}, libraries={"f": [clip]},
    )  # fmt: skip
    made = EvaluationSet.open(set_of("words", tmp_path / "set", tmp_path / "features"))
    plain, said = reader.read("What a day.", {}), reader.read("Never again!", {})
    assert plain is not None and said is not None
    np.testing.assert_array_equal(made.own["text"][0], plain.emotion.vector)
    assert not np.allclose(plain.emotion.vector, mixed.emotion.vector, atol=0.01)
    (found,) = Library.open(tmp_path / "features" / made.folder.name / "libraries" / "f").clips()
    np.testing.assert_array_equal(found.emotions["text"].vector, said.emotion.vector)
    np.testing.assert_array_equal(found.emotions["face"].vector, face.vector)
    assert set_of("captioned", tmp_path / "set", tmp_path / "features") == tmp_path / "set"


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
    grid = {"seed": [0, 1], "retrieval.k": [0, 1, 2, 3]}
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
    assert 0 < len(before) < 8, "it was to be killed in the middle"
    done = subprocess.run(dub(*words, str(killed)), cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert f"8 cells, {len(before)} of them there before" in done.stdout
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


# Pairs


def measured(rows: dict[str, float], felt: Callable[[str], str] = lambda id: "", name: str = "judged") -> Measured:
    statistic = "balanced" if felt("0") else "mean"
    made = {id: Row((value,), felt(id)) for id, value in rows.items()}
    return Measured(name, name, "share", "higher", statistic, made)  # type: ignore[arg-type]


def test_figures_and_intervals_are_those_of_an_evaluation_where_no_lines_belong_together() -> None:
    rng = np.random.default_rng(3)
    felt = lambda id: "ab"[int(id) % 3 == 0]  # noqa: E731
    a, b = ({str(i): float(rng.random() < p) for i in range(150)} for p in (0.4, 0.6))
    alone = {str(i): str(i) for i in range(150)}
    for kind in (lambda id: "", felt):
        one, other = measured(a, kind), measured(b, kind)
        known = difference(one, other, draws=4000)
        found = gap(Pool({0: other}), Pool({0: one}), alone, 1, draws=4000).gap
        assert known is not None and found.value == pytest.approx(known.value, abs=1e-12)
        # Two samples of 4000 draws; an end of an interval 0.2 wide moves by 0.003 a time.
        assert (found.low, found.high) == pytest.approx((known.low, known.high), abs=0.015)


def test_copies_of_a_line_in_its_sentence_tell_nothing_new() -> None:
    rng = np.random.default_rng(4)
    a, b = ({str(i): float(rng.random()) for i in range(60)} for _ in range(2))
    alone = {id: id for id in a}
    twice = lambda rows: {**rows, **{f"{id}'": value for id, value in rows.items()}}  # noqa: E731
    together = {**alone, **{f"{id}'": id for id in a}}
    single = gap(Pool({0: measured(b)}), Pool({0: measured(a)}), alone, 3)
    copied = gap(Pool({0: measured(twice(b))}), Pool({0: measured(twice(a))}), together, 3)
    assert copied.gap.n == 120
    assert (copied.gap.low, copied.gap.high) == pytest.approx((single.gap.low, single.gap.high), abs=1e-12)
    seeds = gap(Pool({s: measured(b) for s in (0, 1, 2)}), Pool({s: measured(a) for s in (0, 1, 2)}), alone, 3)
    assert (seeds.gap.low, seeds.gap.high) == pytest.approx((single.gap.low, single.gap.high), abs=1e-12)


def test_more_comparisons_widen_every_interval() -> None:
    rng = np.random.default_rng(5)
    a, b = ({str(i): float(rng.standard_normal()) for i in range(200)} for _ in range(2))
    alone = {id: id for id in a}
    wide = [gap(Pool({0: measured(b)}), Pool({0: measured(a)}), alone, asked).gap for asked in (1, 7)]
    widths = [one.high - one.low for one in wide]
    # Of a normal law: 2.69 standard errors to either side instead of 1.96.
    assert widths[1] / widths[0] == pytest.approx(2.69 / 1.96, rel=0.06)
    assert estimate(Pool({0: measured(a)}), alone).n == 200


def test_a_family_of_nothing_is_seldom_called_something() -> None:
    """Four variants that are the baseline but for noise: at most about one family in twenty has a miss."""
    rng, misses = np.random.default_rng(6), 0
    clusters = {str(i): str(i // 2) for i in range(80)}
    for _ in range(150):
        base = {id: float(value) for id, value in zip(clusters, rng.standard_normal(80), strict=True)}
        others = [{id: value + float(rng.normal(0, 0.5)) for id, value in base.items()} for _ in range(4)]
        found = [gap(Pool({0: measured(o)}), Pool({0: measured(base)}), clusters, 4, draws=2000) for o in others]
        misses += any(one.verdict != "not decided" for one in found)
    # 5 % of 150 is 7.5; a percentile bootstrap of forty sentences is a little narrow, and four deviations are 11.
    assert misses <= 20


def test_a_verdict_asks_that_every_seed_agrees() -> None:
    rows = {str(i): 0.0 for i in range(50)}
    clusters = {id: id for id in rows}
    better, worse = ({id: value for id in rows} for value in (0.5, -0.1))
    base = Pool({0: measured(rows), 1: measured(rows)})
    agreed = gap(Pool({0: measured(better), 1: measured(better)}), base, clusters, 1)
    split = gap(Pool({0: measured(better), 1: measured(worse)}), base, clusters, 1)
    assert agreed.verdict == "better" and split.verdict == "not decided"
    assert split.gap.low > 0 and split.seeds == pytest.approx({0: 0.5, 1: -0.1})
    assert gap(base, base, clusters, 1).verdict == "same"
    lower = {s: replace(one, direction="lower") for s, one in base.seeds.items()}
    assert gap(Pool({0: replace(measured(better), direction="lower")}), Pool(lower), clusters, 1).verdict == "worse"
    with pytest.raises(ValueError, match="one measure"):
        gap(Pool({0: measured(rows, name="other")}), base, clusters, 1)
    with pytest.raises(ValueError, match="share lines"):
        gap(Pool({7: measured(rows)}), base, clusters, 1)


# Reports


def test_a_report_tells_what_the_cells_scored(bench: Bench) -> None:
    sweep(study("retrieval.k=0,1,2", "retrieval.metric=cosine,dot"), bench)
    found = read_study(bench.folder, ["retrieval.k=2", "retrieval.metric=cosine"])
    assert found.varying == ("retrieval.k", "retrieval.metric") and found.asked == 5 and found.clusters == 3
    assert [one.label for one in found.variants if one.is_baseline] == ["retrieval.k 2, retrieval.metric cosine"]
    table = list(csv.DictReader(io.StringIO(as_csv(found))))
    assert len(table) == 6 * 2
    scored = answers(bench.folder)
    for row in table:
        values = {**DEFAULTS, "train.steps": 2, "retrieval.k": int(row["retrieval.k"])}
        values["retrieval.metric"] = row["retrieval.metric"]
        for seed in (0, 1):
            (one,) = [m for m in scored[cell_name({**values, "seed": seed})] if m["name"] == row["measure"]]
            rows = [(numbers[0], felt) for numbers, felt in one["rows"].values()]
            felt = FELT if row["measure"] == "judged" else ("",)
            mean = np.mean([np.mean([v for v, f in rows if f == name or not name]) for name in felt])
            assert float(row[f"seed {seed}"]) == pytest.approx(mean, abs=1e-4)
        if row["retrieval.metric"] == "dot" and row["retrieval.k"] == "2":
            assert row["verdict"] == "same" and float(row["hit lists as the baseline's"]) == 1
    text = as_text(found)
    assert "corrected for 5 comparisons" in text and "Finds the very clips that the baseline finds" in text
    page = write_page(found, bench.folder).read_text(encoding="utf-8")
    assert "http" not in page.replace("http://www.w3.org", "") and page.count("<tr>") == 7


def test_a_report_of_what_is_not_there_says_what_is_missing(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected a study"):
        read_study(tmp_path)
    sweep(study("seed=0"), bench)
    with pytest.raises(SettingError, match=r"baseline \(retrieval.k=9\), got 0"):
        read_study(bench.folder, ["retrieval.k=9"])
    with pytest.raises(SettingError, match="KEY=VALUE"):
        read_study(bench.folder, ["retrieval.k"])
    for values in study("seed=0").resolved()[1:]:
        (bench.cell(values) / DONE).unlink()
    half = read_study(bench.folder, ["retrieval.k=0"])
    assert len(half.missing) == 1 and "Not done: 1 cells" in as_text(half)


def test_the_command_says_what_it_lacks(tmp_path: Path) -> None:
    file = tmp_path / "s.json"
    file.write_text(json.dumps({"name": "s", "question": "?", "grid": {"retrieval.k": [1, "two"]}}))
    for words, wanted in (
        ([str(file), "--corpus", "c", "--set", "s", "--out", "o"], "retrieval.k: expected a whole number"),
        ([str(file), "--corpus", "c"], "got no --set, --out"),
        (["report"], "expected the folder of one study, got 0"),
        (["report", str(tmp_path)], "expected a study of `dub sweep`"),
    ):
        done = CliRunner().invoke(app, ["sweep", *words])
        assert done.exit_code == 2 and wanted in " ".join(done.output.split()), done.output
