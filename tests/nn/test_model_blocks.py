"""What the registered models are made of: patches, stems, stochastic depth, positions, sequences and their padding."""

import math

import numpy as np
import pytest

import expkit as ek
from expkit import nn
from expkit.errors import ConfigError, ShapeError
from expkit.nn.models.blocks import LayerNorm2d, Permute, StochasticDepth
from expkit.nn.models.patches import patch_size
from expkit.nn.models.sequences import SequenceInput, pool
from expkit.nn.models.stem import halves_at_once
from expkit.nn.models.transformer import sinusoids


@pytest.mark.parametrize(
    ("image", "side"),
    [
        ((224, 224), 16),
        ((32, 32), 4),
        ((28, 28), 4),
        ((8, 8), 2),
        ((64, 96), 8),
        ((31, 31), 1),
        ((5, 7), 1),
        ((2, 2), 1),
    ],
)
def test_patches_divide_the_image(image, side):
    assert patch_size(image, None) == side


def test_a_stem_goes_by_the_shorter_side():
    assert halves_at_once("auto", (3, 64, 200))
    assert not halves_at_once("auto", (3, 200, 63))
    assert halves_at_once("large", (3, 8, 8))
    assert not halves_at_once("small", (3, 224, 224))


def test_stochastic_depth_zeroes_whole_samples():
    drop, x = StochasticDepth(0.25), ek.rand(4000, 2, 3) + 1
    ratio = drop(x).numpy() / x.numpy()
    kept = ratio[:, 0, 0] > 0
    np.testing.assert_allclose(ratio[kept], 1 / 0.75, rtol=1e-6)
    assert not ratio[~kept].any()
    assert abs(kept.mean() - 0.75) < 5 * math.sqrt(0.25 * 0.75 / 4000)
    assert drop.eval()(x) is x


def test_layer_norm_over_channels_is_that_of_each_pixel():
    norm, x = LayerNorm2d(5, eps=1e-6), ek.randn(2, 5, 3, 4)
    pixels = x.numpy().transpose(0, 2, 3, 1)
    expected = (pixels - pixels.mean(-1, keepdims=True)) / np.sqrt(pixels.var(-1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(Permute([0, 2, 3, 1])(norm(x)).detach().numpy(), expected, rtol=1e-4, atol=1e-5)


def test_sinusoids_are_the_papers():
    found = sinusoids(50, 6).numpy()
    for place in (0, 1, 49):
        for i in range(3):
            angle = place / 10000 ** (2 * i / 6)
            np.testing.assert_allclose(found[place, 2 * i : 2 * i + 2], [math.sin(angle), math.cos(angle)], atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "length", "features"), [((7, 3), 7, 3), ((7,), 7, 1), ((2, 5, 4), 5, 8), ((1, 8, 8), 8, 8)]
)
def test_samples_become_sequences(shape, length, features):
    layer = SequenceInput("lstm", shape, None, 16, None)
    assert (layer.length, layer.features) == (length, features)
    assert layer(ek.randn(3, *shape)).shape == (3, length, features)


def test_the_rows_of_an_image_are_its_steps():
    image = ek.arange(2 * 3 * 4).reshape(1, 2, 3, 4).float()
    steps = SequenceInput("lstm", (2, 3, 4), None, 16, None)(image)
    assert steps[0, 1].tolist() == [4, 5, 6, 7, 16, 17, 18, 19]  # row 1 of channel 0, then of channel 1


def test_padding_does_not_count():
    x = ek.tensor([[[1.0], [5.0], [9.0]], [[2.0], [3.0], [4.0]]])
    padding = ek.tensor([[False, True, True], [False, False, True]])
    assert pool(x, "last", padding).tolist() == [[1], [3]]
    assert pool(x, "mean", padding).tolist() == [[1], [2.5]]
    assert pool(x, "max", padding).tolist() == [[1], [3]]
    assert SequenceInput("gru", (3,), 5, 2, 0).padding(ek.tensor([[0, 0, 0], [1, 0, 2]])).tolist() == [
        [False, True, True], [False, True, False],
    ]  # fmt: skip


@pytest.mark.parametrize("model", [nn.models.GRUClassifier, nn.models.TCN, nn.models.TransformerClassifier])
def test_what_stands_behind_the_padding_changes_nothing(model):
    made = model((6,), 3, vocab_size=9, padding_idx=0).eval()
    short, long = ek.tensor([[4, 2, 7]]), ek.tensor([[4, 2, 7, 0, 0, 0]])
    np.testing.assert_allclose(made(long).detach().numpy(), made(short).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_samples_that_are_no_tokens_are_refused():
    tokens = nn.models.LSTMClassifier((6,), 3, vocab_size=9)
    assert tokens(ek.ones(2, 6)).shape == (2, 3)  # whole numbers in floats, as data modules give them
    with pytest.raises(ConfigError, match=r"model lstm: .*data\.normalize=false"):
        tokens(ek.ones(2, 6) * 0.5)
    with pytest.raises(ShapeError, match=r"model\.vocab_size"):
        nn.models.LSTMClassifier((6,), 3)(ek.ones(2, 6, dtype=ek.int64))


def test_a_transformer_has_positions_for_its_sequences_alone():
    model = nn.models.TransformerClassifier((6, 2), 3).eval()
    assert model(ek.randn(1, 4, 2)).shape == (1, 3)
    with pytest.raises(ShapeError, match="up to 6 steps"):
        model(ek.randn(1, 7, 2))
