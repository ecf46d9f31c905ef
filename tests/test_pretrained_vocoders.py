"""Published vocoders as they are released: a config and a torch file, with either weight norm, whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import nn

from authentic_dubber.checkpoint import choose_checkpoint
from authentic_dubber.dubber import Dubber
from vocoder.bigvgan import BigvganConfig, BigvganGenerator
from vocoder.checkpoint import save_generator
from vocoder.generator import IstftConfig, IstftGenerator
from vocoder.hifigan import HifiganConfig, HifiganGenerator
from vocoder.mel import MelConfig
from vocoder.pretrained import digest_of, load_official, load_vocoder

MEL = MelConfig()
OFFICIAL_MEL = {
    "num_mels": 80, "n_fft": 1024, "hop_size": 256, "win_size": 1024, "sampling_rate": 22050, "fmin": 0, "fmax": 8000,
}  # fmt: skip
TRAINING = {"batch_size": 16, "learning_rate": 0.0002, "num_freq": 1025, "fmax_for_loss": None, "dist_config": {}}
"""What official configs hold besides, and a generator has no use for."""
Normed = HifiganGenerator | BigvganGenerator


def mel(frames: int) -> torch.Tensor:
    return torch.randn(1, MEL.n_mels, frames, generator=torch.Generator().manual_seed(frames))


def toy(kind: str, resblock: Literal[1, 2] = 1) -> Normed:
    torch.manual_seed(3)
    if kind == "hifigan":
        return HifiganGenerator(HifiganConfig.tiny(resblock), MEL).eval()
    generator = BigvganGenerator(BigvganConfig.tiny(resblock), MEL).eval()
    for name, weight in generator.named_parameters():
        if name.endswith(("alpha", "beta")):
            weight.data.add_(0.3 * torch.randn_like(weight))
    return generator


def add_weight_norm(generator: Normed, present: bool) -> None:
    """Torch's own, in place; its lengths are changed, so that they matter."""
    for layer in list(generator.modules()):
        if not isinstance(layer, nn.Conv1d | nn.ConvTranspose1d):
            continue
        if present:
            nn.utils.parametrizations.weight_norm(layer)
            gain = layer.get_parameter("parametrizations.weight.original0").data
        else:
            with pytest.warns(FutureWarning):
                torch.nn.utils.weight_norm(layer)
            gain = layer.get_parameter("weight_g").data
        gain.mul_(1 + torch.rand_like(gain))


def release(folder: Path, generator: Normed, name: str = "generator_v1", **changed: Any) -> Path:
    """A folder as it is published."""
    folder.mkdir(parents=True, exist_ok=True)
    values = {**generator.config.to_dict(), **OFFICIAL_MEL, **TRAINING, "resblock": str(generator.config.resblock)}
    (folder / "config.json").write_text(json.dumps({**values, **changed}))
    torch.save({"generator": generator.state_dict()}, folder / name)
    return folder


@pytest.mark.parametrize("present", [False, True], ids=["first weight norm", "present weight norm"])
@pytest.mark.parametrize("resblock", [1, 2])
@pytest.mark.parametrize(("kind", "name"), [("hifigan", "generator_v1"), ("bigvgan", "bigvgan_generator.pt")])
def test_a_release_with_weight_norm_sounds_as_torchs_own_weight_norm(
    tmp_path: Path, kind: str, name: str, resblock: Literal[1, 2], present: bool
) -> None:
    normed = toy(kind, resblock)
    add_weight_norm(normed, present)
    release(tmp_path / "published", normed, name)
    plain = load_vocoder(tmp_path / "published", MEL)
    assert type(plain) is type(normed) and plain.config == normed.config
    assert "conv_pre.weight" in plain.state_dict() and "conv_pre.weight" not in normed.state_dict()
    with torch.no_grad():
        torch.testing.assert_close(plain(mel(7)), normed(mel(7)), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("shape", ["v1", "v2", "v3"])
def test_the_published_hifigan_configs_are_read(tmp_path: Path, shape: str) -> None:
    """Full size, as far as the weights: those are not here, and the error names the file that is missing."""
    config = getattr(HifiganConfig, shape)()
    with torch.device("meta"):
        generator = HifiganGenerator(config, MEL)
    values = {**config.to_dict(), **OFFICIAL_MEL, "resblock": str(config.resblock)}
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(FileNotFoundError, match=r"expected weights named .*generator_\*, g_\*, found none"):
        load_official(tmp_path)
    state = {name: torch.zeros(()).expand(value.shape) for name, value in generator.state_dict().items()}
    torch.save({"generator": state}, tmp_path / f"generator_{shape}")
    loaded = load_official(tmp_path, MEL)
    assert loaded.config == config


def test_bigvgans_own_names_at_full_size_are_known(tmp_path: Path) -> None:
    config = BigvganConfig.v2_22khz()
    with torch.device("meta"):
        generator = BigvganGenerator(config, MEL)
    values = {**config.to_dict(), **OFFICIAL_MEL, "resblock": "1"}
    (tmp_path / "config.json").write_text(json.dumps(values))
    state = {name: torch.zeros(()).expand(value.shape) for name, value in generator.state_dict().items()}
    torch.save({"generator": state}, tmp_path / "bigvgan_generator.pt")
    loaded = load_vocoder(tmp_path, MEL)
    assert isinstance(loaded, BigvganGenerator) and loaded.config == config


def test_one_changed_weight_is_another_sound_and_another_digest(tmp_path: Path) -> None:
    generator = toy("bigvgan")
    first = release(tmp_path / "first", generator, "g_05000000")
    with torch.no_grad():
        generator.conv_pre.weight[0, 0, 0] += 1
    second = release(tmp_path / "second", generator, "g_05000000")
    assert not torch.equal(load_vocoder(first)(mel(4)), load_vocoder(second)(mel(4)))
    assert digest_of(first) != digest_of(second) == digest_of(second / "g_05000000")


def test_a_folder_of_our_own_is_read_too(tmp_path: Path) -> None:
    save_generator(tmp_path / "ours", IstftGenerator(IstftConfig.tiny(), MEL))
    assert isinstance(load_vocoder(tmp_path / "ours", MEL), IstftGenerator)
    assert len(digest_of(tmp_path / "ours")) == 64


def test_other_mels_are_refused_by_name(tmp_path: Path) -> None:
    generator = toy("bigvgan")
    release(tmp_path / "wide", generator, "g_1", fmax=None)
    with pytest.raises(ValueError, match=r"mel configs differ: expected f_max=8000\.0, got f_max=11025\.0"):
        load_vocoder(tmp_path / "wide", MEL)
    release(tmp_path / "fast", generator, "g_1", sampling_rate=24000, num_mels=100)
    with pytest.raises(ValueError, match=r"expected sample_rate=22050, n_mels=80, got sample_rate=24000, n_mels=100"):
        load_vocoder(tmp_path / "fast", MEL)


def test_a_file_cut_short_is_one_line(tmp_path: Path) -> None:
    folder = release(tmp_path / "cut", toy("hifigan"))
    whole = (folder / "generator_v1").read_bytes()
    for kept in (0, 100, len(whole) // 2):
        (folder / "generator_v1").write_bytes(whole[:kept])
        with pytest.raises(ValueError, match=r"generator_v1: expected a whole torch file of tensors") as caught:
            load_vocoder(folder)
        assert "\n" not in str(caught.value)


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    folder = release(tmp_path / "mixed", toy("bigvgan"), "g_1")
    torch.save({"generator": toy("hifigan").state_dict()}, folder / "g_1")
    with pytest.raises(ValueError, match=r"g_1: BigVGAN weights: expected exactly this model's weights, missing"):
        load_vocoder(folder)
    narrow = release(tmp_path / "narrow", toy("hifigan"), upsample_initial_channel=16)
    with pytest.raises(ValueError, match=r"HiFi-GAN weights: expected conv_\w+\.\w+ \(.*\), got \("):
        load_vocoder(narrow)
    torch.save({"generator": {"conv_pre.weight_g": torch.ones(1)}}, narrow / "generator_v1")
    with pytest.raises(ValueError, match=r"expected conv_pre\.weight_v beside conv_pre\.weight_g"):
        load_vocoder(narrow)
    torch.save({"mpd": {}}, narrow / "generator_v1")
    with pytest.raises(ValueError, match=r"expected a mapping with 'generator', a state dict; got \['mpd'\]"):
        load_vocoder(narrow)


def test_folders_that_are_no_release_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"expected a checkpoint folder with config\.json"):
        load_vocoder(tmp_path / "none")
    (tmp_path / "config.json").write_text('{"model_type": "roberta"}')
    with pytest.raises(ValueError, match="expected an official vocoder's config with sampling_rate"):
        load_vocoder(tmp_path)
    folder = release(tmp_path / "two", toy("hifigan"))
    (folder / "generator_v2").write_bytes((folder / "generator_v1").read_bytes())
    (folder / "do_1").write_bytes(b"the critics, which are none of our business")
    with pytest.raises(ValueError, match="expected one file of weights, got generator_v1, generator_v2"):
        load_vocoder(folder)
    assert isinstance(load_vocoder(folder / "generator_v2", MEL), HifiganGenerator)
    release(folder, toy("hifigan"), upsample_rates=[16])
    with pytest.raises(ValueError, match="expected the config of a HiFi-GAN or a BigVGAN, got expected one kernel"):
        load_vocoder(folder / "generator_v1")


def test_a_dubber_speaks_through_a_release_and_says_so(tmp_path: Path) -> None:
    """The shipped acoustic model, another vocoder: another checkpoint by name, and a note on licences."""
    folder = release(tmp_path / "bigvgan", toy("bigvgan"), "bigvgan_generator.pt")
    plain, spoken = Dubber.load(device="cpu"), Dubber.load(device="cpu", vocoder=folder)
    assert isinstance(spoken.vocoder, BigvganGenerator)
    assert plain.checkpoint != spoken.checkpoint and len(spoken.checkpoint) == 16
    assert spoken.card.facts["vocoder"] == {"name": "bigvgan", "sha256": digest_of(folder)}
    assert plain.notice in spoken.notice and spoken.notice.endswith("whose licence is its own (bigvgan).")
    release(tmp_path / "bigvgan", toy("bigvgan"), "bigvgan_generator.pt", fmax=None)
    with pytest.raises(ValueError, match=r"mel configs differ: expected f_max=8000\.0, got f_max=11025\.0"):
        Dubber.load(device="cpu", vocoder=folder)
    with pytest.raises(ValueError, match="without a vocoder of unknown licence"):
        choose_checkpoint(commercial_only=True, vocoder=folder)
