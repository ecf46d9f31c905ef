"""Where pretrained models are found, what is kept of them, and what is refused before anything is loaded."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from library_builder.extractors import decisive, licences
from library_builder.pretrained import ModelError, find_model
from library_builder.pretrained.source import facts_of


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "roberta"}')
    save_file({"a": torch.arange(12.0)}, folder / "model.safetensors")
    return folder


def test_a_folder_says_what_it_is(model: Path) -> None:
    weights = model / "model.safetensors"
    found = find_model(model)
    assert found.sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert (found.name, found.revision, found.licence) == ("model", "unknown", "unknown")
    assert found.weight_files == (weights,)
    (model / "LICENSE").write_text("\n  MIT License\n\nCopyright\n")
    assert find_model(model).licence == "MIT License"
    (model / "README.md").write_text("---\nlanguage: en\nlicense: other\nlicense_name: film-only\n---\n# A model\n")
    assert find_model(model).licence == "film-only", "the card goes before the file"


def test_every_file_of_weights_counts_wherever_the_folder_lies(model: Path) -> None:
    one = find_model(model).sha256
    (model / "part").mkdir()
    save_file({"b": torch.zeros(3)}, model / "part" / "more.safetensors")
    two = find_model(model).sha256
    moved = model.rename(model.parent / "moved")
    assert one != two == find_model(moved).sha256
    save_file({"b": torch.ones(3)}, moved / "part" / "more.safetensors")
    assert find_model(moved).sha256 != two, "changed weights are other weights"
    (moved / ".cache").mkdir()
    (moved / ".cache" / "half.bin").write_bytes(b"x")
    assert len(find_model(moved).weight_files) == 2


def test_a_folder_of_the_hub_knows_its_revision(model: Path, tmp_path: Path) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    note = model / ".cache" / "huggingface" / "download" / "config.json.metadata"
    note.parent.mkdir(parents=True)
    note.write_text(f"{commit}\netag\n1.0\n")
    assert find_model(model, revision=commit).revision == commit
    with pytest.raises(ModelError, match=f"expected revision main, got {commit}"):
        find_model(model, revision="main")
    snapshot = tmp_path / "snapshots" / commit[::-1]
    snapshot.parent.mkdir()
    model.rename(snapshot)
    assert find_model(snapshot).revision == commit[::-1]


def test_what_is_cut_short_is_refused_before_it_is_loaded(model: Path) -> None:
    weights = model / "model.safetensors"
    whole = weights.read_bytes()
    for cut in (whole[:-1], whole[:40], whole[:4], whole + b"\0"):
        weights.write_bytes(cut)
        with pytest.raises(ModelError, match=r"model\.safetensors: expected a whole file"):
            find_model(model)
    weights.write_bytes(whole[:8] + b"no json" + whole[15:])
    with pytest.raises(ModelError, match="header of safetensors"):
        find_model(model)
    weights.write_bytes(b"")
    with pytest.raises(ModelError, match="empty file"):
        find_model(model)
    weights.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n")
    with pytest.raises(ModelError, match="pointer of git-lfs"):
        find_model(model)


def test_what_is_missing_is_named(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"expected tokenizer\.json among the files of model"):
        find_model(model, needed=("config.json", "tokenizer.json"))
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match=r"expected model-00001-of-00002\.safetensors"):
        find_model(model)
    for named in ({"a": "../outside.safetensors"}, {"a": "/outside.safetensors"}, ["outside.safetensors"]):
        (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": named}))
        with pytest.raises(ModelError, match="expected files of weights by name in weight_map"):
            find_model(model)
    with pytest.raises(ModelError, match="expected the folder of a model, there is none"):
        find_model(tmp_path / "nowhere")
    (tmp_path / "bare").mkdir()
    with pytest.raises(ModelError, match=r"expected weights \(\.safetensors, .*\), got none"):
        find_model(tmp_path / "bare", needed=())


@pytest.mark.pretrained
@pytest.mark.parametrize("fetch", [False, True], ids=["not asked", "asked, but offline"])
def test_a_hub_name_without_a_network_tells_what_to_do(
    fetch: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=r"nobody/nothing: .*hf download nobody/nothing\), or put its files") as told:
        find_model("nobody/nothing", fetch=fetch)
    assert "\n" not in str(told.value)


@pytest.mark.pretrained
def test_a_model_in_the_hubs_cache_is_found_by_its_name(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = pytest.importorskip("huggingface_hub")
    commit = "89abcdef" * 5
    cached = tmp_path / "hub" / "models--some--model"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text(commit)
    (cached / "snapshots").mkdir()
    model.rename(cached / "snapshots" / commit)
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    found = find_model("some/model")
    assert (found.name, found.revision) == ("some/model", commit)


def test_facts_tell_more_than_they_decide(model: Path) -> None:
    facts = facts_of({"classifier": find_model(model)}, "prompts-v1 fp32")
    renamed = facts_of({"classifier": find_model(model.rename(model.parent / "other"))}, "prompts-v1 fp32")
    assert facts != renamed and decisive(facts) == decisive(renamed)
    assert set(decisive(facts)) == {"weights", "settings"}
    assert licences({"text": facts}) == {f"model {facts['classifier.sha256'][:8]}": "unknown"}
