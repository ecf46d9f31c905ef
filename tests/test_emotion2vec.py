"""emotion2vec through FunASR's own class, at toy size: saved to a folder, loaded, and heard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from library_builder.audio import AudioReader
from library_builder.pretrained import find_model
from library_builder.pretrained.emotion2vec import Emotion2vecAudio, load_emotion2vec
from library_builder.pretrained.source import ModelError
from library_builder.types import space_width

pytestmark = pytest.mark.pretrained
pytest.importorskip("funasr")

RATE, WIDTH, HEADS = 16_000, 32, 4
LABELS = ("生气/angry", "开心/happy", "unuse_0", "难过/sad")


def settings(normalize: bool = True) -> dict[str, Any]:
    """The published `model_conf`, every size shrunk: seven convolutions, one block before and one after."""
    rates = {"start_drop_path_rate": 0.0, "end_drop_path_rate": 0.0}
    decoder = {"input_dropout": 0.1, "decoder_dim": 16, "decoder_groups": 4, "decoder_kernel": 3, "decoder_layers": 1}
    decoder |= {
        "decoder_residual": True,
        "projection_layers": 1,
        "projection_ratio": 2.0,
        "add_positions_masked": False,
    }
    audio = {
        "type": "AUDIO", "prenet_depth": 1, "prenet_layerdrop": 0.0, "prenet_dropout": 0.0, **rates,
        "num_extra_tokens": 2, "init_extra_token_zero": True, "mask_noise_std": 0.01, "mask_prob_min": None,
        "mask_prob": 0.5, "inverse_mask": False, "mask_prob_adjust": 0.05, "keep_masked_pct": 0.0, "mask_length": 5,
        "add_masks": False, "remove_masks": False, "mask_dropout": 0.0, "encoder_zero_mask": True,
        "mask_channel_prob": 0.0, "mask_channel_length": 64, "ema_local_encoder": False, "local_grad_mult": 1.0,
        "use_alibi_encoder": True, "alibi_scale": 1.0, "learned_alibi": False, "alibi_max_pos": None,
        "learned_alibi_scale": True, "learned_alibi_scale_per_head": True, "learned_alibi_scale_per_layer": False,
        "num_alibi_heads": HEADS, "model_depth": 1, "decoder": decoder, "extractor_mode": "layer_norm",
        "feature_encoder_spec": "[(16, 10, 5)] + [(16, 3, 2)] * 4 + [(16,2,2)] + [(16,2,2)]",
        "conv_pos_width": 15, "conv_pos_groups": 4, "conv_pos_depth": 3, "conv_pos_pre_ln": False,
    }  # fmt: skip
    return {
        "loss_beta": 0.0, "loss_scale": None, "depth": 1, **rates, "num_heads": HEADS, "norm_eps": 1e-5,
        "norm_affine": True, "encoder_dropout": 0.1, "post_mlp_drop": 0.1, "attention_dropout": 0.1,
        "activation_dropout": 0.0, "dropout_input": 0.0, "layerdrop": 0.05, "embed_dim": WIDTH, "mlp_ratio": 2.0,
        "layer_norm_first": False, "average_top_k_layers": 1, "end_of_block_targets": False, "clone_batch": 8,
        "normalize": normalize, "modalities": {"audio": audio},
    }  # fmt: skip


def fresh(labels: int = 0, **changes: Any) -> Any:
    from funasr.models.emotion2vec.model import Emotion2vec

    torch.manual_seed(3)
    return Emotion2vec(model_conf=settings() | changes, vocab_size=labels or -1).eval()


def save(folder: Path, model: Any, *, labels: bool = False, **changes: Any) -> Path:
    """A folder as the models are published; JSON is YAML."""
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(json.dumps({"model": "Emotion2vec", "model_conf": settings() | changes}))
    if labels:
        (folder / "tokens.txt").write_text("\n".join(LABELS) + "\n")
    torch.save({"model": model.state_dict() | {"_ema.step": torch.zeros(1)}}, folder / "model.pt")
    return folder


def heard(folder: Path) -> Emotion2vecAudio:
    return Emotion2vecAudio(find_model(folder, needed=("config.yaml",)), device="cpu")


def voice(seconds: float = 1.6, hertz: float = 140.0, rate: int = RATE) -> npt.NDArray[np.float32]:
    t = np.arange(round(seconds * rate)) / rate
    buzz = sum(np.sin(2 * np.pi * k * hertz * t) / k for k in range(1, 12))
    return (0.1 * buzz * (0.6 - 0.4 * np.cos(2 * np.pi * 4 * t))).astype(np.float32)


def test_a_saved_model_hears_as_the_class_itself_does(tmp_path: Path) -> None:
    """Against FunASR's own inference on the model that was never saved: utterance granularity, one wave."""
    model = fresh()
    ear: AudioReader = heard(save(tmp_path / "e2v", model))
    reading = ear.read(voice(), RATE)
    assert reading is not None and space_width(ear.space) == WIDTH and reading.caption == "" and not reading.notes
    with torch.inference_mode():
        (told,), _ = model.inference([voice()], key=["a"], device="cpu", granularity="utterance", data_type="sound")
    vector = told["feats"] / np.linalg.norm(told["feats"])
    np.testing.assert_allclose(reading.emotion.vector, vector, rtol=1e-5, atol=1e-6)
    again = heard(tmp_path / "e2v").read(voice(), RATE)
    assert again is not None and np.array_equal(again.emotion.vector, reading.emotion.vector)


def test_names_are_mapped_as_the_configuration_says(tmp_path: Path) -> None:
    """Published checkpoints keep the names of their training, which FunASR's loader maps by `scope_map`."""
    model = fresh()
    plain = heard(save(tmp_path / "e2v", model)).read(voice(), RATE)
    config = json.loads((tmp_path / "e2v" / "config.yaml").read_text())
    torch.save({"model": {f"d2v_model.{k}": v for k, v in model.state_dict().items()}}, tmp_path / "e2v" / "model.pt")
    with pytest.raises(ModelError, match="expected its"):
        heard(tmp_path / "e2v")
    for scopes in (["d2v_model.", None], ["d2v_model.", "none"]):
        (tmp_path / "e2v" / "config.yaml").write_text(json.dumps(config | {"scope_map": scopes}))
        mapped = heard(tmp_path / "e2v").read(voice(), RATE)
        assert plain is not None and mapped is not None
        assert np.array_equal(mapped.emotion.vector, plain.emotion.vector)
    (tmp_path / "e2v" / "config.yaml").write_text(json.dumps(config | {"scope_map": ["d2v_model."]}))
    with pytest.raises(ModelError, match="scope_map"):
        heard(tmp_path / "e2v")


def test_another_voice_is_another_vector_and_loudness_is_not(tmp_path: Path) -> None:
    ear = heard(save(tmp_path / "e2v", fresh()))
    low, high, soft = ear.read(voice(), RATE), ear.read(voice(hertz=260.0), RATE), ear.read(0.3 * voice(), RATE)
    assert low is not None and high is not None and soft is not None
    assert np.abs(low.emotion.vector - high.emotion.vector).max() > 1e-3
    # The published models hear every wave at one level; what is left is the floor added to its variance.
    assert np.abs(low.emotion.vector - soft.emotion.vector).max() < 1e-2
    clicked = voice()
    clicked[9000] += 0.2
    other = ear.read(clicked, RATE)
    assert other is not None and not np.array_equal(other.emotion.vector, low.emotion.vector)


def test_other_rates_are_resampled(tmp_path: Path) -> None:
    ear = heard(save(tmp_path / "e2v", fresh()))
    plain, fine = ear.read(voice(), RATE), ear.read(voice(rate=48_000), 48_000)
    assert plain is not None and fine is not None
    assert float(plain.emotion.vector @ fine.emotion.vector) > 0.999


def test_silence_and_too_little_sound(tmp_path: Path) -> None:
    ear = heard(save(tmp_path / "e2v", fresh()))
    assert ear.read(np.zeros(RATE, dtype=np.float32), RATE) is None
    assert ear.read(voice(0.05), RATE) is None
    short = ear.read(voice(0.3), RATE)
    assert short is not None and short.notes == ("audio: 0.3 s of sound is little for emotion2vec",)
    with pytest.raises(ValueError, match="one channel"):
        ear.read(np.zeros((2, RATE), dtype=np.float32), RATE)
    with pytest.raises(ValueError, match="one channel"):
        ear.read(np.full(RATE, np.nan, dtype=np.float32), RATE)
    with pytest.raises(ValueError, match="positive"):
        ear.read(voice(), 0)


def test_a_head_tells_the_likeliest_label_it_was_taught(tmp_path: Path) -> None:
    model = fresh(labels=len(LABELS))
    with torch.no_grad():
        model.proj.weight.zero_()
        model.proj.bias.copy_(torch.tensor([0.0, 1.0, 9.0, 2.0]))
    reading = heard(save(tmp_path / "e2v", model, labels=True)).read(voice(), RATE)
    share = np.exp(2) / (1 + np.exp(1) + np.exp(2))  # the unused label has no part
    assert reading is not None and reading.caption == f"a voice of label sad ({share:.0%})"
    bare = heard(save(tmp_path / "bare", model)).read(voice(), RATE)
    assert bare is not None and bare.caption == ""
    np.testing.assert_array_equal(bare.emotion.vector, reading.emotion.vector)
    (tmp_path / "e2v" / "tokens.txt").write_text("one\n")
    with pytest.raises(ModelError, match="1 labels"):
        heard(tmp_path / "e2v")


def test_wrong_weights_are_refused_in_one_line(tmp_path: Path) -> None:
    folder = save(tmp_path / "e2v", fresh(embed_dim=16))
    with pytest.raises(ModelError, match=r"of shape") as refused:
        heard(folder)
    assert "\n" not in str(refused.value)
    path = folder / "model.pt"
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ModelError, match="truncated"):
        heard(folder)
    torch.save({"model": {"blocks.0.norm1.weight": torch.zeros(32)}}, path)
    with pytest.raises(ModelError, match="without"):
        heard(folder)


def test_a_configuration_is_data_not_a_program(tmp_path: Path) -> None:
    """FunASR evaluates this setting."""
    conf = settings()
    trap = tmp_path / "trap"
    conf["modalities"]["audio"]["feature_encoder_spec"] = f"[(16, 10, 5)] if open({str(trap)!r}, 'w') else []"
    folder = save(tmp_path / "e2v", fresh(), modalities=conf["modalities"])
    with pytest.raises(ModelError, match="feature_encoder_spec"):
        load_emotion2vec(find_model(folder, needed=("config.yaml",)))
    assert not trap.exists()
    (folder / "config.yaml").write_text(json.dumps({"model": "Paraformer", "model_conf": {}}))
    with pytest.raises(ModelError, match="'Paraformer'"):
        heard(folder)
    (folder / "config.yaml").write_text("model: [")
    with pytest.raises(ModelError, match="YAML"):
        heard(folder)
    missing = {key: value for key, value in settings().items() if key != "mlp_ratio"}
    (folder / "config.yaml").write_text(json.dumps({"model": "Emotion2vec", "model_conf": missing}))
    with pytest.raises(ModelError, match="all settings"):
        heard(folder)
