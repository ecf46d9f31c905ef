"""BigVGAN against other roads: SciPy's filters in double precision, a sine that must not fold back, published names."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import scipy.signal
import torch
from torch import Tensor

from vocoder.antialias import TAPS, AntialiasedSnake, kaiser_sinc
from vocoder.bigvgan import BigvganConfig, BigvganGenerator
from vocoder.mel import MelConfig

MEL = MelConfig()
Array = npt.NDArray[np.float64]
PUBLISHED_PARAMETERS = 112_199_472
"""Weight norm's lengths are not among them."""


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def stirred(generator: BigvganGenerator, seed: int = 0) -> BigvganGenerator:
    """With ripples that differ between channels: at first they are all alike."""
    dice = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in generator.named_parameters():
            if name.endswith(("alpha", "beta")):
                weight.add_(0.5 * torch.randn(weight.shape, generator=dice))
    return generator.eval()


# The other road: double precision, SciPy's window, SciPy's resampling.


def scipy_filter() -> Array:
    """Kaiser & Schafer's design: 12 taps, cutoff a quarter of the doubled rate, transition of 0.3 to both sides."""
    beta = scipy.signal.kaiser_beta(2.285 * (TAPS // 2 - 1) * np.pi * 4 * 0.3 + 7.95)
    response = scipy.signal.firwin(TAPS, 0.5, window=("kaiser", beta), scale=True)
    return np.asarray(response, dtype=np.float64)


def scipy_activation(x: Array, alpha: Array, beta: Array) -> Array:
    """(D, S) -> (D, S): held at the edges, zeros put in, filtered, bent, filtered, every second sample kept."""
    taps, rows = scipy_filter(), []
    for row, a, b in zip(x, alpha, beta, strict=True):
        held = np.pad(row, TAPS, mode="edge")
        doubled = scipy.signal.upfirdn(2 * taps, held, up=2)
        first = 2 * TAPS + TAPS // 2 - 1  # where the first input's even sample comes out of the filter
        doubled = doubled[first : first + 2 * len(row)]
        bent = doubled + np.sin(a * doubled) ** 2 / b
        kept = scipy.signal.upfirdn(taps[::-1], np.pad(bent, TAPS, mode="edge"), down=1)
        rows.append(kept[TAPS + TAPS // 2 :][: 2 * len(row) : 2])
    return np.stack(rows)


def scipy_convolution(x: Array, weight: Array, bias: Array | None, dilation: int = 1) -> Array:
    reach = (weight.shape[2] - 1) * dilation // 2
    padded = np.pad(x, ((0, 0), (reach, reach)))
    made = np.zeros((len(weight), x.shape[1]))
    for tap in range(weight.shape[2]):
        made += weight[:, :, tap] @ padded[:, tap * dilation : tap * dilation + x.shape[1]]
    return made if bias is None else made + bias[:, None]


def scipy_transposed(x: Array, weight: Array, bias: Array, rate: int) -> Array:
    made = np.zeros((weight.shape[1], (x.shape[1] - 1) * rate + weight.shape[2]))
    for place in range(x.shape[1]):
        made[:, place * rate : place * rate + weight.shape[2]] += np.tensordot(x[:, place], weight, axes=(0, 0))
    trim = (weight.shape[2] - rate) // 2
    return made[:, trim : made.shape[1] - trim] + bias[:, None]


def scipy_bigvgan(generator: BigvganGenerator, mel: Array) -> Array:
    """The whole generator by names of its state dict: (F, T) -> (S,)."""
    state = {name: value.double().numpy() for name, value in generator.state_dict().items()}
    config, kernels = generator.config, len(generator.config.resblock_kernel_sizes)

    def ripple(name: str, x: Array) -> Array:
        alpha, beta = (np.exp(state[f"{name}.act.{which}"]) for which in ("alpha", "beta"))
        return scipy_activation(x, alpha, beta)

    def convolve(name: str, x: Array, dilation: int = 1) -> Array:
        return scipy_convolution(x, state[f"{name}.weight"], state.get(f"{name}.bias"), dilation)

    def block(name: str, x: Array, dilations: tuple[int, ...]) -> Array:
        for i, dilation in enumerate(dilations):
            if config.resblock == 1:
                y = convolve(f"{name}.convs1.{i}", ripple(f"{name}.activations.{2 * i}", x), dilation)
                x = x + convolve(f"{name}.convs2.{i}", ripple(f"{name}.activations.{2 * i + 1}", y))
            else:
                x = x + convolve(f"{name}.convs.{i}", ripple(f"{name}.activations.{i}", x), dilation)
        return x

    x = convolve("conv_pre", mel)
    for level, rate in enumerate(config.upsample_rates):
        x = scipy_transposed(x, state[f"ups.{level}.0.weight"], state[f"ups.{level}.0.bias"], rate)
        places = range(level * kernels, (level + 1) * kernels)
        x = np.mean(
            [
                block(f"resblocks.{place}", x, dilations)
                for place, dilations in zip(places, config.resblock_dilation_sizes, strict=True)
            ],
            axis=0,
        )
    return np.clip(convolve("conv_post", ripple("activation_post", x))[0], -1, 1)


# The activation.


def test_the_filter_is_the_one_that_scipy_designs() -> None:
    np.testing.assert_allclose(kaiser_sinc(0.25, 0.3, TAPS).numpy(), scipy_filter(), atol=1e-7)
    assert float(kaiser_sinc(0.25, 0.3, 11).sum()) == pytest.approx(1)
    with pytest.raises(ValueError, match=r"expected 0 < cutoff <= 0\.5"):
        kaiser_sinc(0.6, 0.3, TAPS)


def plainly(activation: AntialiasedSnake, x: Tensor) -> Tensor:
    """By convolutions, as on a GPU or in training."""
    return activation(x)


def in_tiles(activation: AntialiasedSnake, x: Tensor) -> Tensor:
    """In phases that stay in a CPU's cache, as when speaking."""
    with torch.no_grad():
        return activation(x)


@pytest.mark.parametrize("way", [plainly, in_tiles])
@pytest.mark.parametrize("length", [1, 2, 5, 37, 400])
def test_the_activation_is_the_one_computed_in_double_precision(
    way: Callable[[AntialiasedSnake, Tensor], Tensor], length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vocoder.antialias.TILE", 100)  # several tiles, the last one cut short
    activation = AntialiasedSnake(7, separate=True, log_scale=True)
    with torch.no_grad():
        activation.act.alpha.copy_(noise(7, seed=1))
        assert activation.act.beta is not None
        activation.act.beta.copy_(0.3 * noise(7, seed=2))
    x = noise(3, 7, length)
    alpha, beta = (rate.detach().double().exp().numpy() for rate in (activation.act.alpha, activation.act.beta))
    wanted = np.stack([scipy_activation(one.double().numpy(), alpha, beta) for one in x])
    np.testing.assert_allclose(way(activation, x).detach().numpy(), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("log_scale", [True, False])
def test_plain_snake_has_one_rate(log_scale: bool) -> None:
    activation = AntialiasedSnake(3, separate=False, log_scale=log_scale)
    with torch.no_grad():
        activation.act.alpha.copy_(torch.tensor([0.5, 1.0, 1.5]))
    rate = np.array([0.5, 1.0, 1.5])
    rate = np.exp(rate) if log_scale else rate
    x = noise(1, 3, 50)
    wanted = scipy_activation(x[0].double().numpy(), rate, rate)
    np.testing.assert_allclose(in_tiles(activation, x)[0].numpy(), wanted, atol=1e-5, rtol=1e-5)


def fold_back(made: Tensor, tone: int, harmonic: int) -> float:
    """Decibels under the tone of the harmonic that lies beyond half the rate and comes back as a tone of its own."""
    power = np.abs(np.fft.rfft(made.double().numpy())) ** 2
    returned = harmonic * tone % len(made)
    return float(10 * np.log10(power[min(returned, len(made) - returned)] / power[tone]))


@pytest.mark.parametrize(("cycles", "harmonic", "gain"), [(0.17, 4, 24.0), (0.15, 6, 39.0), (0.13, 6, 49.0)])
def test_a_bent_sine_folds_back_less_than_without_filters(cycles: float, harmonic: int, gain: float) -> None:
    """Measured: 24.4, 39.7 and 49.6 dB less. Harmonics just beyond the edge pass 12 taps; those further off do not."""
    activation, samples = AntialiasedSnake(1, separate=True, log_scale=False), 4096
    tone = round(cycles * samples)
    wave = 0.5 * torch.sin(2 * torch.pi * tone / samples * torch.arange(3 * samples, dtype=torch.float64)).float()
    with torch.no_grad():
        activation.act.alpha.fill_(4)
        guarded, bare = (act(wave[None, None])[0, 0, samples : 2 * samples] for act in (activation, activation.act))
    assert fold_back(bare, tone, harmonic) > -21, "the harmonic has to be there to be missed"
    assert fold_back(bare, tone, harmonic) - fold_back(guarded, tone, harmonic) > gain


def test_gradients_reach_every_parameter() -> None:
    generator = stirred(BigvganGenerator(BigvganConfig.tiny(), MEL))
    generator(noise(1, MEL.n_mels, 3)).square().mean().backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in generator.parameters())


# The generator.


@pytest.mark.parametrize("resblock", [1, 2])
def test_the_generator_is_the_one_computed_in_double_precision(resblock: int) -> None:
    torch.manual_seed(4)
    generator = stirred(BigvganGenerator(BigvganConfig.tiny(1 if resblock == 1 else 2), MEL))
    mel = noise(1, MEL.n_mels, 5)
    with torch.no_grad():
        made = generator(mel)[0].numpy()
    wanted = scipy_bigvgan(generator, mel[0].double().numpy())
    assert np.abs(wanted).max() > 0.01
    np.testing.assert_allclose(made, wanted, atol=2e-6)


def test_what_is_too_loud_is_clipped_or_squashed_as_the_config_says() -> None:
    loud = BigvganConfig.tiny()
    clipped = stirred(BigvganGenerator(loud, MEL))
    squashed = BigvganGenerator(BigvganConfig.from_dict({**loud.to_dict(), "use_tanh_at_final": True}), MEL)
    squashed.load_state_dict(clipped.state_dict())
    for one in (clipped, squashed):
        with torch.no_grad():
            one.conv_post.weight.mul_(1e3)
    with torch.no_grad():
        first, second = (one(noise(1, MEL.n_mels, 4)) for one in (clipped, squashed))
    assert first.abs().max() == 1 and (first == 1).any()
    torch.testing.assert_close(torch.tanh(first[first.abs() < 1]), second[first.abs() < 1], atol=1e-5, rtol=1e-4)


def test_the_full_size_has_the_published_count_and_names() -> None:
    with torch.device("meta"):
        generator = BigvganGenerator(BigvganConfig.v2_22khz(), MEL)
    assert sum(weight.numel() for weight in generator.parameters()) == PUBLISHED_PARAMETERS
    names = set(generator.state_dict())
    assert {
        "conv_pre.weight", "ups.5.0.weight", "resblocks.17.convs1.2.bias", "resblocks.0.convs2.0.weight",
        "resblocks.3.activations.5.act.alpha", "resblocks.3.activations.5.act.beta",
        "resblocks.3.activations.0.upsample.filter", "resblocks.3.activations.0.downsample.lowpass.filter",
        "activation_post.act.beta", "activation_post.upsample.filter", "conv_post.weight",
    } <= names  # fmt: skip
    assert "conv_post.bias" not in names
    # Two ends (one without a bias), six levels of 1 + 3 blocks: 6 convolutions and 6 ripples of four tensors each.
    assert len(names) == 3 + 6 * 2 + 18 * (6 * 2 + 6 * 4) + 4


def test_configs_that_cannot_be_built_are_refused() -> None:
    with pytest.raises(ValueError, match="expected activation snake or snakebeta, got 'relu'"):
        BigvganConfig.from_dict({**BigvganConfig.tiny().to_dict(), "activation": "relu"})
    with pytest.raises(ValueError, match="rates that multiply to 64"):
        BigvganGenerator(BigvganConfig.tiny(), MelConfig(n_fft=256, win_samples=256, hop_samples=64))
