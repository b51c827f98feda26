"""gpt, lstm_lm, gru_lm and generation: against PyTorch written out, and against themselves without a cache."""

from pathlib import Path

import numpy as np
import pytest

import expkit as ek
import expkit.nn.functional as F
from expkit import registry
from expkit.errors import ConfigError, ShapeError
from expkit.nn.models.generation import drawn, generate
from tests.nn.table_language import MISFITS, ROWS, T, V

NAMES = sorted({row[0] for row in ROWS})
IDS = [f"{name}-{number}" for number, (name, *_) in enumerate(ROWS)]


def build(name, arguments, shape=(T,), vocabulary=V):
    given = {"input_shape": shape, "output_size": vocabulary}
    return registry.build("model", {"name": name, **arguments}, given=given)


def tokens(*shape):
    return ek.randint(0, V, shape)


def sharpened(name, arguments):
    """A model whose logits differ enough that no draw hangs on rounding."""
    model = build(name, arguments)
    with ek.no_grad():
        for param in model.parameters():
            param.mul_(4)
    return model.eval()


@pytest.mark.parametrize(("name", "arguments", "parameters"), ROWS, ids=IDS)
def test_models_map_tokens_to_logits(name, arguments, parameters):
    model = build(name, arguments)
    x = tokens(3, T)
    assert model(x).shape == (3, T, V)
    if parameters is not None:
        assert sum(p.numel() for p in model.parameters()) == parameters
    twin = build(name, arguments)
    twin.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(twin(x).detach().numpy(), model(x).detach().numpy())


@pytest.mark.parametrize(("name", "arguments", "parameters"), ROWS, ids=IDS)
def test_no_place_sees_what_follows(name, arguments, parameters):
    model, x = build(name, arguments), tokens(2, T)
    changed = x.clone()
    changed[:, 7:] = (x[:, 7:] + 1) % V
    before, after = (model(ids).detach().numpy() for ids in (x, changed))
    np.testing.assert_array_equal(before[:, :7], after[:, :7])
    assert np.abs(before[:, 7:] - after[:, 7:]).min(axis=-1).max() > 0


@pytest.mark.parametrize(("name", "arguments", "parameters"), ROWS, ids=IDS)
def test_models_learn_a_small_text_by_heart(name, arguments, parameters):
    model = build(name, arguments)
    optimizer = ek.optim.Adam(model.parameters(), lr=0.03)
    ids = ek.tensor([[(3 * n * n + n) % V for n in range(T + 1)]])
    for _ in range(250):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.3
    assert generate(model, ids[:, :1], T, temperature=0).tolist() == ids.tolist()


@pytest.mark.parametrize(("name", "arguments", "parameters"), ROWS, ids=IDS)
@pytest.mark.parametrize("pieces", [(5, 7), (1, 1, 10), (3, 4, 5)])
def test_reading_in_pieces_gives_the_same_logits(name, arguments, parameters, pieces):
    model, x = build(name, arguments), tokens(2, T)
    state, found, start = None, [], 0
    for size in pieces:
        logits, state = model.read(x[:, start : start + size], state)
        found.append(logits)
        start += size
    np.testing.assert_allclose(ek.cat(found, 1).detach().numpy(), model(x).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_gpt_starts_as_gpt2():
    ek.manual_seed(0)
    model = build("gpt", {"n_layer": 8, "n_embd": 64, "n_head": 4}, vocabulary=500)
    for path, param in model.named_parameters():
        values = param.detach().numpy()
        if path.endswith("bias"):
            assert not values.any()
        elif param.ndim > 1:
            expected = 0.02 / 4 if path.endswith("c_proj.weight") else 0.02
            assert abs(values.std() / expected - 1) < 0.1, path
        else:
            assert (values == 1).all()
    assert model.lm_head is None


def torch_gpt(torch, weights, ids, n_layer, n_head):
    """GPT-2 written out in PyTorch: no fused attention."""
    w = {name: torch.tensor(value.detach().numpy(), requires_grad=True) for name, value in weights.items()}

    def norm(x, name):
        return torch.nn.functional.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], 1e-5)

    def linear(x, name):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    n, t = ids.shape
    x = w["wte.weight"][ids] + w["wpe.weight"][:t]
    mask = torch.ones(t, t, dtype=torch.bool).tril()
    for number in range(n_layer):
        at = f"h.{number}"
        q, k, v = linear(norm(x, f"{at}.ln_1"), f"{at}.attn.c_attn").split(x.shape[-1], -1)
        q, k, v = (y.reshape(n, t, n_head, -1).transpose(1, 2) for y in (q, k, v))
        scores = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).masked_fill(~mask, -torch.inf)
        x = x + linear((scores.softmax(-1) @ v).transpose(1, 2).reshape(n, t, -1), f"{at}.attn.c_proj")
        x = x + linear(torch.nn.functional.gelu(linear(norm(x, f"{at}.ln_2"), f"{at}.mlp.c_fc")), f"{at}.mlp.c_proj")
    return norm(x, "ln_f") @ w["wte.weight"].T, w


def test_gpt_is_pytorchs_with_its_gradients(torch):
    model = sharpened("gpt", {"n_layer": 2, "n_head": 4, "n_embd": 16})
    x, y = tokens(3, T), tokens(3, T)
    loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
    loss.backward()
    logits, weights = torch_gpt(torch, dict(model.named_parameters()), torch.tensor(x.numpy()), 2, 4)
    theirs = torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.tensor(y.numpy()).flatten())
    theirs.backward()
    np.testing.assert_allclose(loss.item(), theirs.item(), rtol=1e-5)
    for name, param in model.named_parameters():
        np.testing.assert_allclose(param.grad.numpy(), weights[name].grad.numpy(), rtol=2e-3, atol=2e-5, err_msg=name)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_recurrent_models_are_pytorchs(torch, kind):
    model, x = build(f"{kind}_lm", {"embedding_dim": 6, "hidden_size": 8}), tokens(3, T)
    rnn = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[kind](6, 8, 2, batch_first=True)
    state = {name: torch.tensor(value.numpy()) for name, value in model.state_dict().items()}
    rnn.load_state_dict({name[4:]: value for name, value in state.items() if name.startswith("rnn.")})
    out = rnn(state["embedding.weight"][torch.tensor(x.numpy())])[0] @ state["head.weight"].T + state["head.bias"]
    np.testing.assert_allclose(model(x).detach().numpy(), out.detach().numpy(), rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------------- generation

WAYS = [
    {},
    {"temperature": 0},
    {"top_k": 3},
    {"top_p": 0.6},
    {"top_k": 9, "top_p": 0.9, "temperature": 0.7},
    {"eos": 3},
]


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_the_cache_makes_no_difference(name, way):
    """Also beyond block_size, where gpt sees the last of the tokens alone."""
    arguments = next(arguments for other, arguments, _ in ROWS if other == name)
    model, prompt = sharpened(name, arguments), tokens(3, 4)
    cached, plain = (
        generate(model, prompt, 14, generator=ek.Generator().manual_seed(5), use_cache=on, **way)
        for on in (True, False)
    )
    assert cached.tolist() == plain.tolist()
    assert cached[:, :4].tolist() == prompt.tolist()
    if "eos" not in way:
        assert cached.shape == (3, 18)


def test_a_model_that_cannot_go_on_reads_all_again():
    class Plain(ek.nn.Module):
        def forward(self, ids):
            return F.one_hot((ids + 1) % V, V).float() * 50

    assert generate(Plain(), ek.tensor([[3, 15]]), 4).tolist() == [[3, 15, 16, 0, 1, 2]]


def test_the_mode_and_the_gradients_are_as_before():
    model = build("gpt", {"n_layer": 1, "n_head": 1, "n_embd": 8, "dropout": 0.5}).train()
    twice = [generate(model, tokens(1, 3) * 0, 5, temperature=0).tolist() for _ in range(2)]
    assert twice[0] == twice[1]
    assert model.training
    assert model(tokens(1, 3)).requires_grad


def test_rows_end_at_eos():
    class Counting(ek.nn.Module):
        def forward(self, ids):
            return F.one_hot((ids + 1) % V, V).float() * 50

    found = generate(Counting(), ek.tensor([[1], [4]]), 10, temperature=0, eos=6)
    assert found.tolist() == [[1, 2, 3, 4, 5, 6], [4, 5, 6, 6, 6, 6]]


def frequencies(**way):
    logits = ek.tensor([[2.0, 1.0, 0.0, -1.0, 2.5]]).expand(20_000, 5)
    how = {"temperature": 1.0, "top_k": None, "top_p": None, "generator": ek.Generator().manual_seed(0), **way}
    return np.bincount(drawn(logits, **how).numpy(), minlength=5) / 20_000


def softmax(x):
    return np.exp(x) / np.exp(x).sum()


def test_tokens_are_drawn_by_their_probability():
    x = np.array([2.0, 1.0, 0.0, -1.0, 2.5])
    np.testing.assert_allclose(frequencies(), softmax(x), atol=0.015)
    np.testing.assert_allclose(frequencies(temperature=0.5), softmax(x / 0.5), atol=0.015)
    two = np.where(x < 2, -np.inf, x)
    np.testing.assert_allclose(frequencies(top_k=2), softmax(two), atol=0.015)
    np.testing.assert_allclose(frequencies(top_k=99), softmax(x), atol=0.015)
    # 0.50 and 0.30 come first: 0.7 needs both, 0.85 a third, and 0.3 the first alone.
    np.testing.assert_allclose(frequencies(top_p=0.7), softmax(two), atol=0.015)
    np.testing.assert_allclose(frequencies(top_p=0.85), softmax(np.where(x < 1, -np.inf, x)), atol=0.015)
    np.testing.assert_allclose(frequencies(top_p=0.3), [0, 0, 0, 0, 1])
    np.testing.assert_allclose(frequencies(temperature=0), [0, 0, 0, 0, 1])


@pytest.mark.parametrize(
    ("way", "word"),
    [
        ({"max_new_tokens": -1}, "max_new_tokens=-1"),
        ({"temperature": -0.5}, "temperature=-0.5"),
        ({"temperature": float("nan")}, "temperature=nan"),
        ({"top_k": 0}, "top_k=0"),
        ({"top_p": 0.0}, "top_p=0.0"),
        ({"top_p": 1.5}, "top_p=1.5"),
    ],
)
def test_wrong_arguments_of_generate(way, word):
    model = build("gpt", {"n_layer": 1, "n_embd": 8, "n_head": 1})
    with pytest.raises(ConfigError, match=word):
        generate(model, tokens(1, 2), **{"max_new_tokens": 1, **way})


# ---------------------------------------------------------------------- what does not fit


@pytest.mark.parametrize(("name", "arguments", "shape", "error", "words"), MISFITS)
def test_misfits_are_explained(name, arguments, shape, error, words):
    with pytest.raises(error) as caught:
        build(name, arguments, shape)
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("wrong", [ek.randn(2, 5), ek.zeros(4, dtype=ek.int64), ek.zeros(2, 0, dtype=ek.int64)])
def test_inputs_that_are_no_tokens_are_explained(name, wrong):
    with pytest.raises(ShapeError, match="expected tokens"):
        build(name, {})(wrong)


def test_more_tokens_than_positions_are_explained():
    model = build("gpt", {"n_layer": 1, "n_embd": 8, "n_head": 1})
    with pytest.raises(ShapeError, match="13 tokens"):
        model(tokens(1, T + 1))
    _, state = model.read(tokens(1, T))
    with pytest.raises(ShapeError, match="13 tokens"):
        model.read(tokens(1, 1), state)


@pytest.mark.parametrize("name", ["gpt", "gru_lm", "lstm_lm"])
def test_a_config_states_the_defaults_of_its_model(name):
    config = (Path(__file__).parents[2] / "conf" / "model" / f"{name}.yaml").read_text()
    stated = {}
    for line in config.splitlines():
        key, colon, rest = line.partition(":")
        if colon and not line.startswith("#"):
            stated[key] = rest.partition("#")[0].strip()
            assert "#" in rest or key == "name", f"{key} needs a comment"
    assert stated.pop("name") == name
    defaults = {a.name: a.default for a in registry.describe("model", name).arguments if not a.required}
    shown = {"None": "null", "True": "true", "False": "false"}
    assert stated == {key: shown.get(str(value), str(value)) for key, value in defaults.items()}
