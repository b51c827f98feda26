"""Activations, losses and attention on the stand-in for a GPU: nothing crosses, and all is as on the CPU."""

import numpy as np
import pytest

import expkit as ek
import expkit.nn.functional as F
from expkit import nn
from tests.nn.table_functions import ACTIVATIONS, LOSSES, MARGINS
from tests.nn.test_ctc import INPUTS, LENGTHS, TARGETS, log_probs
from tests.nn.test_functional import tensor_of, trained
from tests.structure.test_fake_device import cuda, transfers  # noqa: F401  (a fixture)

ROWS = [*ACTIVATIONS, *LOSSES, *MARGINS]
pytestmark = pytest.mark.filterwarnings("ignore:.*mask")


def same(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.cpu().numpy(), b.numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_functions(row, cuda):  # noqa: F811
    def run(args, kw):
        leaves = [args[i].detach().requires_grad_() for i in trained(row)]
        places = dict(zip(trained(row), leaves, strict=True))
        out = getattr(F, row.name)(*(places.get(i, a) for i, a in enumerate(args)), **kw)
        (out * 2).sum().backward()
        return [out.detach(), *(x.grad for x in leaves)]

    args, kw = [tensor_of(ek, a) for a in row.args], {k: tensor_of(ek, v) for k, v in row.kwargs.items()}
    there = [a.to(cuda) if isinstance(a, ek.Tensor) else a for a in args]
    options = {k: v.to(cuda) if isinstance(v, ek.Tensor) else v for k, v in kw.items()}
    with transfers():
        got = run(there, options)
    same(got, run(args, kw))


def test_attention(cuda):  # noqa: F811
    here = nn.TransformerDecoderLayer(8, 2, 16, 0.0, dtype=ek.float64)
    there = nn.TransformerDecoderLayer(8, 2, 16, 0.0, dtype=ek.float64)
    there.load_state_dict(here.state_dict())
    there.to(cuda)
    x, memory = ek.randn(3, 2, 8, dtype=ek.float64), ek.randn(4, 2, 8, dtype=ek.float64)
    mask, padding = nn.Transformer.generate_square_subsequent_mask(3, dtype=ek.float64), ek.tensor([[0, 1, 0]] * 2) > 0

    def run(module, *args):
        out = module(*args[:2], tgt_mask=args[2], tgt_key_padding_mask=args[3])
        out.sum().backward()
        return [out.detach(), *(p.grad for p in module.parameters())]

    moved = [v.to(cuda) for v in (x, memory, mask, padding)]
    with transfers():
        got = run(there, *moved)
    same(got, run(here, x, memory, mask, padding))


def test_ctc(cuda):  # noqa: F811
    def run(where):
        x = ek.tensor(log_probs(7, 4, 5)).to(where).requires_grad_()
        given = [ek.tensor(v).to(where) for v in (TARGETS, INPUTS, LENGTHS)]
        loss = F.ctc_loss(x, *given)
        loss.backward()
        return [loss.detach(), x.grad]

    same(run(cuda), run("cpu"))
