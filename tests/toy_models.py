"""Pretrained models at toy size: random weights in the real classes of their libraries, as folders that are loaded.

Also a script: `python tests/toy_models.py DIR` makes what `dub library build --extractors paper --model-dir DIR` reads.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

SEED = 7
TEXT = """The scene is dark and blue, and it feels sad, lonely and cold. The light is warm and golden; joy and hope.
A bright, vivid picture with anger in red, fear in the shadow, surprise and disgust. The face shows calm, the mouth is
open, brows raised, the eyes are wide, the head turns. Measured: main hue green (degrees, % of what is coloured),
lightness 12 of 100, saturation 345 of 6789. I am so happy! How dare you? Please do not go. It makes them feel guilty,
proud, tired, loved. bin blue at f two now, place red by g nine soon, set white with p zero please, lay green in x one
again. user assistant system Describe the emotional atmosphere of this film scene seconds Time"""
EMOTIONS = ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")
ROBERTA_MARKS = ("<s>", "<pad>", "</s>", "<unk>")
QWEN_MARKS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>")
PADS = ("<|image_pad|>", "<|video_pad|>")
SHRINK = {"size": {"shortest_edge": 4 * 56 * 56, "longest_edge": 16 * 56 * 56}, "max_frames": 8}


def pieces(marks: tuple[str, ...]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A byte-level vocabulary with the commonest pairs of the text above, as the real tokenizers are made."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=640, special_tokens=list(marks), initial_alphabet=sorted(alphabet), show_progress=False
    )
    tokenizer.train_from_iterator(TEXT.splitlines(), trainer)
    made = json.loads(tokenizer.to_str())["model"]
    return made["vocab"], [tuple(pair) for pair in made["merges"]]


def save_qwen_tokenizer(folder: Path) -> Any:
    """The tokenizer both families of video language models have."""
    from transformers import Qwen2Tokenizer

    vocab, merges = pieces(QWEN_MARKS)
    tokenizer = Qwen2Tokenizer(
        vocab, merges, eos_token="<|im_end|>", additional_special_tokens=[*QWEN_MARKS[1:], *PADS]
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


def without_words(tokenizer: Any) -> list[int]:
    """Tokens that are no words, which random weights would choose all the time; the end stays possible."""
    names = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    allowed = {tokenizer.eos_token, "<|im_end|>"}
    return [
        n
        for n, name in enumerate(names)
        if name not in allowed and not (name[0] == "Ġ" and name[1:].isascii() and name[1:].isalpha())
    ]


def wild(model: Any, scale: float) -> Any:
    """Random weights so large that what a model says hangs on every pixel and word, as in one that was trained."""
    draw = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.ndim > 1:
                value.copy_(torch.randn(value.shape, generator=draw) * scale / value.shape[-1] ** 0.5)
            elif name.endswith("bias"):
                value.copy_(torch.randn(value.shape, generator=draw) * 0.02)
    return model.eval()


def sizes(kind: str, vocabulary: int) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """The stem of a family's class names, and the sizes of its two halves."""
    text: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": vocabulary,
        "max_position_embeddings": 4096,
    }
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}
    vision: dict[str, Any] = {"depth": 2, "hidden_size": 32, "num_heads": 4, "intermediate_size": 48, "patch_size": 14}
    match kind:
        case "video_llama_3":
            stem = "VideoLlama3"
            vision = {
                "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
                "patch_size": 14,
            }  # fmt: skip
            text["model_type"] = "qwen2"
        case "qwen2_vl":
            stem, text["rope_parameters"] = "Qwen2VL", rope
            vision = {"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 4, "mlp_ratio": 2, "patch_size": 14}
        case "qwen2_5_vl":
            stem, text["rope_parameters"] = "Qwen2_5_VL", rope
            vision |= {"out_hidden_size": 32, "fullatt_block_indexes": [1]}
        case "qwen3_vl":
            stem, text["rope_parameters"], text["head_dim"] = "Qwen3VL", {**rope, "mrope_interleaved": True}, 8
            vision |= {"out_hidden_size": 32, "patch_size": 16, "deepstack_visual_indexes": [0]}
            vision["num_position_embeddings"] = 64
    return stem, text, vision


def save_video_llm(folder: Path, kind: str = "video_llama_3", *, words: int = 12) -> Any:
    """A video language model of one of the four kinds, with its tokenizer and its settings of pictures."""
    import transformers

    tokenizer = save_qwen_tokenizer(folder)
    ids = {name: tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in ("image_pad", "video_pad")}
    marks = {f"vision_{end}_token_id": tokenizer.convert_tokens_to_ids(f"<|vision_{end}|>") for end in ("start", "end")}
    stem, text, vision = sizes(kind, len(tokenizer))
    marks = {} if kind == "video_llama_3" else marks
    config = getattr(transformers, f"{stem}Config")(
        text_config=text,
        vision_config=vision,
        image_token_id=ids["image_pad"],
        video_token_id=ids["video_pad"],
        **marks,
    )
    model = wild(getattr(transformers, f"{stem}ForConditionalGeneration")(config), 6.0)
    model.generation_config.max_new_tokens = words
    model.generation_config.suppress_tokens = without_words(tokenizer)
    model.generation_config.eos_token_id = [tokenizer.convert_tokens_to_ids("<|im_end|>")]
    model.generation_config.pad_token_id = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    model.save_pretrained(folder)
    (folder / "video_preprocessor_config.json").write_text(json.dumps(SHRINK))
    (folder / "README.md").write_text(f"---\nlicense: cc0-1.0\n---\nRandom weights in the shape of {stem}.\n")
    return model


def save_classifier(folder: Path, *, width: int = 32) -> Any:
    """A RoBERTa that answers one of seven emotions."""
    from transformers import RobertaConfig, RobertaForSequenceClassification, RobertaTokenizer

    vocab, merges = pieces(ROBERTA_MARKS)
    tokenizer = RobertaTokenizer(vocab, merges)
    tokenizer.save_pretrained(folder)
    config = RobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=2 * width,
        max_position_embeddings=130,
        id2label=dict(enumerate(EMOTIONS)),
        label2id={name: n for n, name in enumerate(EMOTIONS)},
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = wild(RobertaForSequenceClassification(config), 1.5)
    model.save_pretrained(folder)
    (folder / "LICENSE").write_text("MIT License\n\nRandom weights.\n")
    return model


def save_reactions(folder: Path, kind: str = "bart") -> Any:
    """A COMET-style model of reactions."""
    from transformers import BartConfig, BartForConditionalGeneration, RobertaTokenizer, T5Config
    from transformers import T5ForConditionalGeneration as T5

    vocab, merges = pieces(ROBERTA_MARKS)
    tokenizer = RobertaTokenizer(vocab, merges, additional_special_tokens=["[GEN]"], model_max_length=128)
    tokenizer.save_pretrained(folder)
    ids = {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "decoder_start_token_id": tokenizer.eos_token_id,
    }
    if kind == "t5":
        model: Any = T5(T5Config(d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, **ids))
    else:
        sides = {f"{side}_{name}": n for side in ("encoder", "decoder") for name, n in SIDES.items()}
        config = BartConfig(
            d_model=32, max_position_embeddings=160, bos_token_id=tokenizer.bos_token_id, forced_eos_token_id=None,
            **sides, **ids,
        )  # fmt: skip
        model = BartForConditionalGeneration(config)
    model = wild(model, 2.0)
    model.generation_config.suppress_tokens = without_words(tokenizer)
    model.save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\nRandom weights.\n")
    return model


SIDES = {"layers": 2, "attention_heads": 4, "ffn_dim": 48}


def save_all(folder: Path, kind: str = "video_llama_3") -> Path:
    """A folder of models as `library_builder.pretrained.folder` describes it."""
    from tests import test_emotion2vec, test_lip_reading

    save_video_llm(folder / "video_llm", kind)
    save_classifier(folder / "roberta")
    save_reactions(folder / "comet")
    labels = len(test_emotion2vec.LABELS)
    test_emotion2vec.save(folder / "emotion2vec", test_emotion2vec.fresh(labels), labels=True)
    test_lip_reading.save(folder / "lips")
    return folder


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    print(save_all(Path(sys.argv[1]), *sys.argv[2:3]))
