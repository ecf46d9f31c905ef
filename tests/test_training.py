"""Training: exact resume, held-out recordings refused, batches that never show a model its own answer."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from authentic_dubber.checkpoint import load_acoustic
from authentic_dubber.config import DubberConfig
from authentic_dubber.prosody import LEVEL_MEAN, LEVEL_SCALE, PITCH_MEAN, PITCH_SCALE
from authentic_dubber.synthesizer import Synthesizer
from authentic_dubber.training.cache import Cache
from authentic_dubber.training.corpora import Utterance
from authentic_dubber.training.dataset import Corpus
from authentic_dubber.training.durations import quiet_frames
from authentic_dubber.training.heldout import HeldOutError, is_held_out, refuse_held_out
from authentic_dubber.training.loop import Schedule, State, train, train_step
from authentic_dubber.training.losses import losses
from authentic_dubber.training.start import AcousticRun, _first_weights
from authentic_dubber.training.waves import CorpusWaves
from vocoder.storage import read_tensors, write_tensors

SCHEDULE = Schedule(log_every=2, report_every=1000, checkpoint_every=2, bf16=False)


def utterance(corpus: str, speaker: str, id: str) -> Utterance:
    return Utterance(id, corpus, speaker, "en", "words", None, Path("x.wav"))


@pytest.fixture
def corpus(tiny_cache: Path, tiny_config: DubberConfig, monkeypatch: pytest.MonkeyPatch) -> Corpus:
    # The made-up corpus has no held-out recordings of its own; its last four stand in for plots.
    monkeypatch.setattr(Cache, "held_out_rows", lambda self: list(range(20, 24)))
    return Corpus(Cache(tiny_cache), tiny_config, rows=range(20))


def steps(config: DubberConfig, n: int) -> DubberConfig:
    return dataclasses.replace(config, train=dataclasses.replace(config.train, total_steps=n))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_acoustic(folder / "acoustic").state_dict()


def test_a_resumed_run_ends_where_a_straight_run_ends(
    corpus: Corpus, tiny_config: DubberConfig, tmp_path: Path
) -> None:
    """Equal to the last bit: batches, dropout and optimizer moments depend on seed and step alone."""
    corpus.config = steps(tiny_config, 6)
    train(corpus, tmp_path / "straight", seed=3, schedule=SCHEDULE, progress=False)
    killed = Killer(corpus, at=5)
    with pytest.raises(KeyboardInterrupt):
        train(killed, tmp_path / "killed", seed=3, schedule=SCHEDULE, progress=False)  # type: ignore[arg-type]
    assert train(corpus, tmp_path / "killed", seed=3, schedule=SCHEDULE, progress=False) == "finished"
    straight, resumed = weights(tmp_path / "straight"), weights(tmp_path / "killed")
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)


class Killer:
    """A corpus that dies at a step, past the last checkpoint."""

    def __init__(self, corpus: Corpus, at: int) -> None:
        self.corpus, self.at, self.cache, self.config = corpus, at, corpus.cache, corpus.config

    def batch(self, seed: int, step: int):  # type: ignore[no-untyped-def]
        if step == self.at:
            raise KeyboardInterrupt
        return self.corpus.batch(seed, step)

    def fixed(self, rows, k):  # type: ignore[no-untyped-def]
        return self.corpus.fixed(rows, k)


def test_a_run_of_another_config_is_not_resumed(corpus: Corpus, tiny_config: DubberConfig, tmp_path: Path) -> None:
    corpus.config = steps(tiny_config, 2)
    train(corpus, tmp_path, schedule=SCHEDULE, progress=False)
    corpus.config = steps(tiny_config, 4)
    with pytest.raises(ValueError, match=r"another config or seed \(train.total_steps 2, got 4\)"):
        train(corpus, tmp_path, schedule=SCHEDULE, progress=False)


def test_a_training_without_an_end_in_its_rate_goes_on_as_if_it_had_been_given_the_steps_at_once(
    corpus: Corpus, tiny_config: DubberConfig, tmp_path: Path
) -> None:
    endless = dataclasses.replace(tiny_config, train=dataclasses.replace(tiny_config.train, decay="noam"))
    for folder, ends in (("grown", (2, 4)), ("whole", (4,))):
        for end in ends:
            corpus.config = steps(endless, end)
            train(corpus, tmp_path / folder, schedule=SCHEDULE, progress=False)
    grown, whole = (read_tensors(tmp_path / folder / "acoustic/model.safetensors") for folder in ("grown", "whole"))
    assert all(torch.equal(grown[name], whole[name]) for name in whole)


def test_one_batch_can_be_learned_by_heart(corpus: Corpus, tiny_config: DubberConfig) -> None:
    """The whole path learns: on one batch the mel error falls by a third within 80 steps."""
    train_config = dataclasses.replace(tiny_config.train, learning_rate=5e-3, warmup=5, total_steps=1000)
    state = State.fresh(dataclasses.replace(tiny_config, train=train_config), 0, torch.device("cpu"))
    batch = corpus.batch(0, 0)
    first = train_step(state, batch, 0, bf16=False)["mel"]
    for _ in range(80):
        last = train_step(state, batch, 0, bf16=False)["mel"]
    assert last < 0.67 * first


def test_batches_depend_on_seed_and_step_alone(corpus: Corpus) -> None:
    a, b, c = corpus.batch(1, 5), corpus.batch(1, 5), corpus.batch(1, 6)
    assert torch.equal(a.mel, b.mel) and torch.equal(a.inputs.lips, b.inputs.lips)
    assert a.mel.shape != c.mel.shape or not torch.equal(a.mel, c.mel)


def test_the_prompt_is_never_the_target(corpus: Corpus) -> None:
    rng = np.random.default_rng(0)
    for row in corpus.rows:
        for _ in range(20):
            other = corpus._other(int(row), rng, corpus.voices)
            assert other != row
            assert corpus.cache.entries[other].voice == corpus.cache.entries[row].voice


def test_a_speaker_held_out_whole_is_not_prompted_by_the_target(
    tiny_cache: Path, tiny_config: DubberConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every third row is one voice; none of its rows is for training, and still another of them is the prompt."""
    corpus = Corpus(Cache(tiny_cache), tiny_config, rows=[i for i in range(24) if i % 3])
    asked: list[list[int]] = []
    collate = corpus.collate
    monkeypatch.setattr(
        corpus, "collate", lambda rows, prompts, *rest: asked.append(prompts) or collate(rows, prompts, *rest)
    )
    corpus.fixed([0, 3], k=1)
    assert [p % 3 for p in asked[0]] == [0, 0] and asked[0][0] != 0 and asked[0][1] != 3


def test_k_takes_every_value_from_none_to_all(corpus: Corpus) -> None:
    seen = set()
    for step in range(60):
        seen |= set(corpus.batch(0, step).inputs.graph.reference_mask.sum(2).max(1).values.tolist())
    assert {0, 1, 5, 10} <= seen


def test_lines_without_a_label_do_not_move_the_emotion_loss(corpus: Corpus, tiny_config: DubberConfig) -> None:
    """They are told to be neutral all the same: reading aloud is."""
    torch.manual_seed(0)
    model, batch = Synthesizer(tiny_config).eval(), corpus.fixed([1, 3, 5], k=2)
    assert (batch.emotion == -1).all()
    assert (batch.inputs.feeling.argmax(1) == tiny_config.emotions.index("neutral")).all()
    encoded = model.encode(batch.inputs)
    spoken = model.decode(encoded, batch.durations, batch.prosody)
    assert float(losses(model, encoded, spoken, batch).emotion) == 0
    known = dataclasses.replace(batch, emotion=torch.tensor([2, -1, -1]))
    expected = -encoded.emotion[0].log_softmax(0)[2]
    torch.testing.assert_close(losses(model, encoded, spoken, known).emotion, expected)


def test_the_total_is_the_weighted_sum_of_its_terms(corpus: Corpus, tiny_config: DubberConfig) -> None:
    torch.manual_seed(0)
    model, batch, t = Synthesizer(tiny_config).eval(), corpus.fixed([0, 2], k=1), tiny_config.train
    encoded = model.encode(batch.inputs)
    terms = losses(model, encoded, model.decode(encoded, batch.durations, batch.prosody), batch).scalars()
    weights = {name: getattr(t, f"{name}_weight", t.mel_weight) for name in terms if name != "total"}
    assert {"prosody", "emotion", "likeness"} <= set(weights) and min(terms.values()) > 0
    assert terms["total"] == pytest.approx(sum(weights[name] * terms[name] for name in weights), rel=1e-5)


def test_the_ear_that_judges_likeness_is_not_taught_by_it(corpus: Corpus, tiny_config: DubberConfig) -> None:
    torch.manual_seed(0)
    model, batch = Synthesizer(tiny_config), corpus.fixed([0, 2], k=1)
    encoded = model.encode(batch.inputs)
    spoken = model.decode(encoded, batch.durations, batch.prosody)
    mel = spoken.mel.detach().requires_grad_()
    losses(model, encoded, dataclasses.replace(spoken, mel=mel), batch).likeness.backward()
    assert mel.grad is not None and mel.grad.any()
    assert not any(weight.grad is not None and weight.grad.any() for weight in model.parameters())


def test_a_symbols_melody_is_the_mean_over_its_frames(corpus: Corpus) -> None:
    """Frame by frame, in plain Python."""
    batch = corpus.fixed([2, 7], k=0)
    pitch, mels, durations = (corpus.cache.ragged(name) for name in ("pitch", "mel", "durations"))
    for b, row in enumerate((2, 7)):
        track, mel, place = pitch[row].astype(float), mels[row].astype(float), 0
        for n, length in enumerate(durations[row].tolist()):
            frames = range(place, place + length)
            sounding = [t for t in frames if track[t, 1]]
            tone = np.mean([track[t, 0] for t in (sounding or frames)])
            level = np.mean([np.log(sum(np.exp(mel[t]))) for t in frames])
            expected = ((tone - PITCH_MEAN) / PITCH_SCALE, len(sounding) / length, (level - LEVEL_MEAN) / LEVEL_SCALE)
            got = [float(channel[b, n]) for channel in batch.prosody]
            assert got == pytest.approx(expected, abs=1e-4)  # float32 sums of some tens of values
            place += length
        assert not any(channel[b, len(durations[row]) :].any() for channel in batch.prosody)


def test_most_lines_are_told_their_feeling_in_training_and_none_in_validation(
    corpus: Corpus, tiny_config: DubberConfig
) -> None:
    told = torch.cat([corpus.batch(0, step).inputs.directed for step in range(100)]).float().mean()
    # Two hundred throws: four standard deviations.
    assert abs(float(told) - tiny_config.train.told) < 0.13
    assert not corpus.fixed([0, 1, 2], k=1).inputs.directed.any()
    for row in (0, 2):
        batch = corpus.fixed([row], k=0)
        assert tiny_config.emotions[int(batch.inputs.feeling.argmax())] == corpus.cache.entries[row].emotion


def test_a_model_that_has_grown_keeps_what_fits(tiny_cache: Path, tiny_config: DubberConfig, tmp_path: Path) -> None:
    """Weights of the same name and shape are taken over; what is new, or of another size, begins fresh."""
    before = {name: value + 1 for name, value in Synthesizer(tiny_config).state_dict().items()}
    del before["director.rise.weight"]
    before["out.bias"] = torch.ones(3)
    write_tensors(tmp_path / "model.safetensors", before)
    choice = AcousticRun(start_from=tmp_path, director_steps=0, seed=5)
    taken = _first_weights(tiny_config, Cache(tiny_cache), choice, ())
    torch.manual_seed(5)
    fresh = Synthesizer(tiny_config).state_dict()
    for name, value in taken.items():
        wanted = fresh if name in ("director.rise.weight", "out.bias") else before
        assert torch.equal(value, wanted[name]), name


def test_held_out_recordings_are_refused() -> None:
    kept = [
        utterance("kathleen", "kathleen", "arctic_b0379"),
        utterance("ravdess", "18", "03-01-05-01-01-01-18"),
        utterance("nemo", "MP0", "MP0_anger_1"),
    ]
    free = utterance("kathleen", "kathleen", "arctic_a0001")
    assert all(is_held_out(u) for u in kept) and not is_held_out(free)
    with pytest.raises(HeldOutError, match=r"3 recordings.*kathleen/arctic_b0379"):
        refuse_held_out([free, *kept])


def test_a_dataset_with_a_held_out_row_is_refused(
    tiny_cache: Path, tiny_config: DubberConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    from authentic_dubber.training import heldout

    monkeypatch.setattr(heldout, "_rules", lambda: {"toy": {"ids": frozenset({"u03"})}})
    with pytest.raises(HeldOutError, match="toy/u03"):
        Corpus(Cache(tiny_cache), tiny_config, rows=[1, 2, 3])
    assert 3 not in Corpus(Cache(tiny_cache), tiny_config).rows


def test_the_committed_list_holds_what_was_promised() -> None:
    import json
    from importlib.resources import files

    rules = json.loads(files("authentic_dubber.training").joinpath("heldout.json").read_text())
    assert len(rules["kathleen"]["ids"]) == 80 and len(rules["grid"]["ids"]) == 30
    assert rules["ravdess"]["speakers"] == ["17", "18", "19", "20"] and rules["nemo"]["speakers"] == ["MP0"]


def test_the_wave_source_never_hands_out_a_held_out_recording(
    tiny_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Cache, "training_rows", lambda self: [0, 1])
    monkeypatch.setattr(Cache, "held_out_rows", lambda self: [5, 6])
    source = CorpusWaves(Cache(tiny_cache), shown=2)
    rng = np.random.default_rng(0)
    training = np.concatenate([source.cache.wave(0), source.cache.wave(1)])
    for _ in range(20):
        piece = source.segment(rng, 512)
        windows = np.lib.stride_tricks.sliding_window_view(training, 512)
        assert (windows == piece).all(1).any()
    assert len(source.held_out()) == 2


def test_quiet_frames_are_the_quiet_ones() -> None:
    mel = np.full((40, 80), -2.0, dtype=np.float32)
    mel[10:20] = -9.0
    assert quiet_frames(mel).nonzero()[0].tolist() == list(range(10, 20))


def test_a_corpus_without_held_out_recordings_trains_and_shows_none(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pack leaves them behind by default; the training used to end on an empty batch."""
    monkeypatch.setattr(corpus.cache, "held_out_rows", lambda: [])
    corpus.config = steps(corpus.config, 1)
    assert train(corpus, tmp_path / "run", progress=False) == "finished"
