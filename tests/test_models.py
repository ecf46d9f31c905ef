"""Published models: a table that says what it knows, seals that notice one byte, one line where no network is."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from typer.testing import CliRunner

from authentic_dubber import doctor
from authentic_dubber.cli import app
from authentic_dubber.model_seals import ModelFetchError, fetch, verify, write_seal
from authentic_dubber.models import KNOWN, SEAL, KnownModel, known, model_folder, standing
from library_builder.pretrained.source import find_model
from vocoder.bigvgan import BigvganConfig, BigvganGenerator
from vocoder.mel import MelConfig

RUN = CliRunner()
OFFICIAL_MEL = {
    "num_mels": 80, "n_fft": 1024, "hop_size": 256, "win_size": 1024, "sampling_rate": 22050, "fmin": 0, "fmax": 8000,
}  # fmt: skip


def toy_bigvgan(folder: Path) -> Path:
    folder.mkdir(parents=True)
    generator = BigvganGenerator(BigvganConfig.tiny(), MelConfig())
    values = {**generator.config.to_dict(), **OFFICIAL_MEL, "resblock": "1"}
    (folder / "config.json").write_text(json.dumps(values))
    torch.save({"generator": generator.state_dict()}, folder / "bigvgan_generator.pt")
    return folder


def toy_roberta(folder: Path, kind: str = "roberta") -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": kind}))
    save_file({"weight": np.ones(8, np.float32)}, folder / "model.safetensors")
    return folder


def test_the_table_is_whole() -> None:
    names, places = [one.name for one in KNOWN], [one.place for one in KNOWN]
    assert len(set(names)) == len(names) and len(set(places)) == len(places)
    assert {"video_llm", "roberta", "comet", "emotion2vec", "lips", "bigvgan", "hifigan"} <= set(places)
    for one in KNOWN:
        assert one.licence and one.use and one.files
        assert bool(one.modules) == bool(one.extra), f"{one.name}: what is not installed needs a cure"
        assert known(one.place) is known(one.source) is one
    with pytest.raises(ValueError, match=r"known models are video-llm, roberta.*; got 'gpt'"):
        known("gpt")


def test_extras_that_are_named_exist() -> None:
    project = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    extras = re.findall(r"^(\w+) = \[", project.partition("[project.optional-dependencies]")[2], flags=re.MULTILINE)
    assert {one.extra for one in KNOWN} <= {"", *extras}


def test_the_folder_is_the_one_given_then_the_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DUB_MODELS", str(tmp_path / "named"))
    assert model_folder(tmp_path) == tmp_path and model_folder() == tmp_path / "named"
    monkeypatch.delenv("DUB_MODELS")
    assert model_folder().parts[-2:] == ("authentic-dubber", "models")


def test_a_model_is_usable_when_its_files_and_packages_are_there(tmp_path: Path) -> None:
    bigvgan = known("bigvgan")
    before = standing(bigvgan, tmp_path)
    assert before.missing_files == ("config.json", "bigvgan_generator.pt") and not before.usable
    assert f"dub models fetch bigvgan, or put the files of {bigvgan.source} into" in before.cure
    toy_bigvgan(tmp_path / "bigvgan")
    after = standing(bigvgan, tmp_path)
    assert after.usable and after.cure == "" and not after.sealed
    lacking = KnownModel(
        "x", "a/b", True, ("config.json",), "MIT", "x", "x", "torch", (), ("no_such_module",), "pretrained"
    )
    assert 'pip install "authentic-dubber[pretrained]"' in standing(lacking, tmp_path).cure


def test_the_doctor_tells_of_each_model_and_stays_healthy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUB_MODELS", str(tmp_path))
    write_seal(known("bigvgan"), toy_bigvgan(tmp_path / "bigvgan"))
    findings = {one.name: one for one in doctor.examine()}
    assert findings["model bigvgan"].state == "ok" and findings["model bigvgan"].found.endswith("sealed")
    assert (
        findings["model lips"].state == "absent" and "put *.pth*, *.json of github.com" in findings["model lips"].cure
    )
    assert doctor.healthy([one for name, one in findings.items() if name.startswith("model ")])


# Seals.


def test_a_seal_notices_every_change(tmp_path: Path) -> None:
    model, folder = known("bigvgan"), toy_bigvgan(tmp_path / "bigvgan")
    assert verify(model, folder).troubles == () and not verify(model, folder).sealed
    write_seal(model, folder)
    assert verify(model, folder).troubles == () and verify(model, folder).sealed
    weights = folder / "bigvgan_generator.pt"
    whole = weights.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    weights.write_bytes(bytes(flipped))
    assert verify(model, folder).troubles == ("bigvgan_generator.pt: its bytes are not those that were sealed",)
    weights.write_bytes(whole[:-5])
    assert verify(model, folder).troubles == (
        f"bigvgan_generator.pt: expected {len(whole)} bytes, got {len(whole) - 5}",
    )
    weights.write_bytes(whole)
    (folder / "later.txt").write_text("x")
    assert verify(model, folder).troubles == ("later.txt: expected no such file, it came later",)
    (folder / "later.txt").unlink()
    seal = (folder / SEAL).read_text()
    (folder / SEAL).write_text(seal.replace('"licence": "MIT', '"licence": "CC0'))
    assert verify(model, folder).troubles == (f"{SEAL}: was altered: its own checksum does not fit what it says",)
    (folder / SEAL).write_text("{}")
    assert "expected a seal of checksums" in verify(model, folder).troubles[0]


def test_other_architectures_and_files_cut_short_are_told(tmp_path: Path) -> None:
    model = known("roberta")
    assert verify(model, toy_roberta(tmp_path / "roberta")).troubles == ()
    wrong = verify(model, toy_roberta(tmp_path / "wrong", "bert")).troubles
    assert wrong == ("config.json: expected model_type roberta, got 'bert'",)
    path = tmp_path / "roberta" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    assert "model.safetensors: expected a whole file of safetensors" in verify(model, tmp_path / "roberta").troubles[0]
    (tmp_path / "roberta" / "config.json").unlink()
    assert verify(model, tmp_path / "roberta").troubles[0] == "config.json: expected such a file, there is none"
    vocoder = toy_bigvgan(tmp_path / "bigvgan")
    (vocoder / "bigvgan_generator.pt").write_bytes(b"no torch file")
    assert "expected a whole torch file" in verify(known("bigvgan"), vocoder).troubles[0]
    with pytest.raises(FileNotFoundError, match="expected the files of comet, there are none: dub models fetch comet"):
        verify(known("comet"), tmp_path / "comet")


# Fetching.


class Hub:
    """Stands where the hub's client does: files come out of a folder, or nothing comes at all."""

    def __init__(self, release: Path | None) -> None:
        self.release = release

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        module = ModuleType("huggingface_hub")
        hub = self

        class HfApi:
            def model_info(self, name: str, **options: Any) -> SimpleNamespace:
                if hub.release is None:
                    raise ConnectionError("no route to host")
                return SimpleNamespace(sha="c0ffee")

        def snapshot_download(name: str, *, revision: str, local_dir: Path, allow_patterns: list[str]) -> str:
            assert revision == "c0ffee" and hub.release is not None
            local_dir.mkdir(parents=True, exist_ok=True)
            for path in hub.release.iterdir():
                (local_dir / path.name).write_bytes(path.read_bytes())
            return str(local_dir)

        module.HfApi, module.snapshot_download = HfApi, snapshot_download  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "huggingface_hub", module)


def test_what_is_fetched_is_sealed_with_its_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Hub(toy_bigvgan(tmp_path / "release")).install(monkeypatch)
    model = known("bigvgan")
    folder = fetch(model, tmp_path / "models")
    seal = json.loads((folder / SEAL).read_text())
    assert (seal["revision"], seal["source"], seal["licence"]) == ("c0ffee", model.source, model.licence)
    assert set(seal["files"]) == {"config.json", "bigvgan_generator.pt"}
    assert verify(model, folder).troubles == () and verify(model, folder).sealed
    with pytest.raises(FileExistsError, match="expected no files of bigvgan yet"):
        fetch(model, tmp_path / "models")
    source = find_model(folder)
    assert (source.revision, source.licence) == ("c0ffee", model.licence), "what a manifest keeps is what was fetched"


def test_a_release_without_its_weights_takes_no_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = toy_bigvgan(tmp_path / "release")
    (release / "bigvgan_generator.pt").unlink()
    Hub(release).install(monkeypatch)
    with pytest.raises(ModelFetchError, match=r"expected bigvgan_generator\.pt among its files, got none"):
        fetch(known("bigvgan"), tmp_path / "models")
    assert not (tmp_path / "models" / "bigvgan").exists()


def test_no_network_is_one_line_that_says_what_goes_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Hub(None).install(monkeypatch)
    done = RUN.invoke(app, ["models", "fetch", "roberta", "--model-dir", str(tmp_path)])
    told = done.stderr.strip()
    assert done.exit_code == 2 and "\n" not in told
    assert "expected a network to fetch j-hartmann/emotion-english-roberta-large from, got ConnectionError" in told
    assert told.endswith(f"into {tmp_path / 'roberta'}") and "model.safetensors" in told
    assert not (tmp_path / "roberta").exists()


def test_no_client_names_its_cure_and_what_is_no_hubs_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r'pip install "authentic-dubber\[pretrained\]"'):
        fetch(known("bigvgan"), tmp_path)
    with pytest.raises(
        ModelFetchError, match=r"to be had by hand: put config\.json, g\* of github\.com/jik876/hifi-gan"
    ):
        fetch(known("hifigan"), tmp_path)


# The command.


def test_the_command_lists_verifies_and_seals(tmp_path: Path) -> None:
    toy_bigvgan(tmp_path / "bigvgan")
    listed = json.loads(RUN.invoke(app, ["models", "list", "--model-dir", str(tmp_path), "--json"]).stdout)
    assert {row["name"] for row in listed if row["usable"]} == {"bigvgan"}
    first = RUN.invoke(app, ["models", "verify", "--model-dir", str(tmp_path)])
    assert first.exit_code == 0 and "2 files, whole, no seal to compare with" in first.stdout
    assert "sealed now" in RUN.invoke(app, ["models", "verify", "--seal", "--model-dir", str(tmp_path)]).stdout
    assert "whole, as sealed" in RUN.invoke(app, ["models", "verify", "bigvgan", "--model-dir", str(tmp_path)]).stdout
    with (tmp_path / "bigvgan" / "config.json").open("a") as file:
        file.write(" ")
    broken = RUN.invoke(app, ["models", "verify", "--model-dir", str(tmp_path)])
    assert broken.exit_code == 1 and "config.json: expected" in broken.stdout


def test_listing_loads_nothing_heavy() -> None:
    code = (
        "import sys; from authentic_dubber.models import KNOWN, SEAL, model_folder, standing; "
        "[standing(one, model_folder()) for one in KNOWN]; "
        "assert not {'torch', 'transformers', 'huggingface_hub'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, env={**os.environ})
