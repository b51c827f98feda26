"""Every family of models against the same network written with PyTorch's operations: logits and all gradients."""

import numpy as np
import pytest

import expkit as ek
import expkit.nn.functional as F
from expkit import registry
from tests.nn.table_models import IMAGE

torch_models = pytest.importorskip("tests.nn.torch_models")
torch = pytest.importorskip("torch")

TOKENS = {"vocab_size": 7, "embedding_dim": 4, "padding_idx": 0}
WIDE = {"d_model": 8, "nhead": 2, "num_layers": 1, "dim_feedforward": 12, "dropout": 0.0}

# name, arguments, sample shape, oracle, its arguments
ROWS = [
    ("resnet20", {"width": 4}, (3, 12, 10), "resnet", {}),
    ("resnet32", {"width": 2, "shortcut": "B"}, IMAGE, "resnet", {}),
    ("resnet18", {"width": 4, "stem": "large"}, (3, 40, 33), "resnet", {"large": True}),
    ("resnet34", {"width": 2}, (1, 16, 16), "resnet", {}),
    ("resnet50", {"width": 2}, (3, 64, 64), "resnet", {"large": True}),
    (
        "vgg", {"depth": 11, "width": 2, "hidden": [8], "dropout": 0.0}, (3, 70, 32), "vgg",
        {"layers": (1, 0, 1, 0, 1, 1, 0, 1, 1, 0, 1, 1, 0), "norm": True, "pixels": (2, 1)},
    ),
    (
        "vgg", {"depth": 13, "width": 2, "hidden": [], "norm": "none"}, IMAGE, "vgg",
        {"layers": (1, 1, 0, 1, 1, 0, 1, 1, 0, 1, 1, -1, 1, 1, -1), "norm": False, "pixels": (1, 1)},
    ),
    ("mobilenet", {"width_mult": 0.2, "dropout": 0.0}, (3, 64, 70), "mobilenet", {"halvings": (0, 2, 4, 7, 14)}),
    ("mobilenet", {"width_mult": 0.1, "dropout": 0.0}, IMAGE, "mobilenet", {"halvings": (4, 7, 14)}),
    (
        "convnext", {"depths": [1, 2, 1], "widths": [4, 6, 8], "stochastic_depth": 0.0}, (3, 67, 64), "convnext",
        {"side": 4},
    ),
    ("convnext", {"depths": [1, 1], "widths": [4, 6], "stochastic_depth": 0.0}, IMAGE, "convnext", {"side": 1}),
    (
        "vit", {"hidden_dim": 12, "num_layers": 2, "num_heads": 3, "mlp_dim": 20}, (3, 32, 28), "vit",
        {"side": 4, "count": 3},
    ),
    ("vit", {"hidden_dim": 8, "num_layers": 1, "num_heads": 1, "patch_size": 4}, IMAGE, "vit", {"side": 4, "count": 1}),
    ("mlp_mixer", {"hidden_dim": 12, "num_blocks": 2, "tokens_mlp_dim": 5}, (3, 28, 56), "mlp_mixer", {"side": 4}),
    ("lstm", {"hidden_size": 5}, (6, 3), "recurrent", {"kind": "LSTM", "how": "last"}),
    (
        "lstm", {"hidden_size": 4, "num_layers": 2, "bidirectional": True}, IMAGE, "recurrent",
        {"kind": "LSTM", "how": "last", "layers": 2, "both": True},
    ),
    ("lstm", {"hidden_size": 4, **TOKENS}, (6,), "recurrent", {"kind": "LSTM", "how": "last"}),
    ("gru", {"hidden_size": 4, "pooling": "mean"}, (7,), "recurrent", {"kind": "GRU", "how": "mean"}),
    (
        "gru", {"hidden_size": 4, "pooling": "max", "bidirectional": True, **TOKENS}, (6,), "recurrent",
        {"kind": "GRU", "how": "max", "both": True},
    ),
    ("tcn", {"channels": [4, 4, 6]}, (9, 3), "tcn", {"how": "last"}),
    ("tcn", {"channels": [4], "weight_norm": False, "pooling": "max", **TOKENS}, (6,), "tcn", {"how": "max"}),
    ("transformer", {**WIDE, "num_layers": 2}, (6, 3), "transformer", {"count": 2, "how": "cls"}),
    (
        "transformer", {**WIDE, "positions": "learned", "norm_first": False, "pooling": "mean"}, IMAGE, "transformer",
        {"count": 2, "how": "mean", "sinusoids": False, "first": False},
    ),
    ("transformer", {**WIDE, "vocab_size": 7, "padding_idx": 0}, (6,), "transformer", {"count": 2, "how": "cls"}),
    (
        "transformer", {**WIDE, "vocab_size": 7, "padding_idx": 0, "pooling": "last", "positions": "none"}, (6,),
        "transformer", {"count": 2, "how": "last", "sinusoids": False},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "arguments", "shape", "oracle", "options"), ROWS, ids=str)
def test_logits_and_gradients(name, arguments, shape, oracle, options):
    ek.manual_seed(0)
    given = {"input_shape": shape, "output_size": 3}
    model = registry.build("model", {"name": name, **arguments}, given=given).double()
    rng = np.random.default_rng(0)
    for weight in model.parameters():  # weights that start as zeros would hide the rest
        with ek.no_grad():
            weight.add_(ek.tensor(rng.normal(0, 0.1, weight.shape)))
    x, y = rng.normal(size=(4, *shape)), np.array([0, 2, 1, 1])
    if "vocab_size" in arguments:
        x = np.array([[3, 1, 6, 2, 2, 5], [4, 4, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]])
    state = {key: torch.tensor(value.numpy()) for key, value in model.state_dict().items()}
    weights = {key: state[key].requires_grad_() for key, _ in model.named_parameters()}

    logits = model(ek.tensor(x))
    F.cross_entropy(logits, ek.tensor(y)).backward()
    expected = getattr(torch_models, oracle)(torch_models.State(state), torch.tensor(x), **options)
    torch.nn.functional.cross_entropy(expected, torch.tensor(y)).backward()

    np.testing.assert_allclose(logits.detach().numpy(), expected.detach().numpy(), rtol=1e-9, atol=1e-9)
    for key, weight in model.named_parameters():
        np.testing.assert_allclose(weight.grad.numpy(), weights[key].grad.numpy(), rtol=1e-7, atol=1e-9, err_msg=key)
