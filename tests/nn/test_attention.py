"""Attention layers and transformers beside PyTorch in float64; what they refuse."""

import numpy as np
import pytest

import expkit as ek
import expkit.nn.functional as F
from expkit import nn
from expkit.errors import ShapeError

BATCH, HEADS, TARGETS, SOURCES, WIDTH = 2, 3, 3, 4, 6
OPTIONS = [
    {}, {"bias": False}, {"add_bias_kv": True}, {"add_zero_attn": True}, {"batch_first": True}, {"kdim": 4, "vdim": 5},
    {"add_bias_kv": True, "add_zero_attn": True, "kdim": 4, "batch_first": True, "bias": False},
]  # fmt: skip
MASKS = [  # attn_mask, key_padding_mask
    (None, None), ("bool", None), ("float per head", None), (None, "bool"), ("bool per head", "bool"),
    ("float", "bool"), ("bool", "float"),
]  # fmt: skip
pytestmark = pytest.mark.filterwarnings("ignore:.*mask", "ignore:enable_nested_tensor")


def twins(torch, name, *args, **kw):
    """The same module of both libraries, with the same weights in float64."""
    ours, theirs = (getattr(lib.nn, name)(*args, **kw, dtype=lib.float64) for lib in (ek, torch))
    state = {k: v.numpy() for k, v in theirs.state_dict().items()}
    assert [*ours.state_dict()] == [*state]
    ours.load_state_dict({k: ek.from_numpy(v.copy()) for k, v in state.items()})
    return ours, theirs


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def mask_of(kind, *shape, seed=5):
    """Numbers, or bools that leave the first key to all."""
    values = random(*shape, seed=seed)
    return values if kind.startswith("float") else (values > 0.3) & (np.arange(shape[-1]) > 0)


def operands(options, batched):
    widths = (WIDTH, options.get("kdim", WIDTH), options.get("vdim", WIDTH))
    lengths = (TARGETS, SOURCES, SOURCES)
    shapes = [(n, BATCH, d) if batched else (n, d) for n, d in zip(lengths, widths, strict=True)]
    made = [random(*shape, seed=k) for k, shape in enumerate(shapes)]
    return [x.swapaxes(0, 1) for x in made] if batched and options.get("batch_first") else made


def masks_of(mask, padding, batched):
    """attn_mask and key_padding_mask, where wanted."""
    heads = (HEADS * (BATCH if batched else 1),) if mask and "head" in mask else ()
    rows = (BATCH,) if batched else ()
    return {
        "attn_mask": mask and mask_of(mask, *heads, TARGETS, SOURCES),
        "key_padding_mask": padding and mask_of(padding, *rows, SOURCES, seed=6),
    }


def results(lib, module, inputs, **kw):
    """Outputs and all gradients of a weighted sum of the first, as arrays."""
    leaves = [lib.tensor(a, requires_grad=True) for a in inputs]
    out = module(*leaves, **{k: lib.tensor(v) if isinstance(v, np.ndarray) else v for k, v in kw.items()})
    first, *more = out if isinstance(out, tuple) else (out,)
    (first * lib.tensor(random(*first.shape, seed=9))).sum().backward()
    grads = [v.grad for v in (*leaves, *module.parameters())]
    return [None if v is None else v.detach().numpy() for v in (first, *more, *grads)]


def same(ours, theirs):
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert (a is None) == (b is None)
        if b is not None:
            assert a.shape == b.shape
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("batched", [True, False], ids=["batch", "one"])
@pytest.mark.parametrize("weights", [None, "mean", "heads"])
def test_attention_in_heads_against_torch(options, batched, weights, torch):
    ours, theirs = twins(torch, "MultiheadAttention", WIDTH, HEADS, **options)
    shown = {"need_weights": weights is not None, "average_attn_weights": weights != "heads"}
    for mask, padding in MASKS:
        given = masks_of(mask, padding, batched) | shown
        inputs = operands(options, batched)
        same(*(results(lib, m, inputs, **given) for lib, m in ((ek, ours), (torch, theirs))))
        ours.zero_grad(), theirs.zero_grad()


@pytest.mark.parametrize("need_weights", [True, False])
def test_the_causal_hint(need_weights, torch):
    ours, theirs = twins(torch, "MultiheadAttention", WIDTH, HEADS)
    x = random(4, BATCH, WIDTH)
    mask = nn.Transformer.generate_square_subsequent_mask(4, dtype=ek.float64).numpy()
    kw = {"attn_mask": mask, "is_causal": True, "need_weights": need_weights}
    same(*(results(lib, m, [x, x, x], **kw) for lib, m in ((ek, ours), (torch, theirs))))


def test_queries_without_keys(torch):
    """With weights they are NaN, without they are the projected zeros, as in PyTorch."""
    ours, theirs = twins(torch, "MultiheadAttention", WIDTH, HEADS)
    x = random(3, BATCH, WIDTH)
    mask = np.zeros((3, 3), bool)
    mask[1] = True
    for need in (True, False):
        a, b = (
            m(*[lib.tensor(x)] * 3, attn_mask=lib.tensor(mask), need_weights=need)[0].detach().numpy()
            for lib, m in ((ek, ours), (torch, theirs))
        )
        np.testing.assert_allclose(a, b, rtol=1e-9)
        assert np.isnan(a[1]).all() == need


def test_dropout_of_the_weights():
    ek.manual_seed(0)
    attention = nn.MultiheadAttention(WIDTH, HEADS, dropout=0.5)
    x = ek.randn(50, 1, WIDTH)
    dropped = attention(x, x, x)[1]
    assert 0.05 < (attention(x, x, x, average_attn_weights=False)[1] == 0).float().mean().item() - 0.4 < 0.15
    assert not (dropped == attention.eval()(x, x, x)[1]).all()


def test_static_keys_and_values(torch):
    weights = [random(3 * WIDTH, WIDTH), random(3 * WIDTH), random(WIDTH, WIDTH), random(WIDTH)]
    x, static = random(TARGETS, BATCH, WIDTH), random(BATCH * HEADS, 5, WIDTH // HEADS)

    def run(lib):
        w, b, out_w, out_b = map(lib.tensor, weights)
        q, k = lib.tensor(x), lib.tensor(static)
        fixed = (WIDTH, HEADS, w, b, None, None, False, 0.0, out_w, out_b)
        attend = lib.nn.functional.multi_head_attention_forward
        return [v.numpy() for v in attend(q, q, q, *fixed, static_k=k, static_v=k)]

    same(run(ek), run(torch))


WRONG = {
    "no embedding dimension": lambda m, x: m(x[..., :4], x, x),
    "other lengths": lambda m, x: m(x, x, x[:1]),
    "unlike ranks": lambda m, x: m(x, x[0], x[0]),
    "four dimensions": lambda m, x: m(x[None], x[None], x[None]),
    "a mask of another shape": lambda m, x: m(x, x, x, attn_mask=x[0, :, :2] > 0),
    "a mask of another rank": lambda m, x: m(x, x, x, attn_mask=x[0, 0] > 0),
    "a padding mask of another shape": lambda m, x: m(x, x, x, key_padding_mask=x[0] > 0),
    "a padding mask of another rank": lambda m, x: m(x, x, x, key_padding_mask=x > 0),
}


@pytest.mark.parametrize("call", WRONG.values(), ids=WRONG)
def test_wrong_shapes_are_refused(call):
    with pytest.raises(ShapeError, match="multi_head_attention_forward"):
        call(nn.MultiheadAttention(WIDTH, HEADS), ek.zeros(3, BATCH, WIDTH))


def test_wrong_arguments_are_refused():
    x, attention = ek.zeros(3, BATCH, WIDTH), nn.MultiheadAttention(WIDTH, HEADS)
    with pytest.raises(TypeError, match="is_causal"):
        attention(x, x, x, is_causal=True)
    with pytest.raises(TypeError, match="attn_mask"):
        attention(x, x, x, attn_mask=ek.zeros(3, 3, dtype=ek.int64))
    with pytest.raises(ValueError, match="divisible"):
        nn.MultiheadAttention(WIDTH, 4)
    with pytest.raises(ValueError, match="greater than 0"):
        nn.MultiheadAttention(0, 1)
    with pytest.raises(ValueError, match="activation"):
        nn.TransformerEncoderLayer(WIDTH, HEADS, activation="tanh")
    with pytest.raises(ValueError, match="in_proj_weight"):
        F.multi_head_attention_forward(x, x, x, WIDTH, HEADS, None, None, None, None, False, 0.0, x[0], None)


@pytest.mark.parametrize("heads", [1, 3])
def test_first_weights(heads):
    attention = nn.MultiheadAttention(30, heads, add_bias_kv=True)
    bound = (6 / 120) ** 0.5
    drawn = attention.in_proj_weight
    assert 0.98 * bound < drawn.abs().max().item() <= bound
    assert drawn.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
    assert not attention.in_proj_bias.any()
    assert not attention.out_proj.bias.any()
    assert attention.bias_k.std().item() == pytest.approx((2 / 60) ** 0.5, rel=0.6)
    assert all(
        p.abs().max() <= (6 / sum(p.shape)) ** 0.5
        for p in nn.Transformer(12, heads, 1, 1, 24).parameters()
        if p.ndim > 1
    )


LAYER_OPTIONS = [{}, {"norm_first": True}, {"batch_first": True}, {"activation": "gelu"}, {"bias": False}]


@pytest.mark.parametrize("options", LAYER_OPTIONS, ids=str)
@pytest.mark.parametrize(("name", "count"), [("TransformerEncoderLayer", 1), ("TransformerDecoderLayer", 2)])
def test_layers_against_torch(name, count, options, torch):
    ours, theirs = twins(torch, name, WIDTH, HEADS, 8, 0.0, **options)
    inputs = [random(BATCH, BATCH, WIDTH, seed=k) for k in range(count)]
    masks = {("src" if count == 1 else "tgt") + "_mask": random(BATCH, BATCH, seed=4)}
    same(*(results(lib, m, inputs, **masks) for lib, m in ((ek, ours), (torch, theirs))))


@pytest.mark.parametrize("options", [{}, {"batch_first": True, "norm_first": True}], ids=str)
def test_transformer_against_torch(options, torch):
    ours, theirs = twins(torch, "Transformer", WIDTH, HEADS, 2, 2, 8, 0.0, **options)
    inputs = [random(n, n, WIDTH, seed=n) for n in (3, 3)]
    masks = {
        "src_mask": random(3, 3, seed=4),
        "tgt_mask": nn.Transformer.generate_square_subsequent_mask(3, dtype=ek.float64).numpy(),
        "memory_mask": mask_of("bool", 3, 3),
        "src_key_padding_mask": mask_of("bool", 3, 3, seed=8),
        "tgt_is_causal": True,
    }
    same(*(results(lib, m, inputs, **masks) for lib, m in ((ek, ours), (torch, theirs))))


def test_a_function_as_activation_and_other_encoders():
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 8, activation=F.silu)
    assert layer.activation is F.silu
    encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(WIDTH), enable_nested_tensor=False)
    assert encoder.layers[0] is not encoder.layers[1]
    assert (encoder.layers[0].linear1.weight == encoder.layers[1].linear1.weight).all()
    whole = nn.Transformer(WIDTH, HEADS, custom_encoder=encoder, num_decoder_layers=1, dim_feedforward=8)
    assert whole.encoder is encoder
    assert whole(ek.zeros(3, BATCH, WIDTH), ek.zeros(4, BATCH, WIDTH)).shape == (4, BATCH, WIDTH)
    with pytest.raises(ShapeError, match="batch number"):
        whole(ek.zeros(3, 1, WIDTH), ek.zeros(4, 2, WIDTH))
    with pytest.raises(ShapeError, match="d_model"):
        whole(ek.zeros(3, 1, 4), ek.zeros(4, 1, 4))
