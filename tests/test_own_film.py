"""The page on your own film, command by command, on a film that the theatre draws."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from authentic_dubber.espeak import Espeak
from authentic_dubber.theatre.demo import make_demo
from library_builder.cues import read_cues

PAGE = (Path(__file__).parents[1] / "docs" / "your_own_film.md").read_text(encoding="utf-8")
COMMANDS = [
    line
    for block in re.findall(r"```\n(.*?)```", PAGE, flags=re.DOTALL)
    for line in block.splitlines()
    if line.startswith("dub ")
]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of the page's names: two films with subtitles of two kinds, a silent scene, its script, two voices."""
    root = tmp_path_factory.mktemp("desk")
    with Espeak() as espeak:
        demo = make_demo(root / "drawn", seed=5, espeak=espeak, size=(96, 160), fps=12.5, lines=4)
    (root / "films").mkdir()
    for number, media in enumerate(demo.footage[:2], start=1):
        media.rename(root / "films" / f"lantern-{number}.mp4")
        cues = read_cues(media.with_suffix(".csv")).cues
        if number == 1:
            blocks = [f"{n}\n{_clock(c.start)} --> {_clock(c.end)}\nADA: {c.text}\n" for n, c in enumerate(cues, 1)]
            (root / "films" / "lantern-1.srt").write_text("\n".join(blocks), encoding="utf-8")
        else:
            media.with_suffix(".csv").rename(root / "films" / "lantern-2.csv")
    demo.scene.rename(root / "scene.mp4")
    names = dict(zip(demo.prompts, ("Ada", "Ben"), strict=True))
    with demo.script.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with (root / "scene.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows({**row, "character": names[row["character"]]} for row in rows)
    for name, prompt in demo.prompts.items():
        prompt.rename(root / f"{names[name].lower()}.wav")
    return root


def _clock(seconds: float) -> str:
    whole, milliseconds = divmod(round(1000 * seconds), 1000)
    return f"00:{whole // 60:02d}:{whole % 60:02d},{milliseconds:03d}"


def test_the_page_has_a_command_for_every_step() -> None:
    verbs = [" ".join(command.split()[1:3]) for command in COMMANDS]
    steps = ["doctor", "library build", "library search", "say scene.mp4", "models list"]
    assert [step for step in steps if not any(verb.startswith(step) for verb in verbs)] == []


@pytest.mark.slow
def test_every_command_of_the_page_works_in_order(desk: Path) -> None:
    root = Path(__file__).parents[1]
    path = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "DUB_MODELS": str(desk / "models"), "OMP_WAIT_POLICY": "PASSIVE"}
    for command in COMMANDS:
        done = subprocess.run(
            [sys.executable, "-m", "authentic_dubber.launcher", *shlex.split(command)[1:]],
            cwd=desk, env=environment, capture_output=True, text=True, timeout=900, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    takes = json.loads((desk / "out" / "scene" / "takes.json").read_text(encoding="utf-8"))
    assert "angry" in json.dumps(takes) and (desk / "out" / "scene" / "report.html").is_file()
    assert (desk / "hits.csv").is_file() and (desk / "out" / "plain" / "mix.wav").is_file()
