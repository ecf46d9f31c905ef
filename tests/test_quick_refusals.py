"""A slip of the pen is refused in a line, before torch is loaded and so before any model is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from library_builder.mux import write_video, write_wave
from library_builder.types import Clip, Emotion
from retrieval import commit

ROOT = Path(__file__).parents[1]
ASK = """
import json, sys
from typer.testing import CliRunner
from authentic_dubber.cli import app

told = []
for words in json.loads(sys.argv[1]):
    done = CliRunner().invoke(app, words)
    told.append([done.exit_code, done.output, "torch" in sys.modules])
print("TOLD" + json.dumps(told))
"""


def asked(*commands: list[object]) -> list[tuple[int, str, bool]]:
    """Exit code, output, and whether torch was loaded by then; all in one process, which starts without it."""
    words = json.dumps([[str(word) for word in command] for command in commands])
    done = subprocess.run(
        [sys.executable, "-c", ASK, words], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return [(code, output, torch) for code, output, torch in json.loads(done.stdout.rpartition("TOLD")[2])]


def test_mistaken_arguments_are_refused_without_torch(tmp_path: Path) -> None:
    film, script, voice, library = (tmp_path / name for name in ("film.mp4", "film.csv", "ada.wav", "lib"))
    write_video(film, [np.zeros((16, 16, 3), dtype=np.uint8)] * 5, 5)
    write_wave(voice, np.zeros(800, dtype=np.float32), 8000)
    script.write_text("start,end,character,text\n0.1,0.9,Ada,Hello.\n")
    emotion = Emotion("light-audio-v1/2", np.array([1, 0], dtype=np.float32))
    commit(library, [Clip("a", "a.mp4", 0.0, 1.0, "", "", "film", emotions={"audio": emotion})])
    no = tmp_path / "nowhere"
    out = ["--out", tmp_path / "out"]
    say = ["say", film, "--script", script, "--voice", f"Ada={voice}", "--library", library, *out]
    search = ["library", "search", library]
    expected: list[tuple[list[object], str]] = [
        (["say", film, "--script", no, *say[4:]], "expected a cue sheet"),
        ([*say, "--voice", f"Ben={no}"], "expected the voice prompt of Ben"),
        ([*say[:6], "--library", no, *out], "expected a library"),
        ([*say, "--checkpoint", no], "expected a checkpoint folder"),
        ([*say, "--vocoder", no], "expected the folder of a vocoder"),
        ([*say, "--lexicon", no], "nowhere"),
        ([*say, "--model-dir", no], "expected a folder with video_llm/"),
        ([*say, "--bed", "keep"], "has no sound to keep"),
        ([*say, "-k", -1], "expected k >= 0"),
        (["library", "search", no, "--text", "hello"], "expected a library"),
        (search, "expected --clip, --text, --picture or --sound"),
        ([*search, "--text", "hello", "-k", 0], "expected k >= 1"),
        ([*search, "--text", "hello", "--dump", "hits.txt"], "expected to dump to"),
        ([*search, "--sound", no], "expected a file to search with"),
        (["library", "gc", no], "expected a library"),
        (["library", "build", library, "--footage", no], "expected footage"),
        (
            ["library", "build", library, "--footage", film, "--model-dir", tmp_path],
            "made of models beside --model-dir",
        ),
        (["library", "reextract", no, "--modality", "text"], "expected a library"),
        (["evaluate", tmp_path / "run", "--set", no], "expected an evaluation set"),
        (["evaluate", tmp_path / "run", "--set", no, "--measures", "taste"], "known measures are"),
        (["sweep", ROOT / "recipes/studies/k.json", "--corpus", no, "--set", no, *out], "expected a prepared corpus"),
        (["prepare", tmp_path, no], "expected a folder kathleen"),
        (["train", tmp_path, tmp_path / "run"], "expected a prepared corpus"),
    ]
    found = asked(*(words for words, _ in expected), [*search, "--clip", "a", "-k", 1])
    for (words, why), (code, output, torch) in zip(expected, found, strict=False):
        assert code == 2 and why in output and output.count("\n") == 1, (words, output)
        assert not torch, words
    code, output, torch = found[-1]
    assert code == 0 and not torch, "a clip of the library asks without readers"
