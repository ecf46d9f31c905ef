"""What `dub` does before any work: its start, its help, its exit codes, its doctor."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from authentic_dubber.cli import app
from authentic_dubber.commands.say import parse_voices
from authentic_dubber.doctor import examine, healthy
from authentic_dubber.exits import INTERRUPTED, REFUSED
from authentic_dubber.librarian import find_videos


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "DUB_RELAUNCHED")}
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=inherited | environment,
        cwd=Path(__file__).parents[1],
    )


PEEK = (
    "import os, sys\n"
    "from authentic_dubber import cli, launcher\n"
    "cli.app = lambda **_: print(os.environ.get('OMP_WAIT_POLICY'), 'torch' in sys.modules)\n"
    "launcher.main()\n"
)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no exec; the variable alone is set there")
def test_the_launcher_sets_the_wait_policy_before_torch_is_imported(tmp_path: Path) -> None:
    script = tmp_path / "peek.py"
    script.write_text(PEEK, encoding="utf-8")
    root = str(Path(__file__).parents[1])
    assert python(str(script), PYTHONPATH=root).stdout.split() == ["PASSIVE", "False"]


def test_the_launcher_leaves_the_users_own_policy_alone(tmp_path: Path) -> None:
    script = tmp_path / "peek.py"
    script.write_text(PEEK, encoding="utf-8")
    root = str(Path(__file__).parents[1])
    assert python(str(script), PYTHONPATH=root, OMP_WAIT_POLICY="ACTIVE").stdout.split()[0] == "ACTIVE"


def test_the_policy_is_in_the_environment_that_the_process_starts_with() -> None:
    """Only what is there at the start reaches a library loaded before us; Linux shows it in /proc."""
    if not Path("/proc/self/environ").exists():
        pytest.skip("no /proc on this system")
    code = (
        "from authentic_dubber.launcher import settle_threads; settle_threads(); "
        "print(b'OMP_WAIT_POLICY=PASSIVE' in open('/proc/self/environ','rb').read())"
    )
    assert python("-c", code).stdout.split() == ["True"]


def test_no_help_page_imports_anything_heavy() -> None:
    code = """
import sys
from typer.main import get_command
from typer.testing import CliRunner
from authentic_dubber.cli import app

def pages(command, path):
    yield path
    for name, below in getattr(command, "commands", {}).items():
        yield from pages(below, [*path, name])

for path in pages(get_command(app), []):
    result = CliRunner().invoke(app, [*path, "--help"])
    assert result.exit_code == 0 and "Usage" in result.output, (path, result.output)
    print(" ".join(path) or "dub")
heavy = {"torch", "cv2", "av", "librosa", "faiss", "lmdb", "matplotlib", "scipy", "transformers"} & set(sys.modules)
assert not heavy, heavy
"""
    result = python("-c", code)
    assert result.returncode == 0, result.stderr
    assert {"dub", "say", "demo", "doctor", "library", "library build", "library search"} <= set(
        result.stdout.splitlines()
    )


def test_the_top_help_documents_the_exit_codes() -> None:
    output = CliRunner().invoke(app, ["--help"]).output
    assert all(re.search(rf"\b{code}\b", output) for code in (0, 1, 2, 3, 130))


@pytest.mark.parametrize(
    "arguments",
    [
        ["library", "info", "nowhere"],
        ["library", "build", "lib", "--footage", "nowhere"],
        ["library", "search", "nowhere", "--clip", "a", "--text", "b"],
        ["say", "v.mp4", "--script", "s.srt", "--voice", "Ada", "--out", "o"],
        ["say", "v.mp4", "--script", "s.srt", "--voice", "Ada=nowhere.wav", "--out", "o"],
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(arguments: list[str], tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == REFUSED
    assert result.stderr.startswith("dub: ") and result.stderr.count("\n") == 1, result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_bug_is_not_dressed_up_as_a_mistake(monkeypatch: Any) -> None:
    def broken() -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("authentic_dubber.doctor.examine", broken)
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 1 and isinstance(result.exception, RuntimeError)


def test_an_interrupt_ends_in_130(monkeypatch: Any) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("authentic_dubber.doctor.examine", interrupted)
    assert CliRunner().invoke(app, ["doctor"]).exit_code == INTERRUPTED


def test_the_doctor_names_what_is_missing_and_its_cure(monkeypatch: Any) -> None:
    from importlib.util import find_spec as real

    def blind(name: str) -> Any:
        return None if name == "faiss" else real(name)

    monkeypatch.setattr("authentic_dubber.doctor.find_spec", blind)
    findings = {finding.name: finding for finding in examine()}
    assert findings["faiss-cpu"].state == "missing" and "pip install" in findings["faiss-cpu"].cure
    assert "faiss-cpu" in findings["faiss-cpu"].cure and not healthy(list(findings.values()))
    assert findings["torch"].state == "ok"


def test_voices_are_parsed_and_refused(tmp_path: Path) -> None:
    prompt = tmp_path / "a=b.wav"
    prompt.touch()
    assert parse_voices([f"Ada Lovelace={prompt}"]) == {"Ada Lovelace": prompt}
    with pytest.raises(ValueError, match="two for ADA"):
        parse_voices([f"Ada={prompt}", f"ADA={prompt}"])


def test_folders_are_walked_for_videos_and_files_taken_as_they_are(tmp_path: Path) -> None:
    for name in ("b.mp4", "a.MKV", "notes.txt", "odd.bin"):
        (tmp_path / name).touch()
    assert [path.name for path in find_videos([tmp_path])] == ["a.MKV", "b.mp4"]
    assert [path.name for path in find_videos([tmp_path / "odd.bin", tmp_path])] == ["odd.bin", "a.MKV", "b.mp4"]
    with pytest.raises(FileNotFoundError, match="nowhere"):
        find_videos([tmp_path / "nowhere"])
