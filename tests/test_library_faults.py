"""The recipes that harm a library, and read it under writers, in small; the README has what they print in full."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run(recipe: str, *options: str) -> dict:
    command = [sys.executable, f"recipes/{recipe}", "--json", *options]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_killed_writers_flipped_bytes_and_a_full_disk_are_survived() -> None:
    counts = run("library_faults.py", "--kills", "10", "--flips", "8", "--clips", "80")
    assert set(counts["kills"].values()) == {2} and counts["between_write_and_rename"] >= 2
    assert (
        counts["done_but_read_again"]
        == counts["not_whole"]
        == counts["different_after_again"]
        == counts["orphans"]
        == 0
    )
    assert counts["flips_found"] == counts["flips"] == 8
    assert counts["disk_full_survived"] and "library" in counts["disk_full_error"]


def test_readers_are_not_disturbed_by_writers() -> None:
    reads = run("library_readers.py", "--readers", "3", "--versions", "5", "--clips", "100", "--pause", "0.1")
    assert reads["errors"] == {} and reads["torn"] == 0 and reads["versions_read"] > 2 and reads["outlived"] > 0
