"""Does our HiFi-GAN compute what the published one computes? Published V3 weights, moved into ours, must sound alike.

    python recipes/hifigan_parity.py hifigan_float16.tflite recording.wav --json

The weights are read out of a TFLite export of the official V3 generator, laid out as ours, and both networks speak the
log-mel of a real recording. Exits with 1 when their waves differ by more than the bar.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import numpy.typing as npt
import torch
from ai_edge_litert.interpreter import Interpreter
from torch import Tensor

from vocoder.hifigan import HifiganConfig, HifiganGenerator
from vocoder.mel import MelConfig, log_mel

MAX_DIFFERENCE = 2e-3
MIN_SNR_DB = 50.0
MIN_SECONDS = 3.0

Array = npt.NDArray[Any]
Operator = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Layer:
    """One convolution of the export, plain or transposed.

    Attributes:
        weight: shape (out, 1, kernel, in), which is TFLite's layout for both.
        bias: shape (out,).
    """

    weight: Array
    bias: Array

    @property
    def kernel(self) -> int:
        return int(self.weight.shape[2])


@dataclass(frozen=True, slots=True)
class Parity:
    """How near the two waves are, on the same mel.

    Attributes:
        seconds: of sound compared.
        max_difference: largest absolute difference of samples in [-1, 1].
        snr_db: energy of the published wave over that of the difference.
        passed: whether both are within the bar.
    """

    seconds: float
    max_difference: float
    snr_db: float
    passed: bool


def read_layers(path: Path) -> tuple[list[Layer], list[Layer]]:
    """Plain and transposed convolutions of a TFLite file, each in order of execution.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a convolution has no bias added to it.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a TFLite file, found none")
    interpreter = Interpreter(model_path=str(path))
    operators = interpreter._get_ops_details()  # the package has no public way to walk the operators
    makers = {int(made): operator for operator in operators for made in operator["outputs"]}

    def constant(index: int) -> Array:
        maker = makers[index]
        assert maker["op_name"] == "DEQUANTIZE", maker["op_name"]
        return interpreter.get_tensor(int(maker["inputs"][0])).astype(np.float32)

    plain, transposed = [], []
    for operator in operators:
        if operator["op_name"] == "CONV_2D":
            _, weight, own_bias = (int(index) for index in operator["inputs"])
            plain.append(Layer(constant(weight), constant(own_bias) + constant(_bias(operator, operators, makers))))
        elif operator["op_name"] == "TRANSPOSE_CONV":
            _, weight, _ = (int(index) for index in operator["inputs"])
            transposed.append(Layer(constant(weight), constant(_bias(operator, operators, makers))))
    return plain, transposed


def _bias(convolution: Operator, operators: list[Operator], makers: dict[int, Operator]) -> int:
    """The constant added to a convolution, found past the operators that only reshape or trim its result."""
    result = int(convolution["outputs"][0])
    for operator in operators:
        inputs = [int(index) for index in operator["inputs"]]
        if result not in inputs:
            continue
        match operator["op_name"]:
            case "SQUEEZE" | "BATCH_TO_SPACE_ND" | "SLICE":
                result = int(operator["outputs"][0])
            case "ADD":
                other = inputs[1 - inputs.index(result)]
                if makers[other]["op_name"] == "DEQUANTIZE":
                    return other
    raise ValueError(f"expected a bias added to operator {convolution['index']}, found none")


def official_weights(plain: list[Layer], transposed: list[Layer], config: HifiganConfig) -> dict[str, Tensor]:
    """The export's layers under the official names, in torch's layouts.

    Inside a level the blocks run side by side in no fixed order, but each has its own kernel size, and the
    convolutions of one block follow each other; kernel and order together therefore name a layer.

    Raises:
        ValueError: the number of layers is not that of the config.
    """
    sizes, depth = config.resblock_kernel_sizes, len(config.resblock_dilation_sizes[0])
    per_level = len(sizes) * depth
    levels = len(config.upsample_rates)
    expected, got = (levels * per_level + 2, levels), (len(plain), len(transposed))
    if expected != got:
        raise ValueError(f"expected {expected} plain and transposed convolutions, got {got}")
    named = {"conv_pre": plain[0], "conv_post": plain[-1]}
    for level in range(levels):
        layers = plain[1 + level * per_level : 1 + (level + 1) * per_level]
        for place, size in enumerate(sizes):
            block = [layer for layer in layers if layer.kernel == size]
            for order, layer in enumerate(block):
                named[f"resblocks.{level * len(sizes) + place}.convs.{order}"] = layer
    weights = {f"{name}.weight": torch.from_numpy(layer.weight[:, 0].swapaxes(1, 2)) for name, layer in named.items()}
    for level, layer in enumerate(transposed):
        named[f"ups.{level}"] = layer
        # Torch puts the input first in a transposed convolution; neither library turns the kernel round.
        weights[f"ups.{level}.weight"] = torch.from_numpy(layer.weight[:, 0].transpose(2, 0, 1))
    return weights | {f"{name}.bias": torch.from_numpy(layer.bias) for name, layer in named.items()}


def speak_published(path: Path, mel: Tensor) -> Array:
    """Run the TFLite file itself.

    Shape:
        (1, F, T) -> (S,)
    """
    interpreter = Interpreter(model_path=str(path))
    entry = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(entry, list(mel.shape))
    interpreter.allocate_tensors()
    interpreter.set_tensor(entry, mel.numpy())
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).reshape(-1)


def compare(published: Array, ours: Array, sample_rate: int) -> Parity:
    """Measure two waves against the bar.

    Shape:
        (S,), (S,) -> a `Parity`

    Raises:
        ValueError: the waves differ in length.
    """
    if published.shape != ours.shape:
        raise ValueError(f"expected {published.shape} samples as published, got {ours.shape}")
    difference = published.astype(np.float64) - ours
    snr = 10 * np.log10(np.square(published, dtype=np.float64).sum() / np.square(difference).sum())
    largest = float(np.abs(difference).max())
    passed = largest <= MAX_DIFFERENCE and snr >= MIN_SNR_DB
    return Parity(len(published) / sample_rate, largest, float(snr), bool(passed))


def measure(tflite: Path, recording: Path) -> Parity:
    """Both networks on the log-mel of one recording.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: the recording is too short, or the file is not the official V3 generator.
    """
    mel_config, config = MelConfig(), HifiganConfig.v3()
    if not recording.is_file():
        raise FileNotFoundError(f"{recording}: expected a recording, found none")
    wave, _ = librosa.load(recording, sr=mel_config.sample_rate)
    seconds = len(wave) / mel_config.sample_rate
    if seconds < MIN_SECONDS:
        raise ValueError(f"{recording}: expected at least {MIN_SECONDS:g} s, got {seconds:.2f}")
    generator = HifiganGenerator(config, mel_config).eval()
    generator.load_official(official_weights(*read_layers(tflite), config))
    mel = log_mel(torch.from_numpy(wave)[None], mel_config)
    with torch.no_grad():
        ours = generator(mel)[0].numpy()
    return compare(speak_published(tflite, mel), ours, mel_config.sample_rate)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tflite", type=Path, help="export of the official V3 generator")
    parser.add_argument("recording", type=Path, help=f"speech of at least {MIN_SECONDS:g} seconds")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    try:
        parity = measure(arguments.tflite, arguments.recording)
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    if arguments.json:
        print(json.dumps(asdict(parity)))
    else:
        print(f"{parity.seconds:.2f} s: max difference {parity.max_difference:.2e} (bar {MAX_DIFFERENCE:g})")
        print(f"SNR {parity.snr_db:.1f} dB (bar {MIN_SNR_DB:g}): {'passed' if parity.passed else 'MISSED'}")
    return 0 if parity.passed else 1


if __name__ == "__main__":
    sys.exit(main())
