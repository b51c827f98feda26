"""What equations cost, and the pictures that say so."""

import xml.etree.ElementTree as ET
from math import prod

import numpy as np
import pytest

import expkit as ek
from expkit import nn
from expkit.compiler.cost import behind, cost, flops
from expkit.compiler.diagram import diagram
from expkit.compiler.draw import draw, html
from expkit.func import trace
from expkit.nn import functional as F
from expkit.trainer import SupervisedTask
from expkit.trainer.planning import Stage
from expkit.trainer.planning.picture import picture


def count(fn, *shapes):
    return sum(map(flops, trace(fn, *(ek.zeros(*shape) for shape in shapes)).equations))


COUNTED = [
    (lambda x, y: x @ y, [(5, 7), (7, 3)], 2 * 5 * 7 * 3),
    (lambda x, y: x @ y, [(4, 5, 7), (4, 7, 3)], 2 * 4 * 5 * 7 * 3),
    (F.linear, [(6, 7), (3, 7)], 2 * 6 * 7 * 3),
    (F.linear, [(6, 7), (3, 7), (3,)], 2 * 6 * 7 * 3 + 6 * 3),
    (lambda x, w: F.conv2d(x, w, padding=1), [(2, 4, 8, 8), (6, 4, 3, 3)], 2 * 2 * 6 * 8 * 8 * 4 * 9),
    (lambda x, w: F.conv2d(x, w, stride=2, groups=2), [(2, 4, 9, 9), (6, 2, 3, 3)], 2 * 2 * 6 * 4 * 4 * 2 * 9),
    (lambda x: x.relu() + 1, [(5, 7)], 2 * 35),
    (lambda x: x.sum(), [(5, 7)], 35),
    (lambda x: x.reshape(7, 5).T, [(5, 7)], 0),
    (lambda x: F.max_pool2d(x, 2), [(2, 3, 8, 8)], 2 * 3 * 4 * 4 * 4),
    (lambda q: F.scaled_dot_product_attention(q, q, q), [(2, 3, 8, 4)], 2 * 3 * 8 * 8 * (8 + 8 + 5)),
]


@pytest.mark.parametrize(("fn", "shapes", "expected"), COUNTED)
def test_operations_are_what_the_mathematics_asks_for(fn, shapes, expected):
    assert count(fn, *shapes) == expected


def test_gradients_of_products_are_two_products():
    x, w = (32, 64), (16, 64)

    def loss(x, w):
        return F.linear(x, w).sum()

    forward = count(loss, x, w)
    both = count(lambda x, w: ek.func.grad(loss, argnums=(0, 1))(x, w), x, w)
    assert both == pytest.approx(3 * forward, rel=0.02)


def test_a_causal_mask_halves_attention():
    def attend(causal):
        return count(lambda q: F.scaled_dot_product_attention(q, q, q, is_causal=causal), (1, 2, 8, 4))

    assert attend(True) * 2 == attend(False)


def test_bytes_are_those_of_what_comes_in_and_goes_out():
    graph = trace(lambda x, y: (x * y).exp() + 1, ek.zeros(10, 10), ek.zeros(10, 10))
    assert cost(graph.equations)[:] == (300, 800, 400)
    assert cost(trace(lambda x: x.T, ek.zeros(3, 4)).equations) == (0, 0, 0)


def test_what_lies_between_arguments_and_results():
    graph = trace(lambda x: (x + 1).exp() * 2, ek.zeros(3))
    makers = {v.index: e for e in graph.equations for v in e.outs}
    middle = graph.equations[0].outs
    assert [e.prim.name for e in behind(graph.outputs, middle, makers)] == ["exp", "mul"]


def model():
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                         nn.Linear(8 * 64, 10))  # fmt: skip


@pytest.fixture(scope="module")
def made():
    stage = Stage(lambda: SupervisedTask(model(), nn.CrossEntropyLoss()), whole=False)
    return picture(stage, (np.zeros((3, 16, 16), np.float32), np.zeros((), np.int64)), 16)


def test_a_step_is_drawn_by_module_and_phase(made):
    assert made.columns == ["forward", "backward", "update"]
    assert made.rows[:6] == ["model.0", "model.1", "model.2", "model.3", "model.5", "loss"]
    names = {key: [part for k in cell for part in k.parts] for key, cell in made.cells.items()}
    assert "conv" in names["model.0", "forward"]
    assert "conv_weight" in names["model.0", "backward"]
    assert "conv_input" not in names["model.0", "backward"]  # nobody wants the gradient of the input
    products = [k for k in made.cells["model.5", "backward"] if "matmul" in k.parts]
    assert sum(k.times for k in products) == 2
    assert sum(k.cost.flops for k in made.cells["model.0", "forward"]) >= 2 * 16 * 8 * 16 * 16 * 27


def test_saved_values_go_from_the_forward_to_the_backward_pass(made):
    across = {(e.start[0], e.end[0]) for e in made.edges if (e.start[1], e.end[1]) == ("forward", "backward")}
    assert ("model.0", "model.1") in across  # the norm's gradient reads what went into it
    assert all(e.bytes > 0 for e in made.edges)


@pytest.mark.parametrize("form", ["svg", "html"])
def test_a_picture_is_whole_and_has_every_kernel(made, form):
    text = html(made, "a <net>")
    assert "a &lt;net&gt;" in text
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")  # nothing is fetched
    if form == "svg":
        text = text[text.index("<svg") : text.index("</svg>") + 6]
        root = ET.fromstring(text)
        boxes = [e for e in root.iter("{http://www.w3.org/2000/svg}rect") if e.get("class") == "box"]
        assert len(boxes) == sum(map(len, made.cells.values()))
        wide, high = float(root.get("width")), float(root.get("height"))
        assert all(float(b.get("x")) + float(b.get("width")) <= wide for b in boxes)
        assert all(float(b.get("y")) + float(b.get("height")) <= high for b in boxes)


def test_any_traced_function_can_be_drawn():
    graph = trace(lambda x, w: (F.linear(x, w).relu().sum(), x.T), ek.zeros(600, 20), ek.zeros(30, 20))
    ET.fromstring(draw(graph, title="f"))
    made = diagram(graph)
    assert made.columns == [""]
    assert sum(len(cell) for cell in made.cells.values()) <= 3  # the transposed view is no kernel
    assert made.total().flops >= 2 * prod((600, 20, 30))
