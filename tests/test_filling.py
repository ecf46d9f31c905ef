"""Slots are filled with what is heard; pictures decide the slot; hits become tensors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from authentic_dubber.config import DubberConfig
from authentic_dubber.context import line_graph
from authentic_dubber.filling import MOST_FAINT, faint_ends, speak_lines
from authentic_dubber.slot import LineError, evenly, look
from authentic_dubber.symbols import SILENCE, Symbols, number
from authentic_dubber.synthesizer import Synthesizer
from authentic_dubber.trim import END_REST_FRAMES, settle_ends
from authentic_dubber.types import Line
from library_builder.mux import write_video
from library_builder.readers import Readers, build_readers
from library_builder.types import Clip, Emotion, Frame
from recipes import mouths
from retrieval import Hit

from .conftest import SEED, SPACES
from .test_synthesizer import make_inputs


def symbols(*names: str) -> Symbols:
    return Symbols(number(list(names)), names, ())


def test_faint_ends_are_counted_up_to_a_limit() -> None:
    mel = torch.full((80, 50), -3.0)
    mel[:, :4], mel[:, -7:] = -9.0, -9.0
    assert faint_ends(mel) == (4, 7)
    mel[:, :30] = -9.0
    assert faint_ends(mel)[0] == MOST_FAINT
    assert faint_ends(torch.full((80, 10), -3.0)) == (0, 0)


def test_a_consonant_that_only_the_upper_bands_show_is_no_faint_end() -> None:
    """Ten frames of noise, three of a burst above, a vowel: the noise is faint and the burst is not."""
    mel = torch.full((80, 60), -9.0)
    mel[40:, 10:13] = -4.0
    mel[:40, 13:] = 0.0
    mel[40:, 30:40] = -3.0
    assert faint_ends(mel) == (10, 0)


def test_outer_rests_are_held_short_and_inner_ones_stay() -> None:
    line = symbols(SILENCE, "p", ",", "t", "!", SILENCE)
    settled = settle_ends(torch.tensor([9.0, 5.0, 20.0, 5.0, 14.0, 8.0]), line)
    assert settled.tolist() == [END_REST_FRAMES, 5, 20, 5, END_REST_FRAMES, END_REST_FRAMES]


@torch.no_grad()
def test_every_line_has_its_slots_frames_and_ends_inside(tiny_config: DubberConfig) -> None:
    torch.manual_seed(SEED)
    model, seeds = Synthesizer(tiny_config).eval(), [1, 4, 2]
    inputs = make_inputs(seeds)
    lines = [symbols(SILENCE, *["t"] * (int(n) - 2), SILENCE) for n in inputs.symbol_lengths]
    natural = speak_lines(model, inputs, lines, [None] * 3)
    slots = [round(1.1 * line.mel.shape[1]) for line in natural]
    for line, slot in zip(speak_lines(model, inputs, lines, slots), slots, strict=True):
        assert line.fit.fits
        assert line.mel.shape == (80, slot)
        assert int(line.ends[-1]) <= slot and bool((line.ends.diff() >= 0).all())


def unit(width: int, seed: int) -> np.ndarray:
    vector = np.random.default_rng(seed).standard_normal(width)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def emotion(modality: str, seed: int) -> Emotion:
    return Emotion(SPACES[modality], unit(int(SPACES[modality].split("/")[1]), seed))


def hit(modality: str, rank: int, heard: bool) -> Hit:
    clip = Clip(f"c{rank}", "film.mp4", 0, 1)
    return Hit(
        clip, modality, rank, 0.9 - 0.1 * rank, emotion(modality, rank), emotion("audio", rank) if heard else None
    )  # type: ignore[arg-type]


def test_a_graph_masks_what_is_missing() -> None:
    own = {"scene": emotion("scene", 1), "text": emotion("text", 2)}
    hits = {"scene": (hit("scene", 1, True), hit("scene", 2, False)), "text": (hit("text", 1, True),)}
    graph = line_graph(own, hits, SPACES)  # type: ignore[arg-type]
    assert (graph.lines, graph.k) == (1, 2)
    assert graph.own_mask.tolist() == [[True, False, True]]
    assert graph.reference_mask[0].tolist() == [[True, True], [False, False], [True, False]]
    assert graph.audio_mask[0].tolist() == [[True, False], [False, False], [True, False]]
    np.testing.assert_array_equal(graph.references["scene"][0, 1].numpy(), emotion("scene", 2).vector)
    assert graph.similarity[0, 0, 0] == pytest.approx(0.8)


def test_a_graph_refuses_another_space() -> None:
    with pytest.raises(ValueError, match=r"toy-scene/6.*other/6"):
        line_graph({"scene": Emotion("other/6", unit(6, 1))}, {}, SPACES)


def test_evenly_takes_the_middles() -> None:
    frames = [Frame(float(i), np.zeros((2, 2, 3), np.uint8)) for i in range(10)]
    assert [frame.time for frame in evenly(frames, 5)] == [1, 3, 5, 7, 9]
    assert evenly(frames, 20) == frames


@pytest.fixture(scope="module")
def readers() -> Readers:
    return build_readers("light")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six seconds of a puppet whose mouth moves from 1.0 to 3.0 s and rests before and after."""
    from authentic_dubber.theatre.puppet import Controls, cast
    from authentic_dubber.theatre.stage import Shot, Stage, render

    t = np.arange(150) / 25
    opening = np.where((t >= 1) & (t < 3), 0.5 - 0.5 * np.cos(2 * np.pi * 4 * (t - 1)), 0.0)
    shot = Shot(cast(3, 1)[0], Controls(), opening.astype(np.float32))
    path = tmp_path_factory.mktemp("scene") / "scene.mp4"
    write_video(path, render(shot, Stage((180, 320))), 25)
    return path


def test_speech_follows_the_mouth_inside_the_cue(scene: Path, readers: Readers) -> None:
    """Within a fifth of a second: lips part a little before and the tracker smooths over a few frames."""
    seen = look(Line("1", "Ada", "Come back to the house.", 0.2, 3.8, picture=scene), readers)
    assert seen.slot.source == "mouth"
    assert seen.slot.start == pytest.approx(1.0, abs=0.2)
    assert seen.slot.end == pytest.approx(3.0, abs=0.2)
    assert {"scene", "text"} <= set(seen.own)
    assert len(seen.lips) == pytest.approx(seen.slot.duration * 25, abs=2)


def test_a_recipe_tells_how_far_slots_lie_from_speech(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line is spoken from 1 to 3 s, the other, says the sheet, where the mouth rests."""
    (tmp_path / scene.name).symlink_to(scene)
    (tmp_path / "scene.csv").write_text("start,end,character,text\n1.0,3.0,Ada,Come back.\n4.0,5.5,Ada,To the house.\n")
    assert mouths.main([str(tmp_path), "--around", "0.5", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out).values()
    for ends in found.values():
        assert (ends["lines"], ends["unseen"], ends["short"]) == (2, 1, 0)
        # As above: lips part a little before, and activity is smoothed over a few frames.
        assert ends["onset"] < 0.2 and ends["offset"] < 0.2 and ends["overlap"] > 0.8
    assert mouths.main([str(tmp_path / "scene.csv")]) == 2


def test_the_scripts_times_may_overrule_the_mouth(scene: Path, readers: Readers) -> None:
    seen = look(Line("1", "Ada", "Come back to the house.", 0.2, 3.8, picture=scene), readers)
    over = seen.over_cue("because")
    assert (over.slot.source, over.slot.start, over.slot.end) == ("cue", 0.2, 3.8)
    assert len(over.lips) == pytest.approx(3.6 * 25, abs=2)
    assert over.notes == (*seen.notes, "because") and over.over_cue("again") is over


def test_where_no_mouth_moves_the_cue_decides(scene: Path, readers: Readers) -> None:
    seen = look(Line("1", "Ada", "Come back to the house.", 3.4, 5.8, picture=scene), readers)
    assert (seen.slot.source, seen.slot.start, seen.slot.end) == ("cue", 3.4, 5.8)
    assert any(note.startswith("slot:") for note in seen.notes)


def test_a_cue_past_the_picture_is_refused(scene: Path, readers: Readers) -> None:
    with pytest.raises(LineError, match=r"starts at 9\.00 s, past the picture's end at 6\.00 s"):
        look(Line("7", "Ada", "Late.", 9, 10, picture=scene), readers)
    with pytest.raises(LineError, match="past the picture's end"):
        look(Line("7", "Ada", "Long.", 3, 10, picture=scene), readers)
