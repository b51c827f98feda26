"""The registered models once more, as functions of a state dict, with PyTorch's operations: oracles.

Each takes a `State` (our weights under our names) and a batch. Batches are normalised by their own statistics.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F


@dataclass
class State:
    """Weights by name, below a prefix."""

    values: dict
    prefix: str = ""

    def at(self, *names):
        return State(self.values, ".".join([*([self.prefix] if self.prefix else []), *map(str, names)]))

    def __getitem__(self, name):
        return self.values[f"{self.prefix}.{name}" if self.prefix else name]

    def has(self, name):
        """Whether there is anything below `name`."""
        start = f"{self.prefix}.{name}" if self.prefix else name
        return any(key == start or key.startswith(f"{start}.") for key in self.values)

    def count(self):
        """How many numbered parts there are."""
        start = f"{self.prefix}." if self.prefix else ""
        return len({key[len(start) :].split(".")[0] for key in self.values if key.startswith(start)})

    def bias(self):
        return self["bias"] if self.has("bias") else None

    def conv(self, x, **options):
        return F.conv2d(x, self["weight"], self.bias(), **options)

    def linear(self, x):
        return F.linear(x, self["weight"], self.bias())

    def batch_norm(self, x):
        return F.batch_norm(x, None, None, self["weight"], self["bias"], training=True)

    def layer_norm(self, x, eps=1e-5):
        return F.layer_norm(x, x.shape[-1:], self["weight"], self["bias"], eps)


def conv_norm(state, number, x, **options):
    return state.at(f"bn{number}").batch_norm(state.at(f"conv{number}").conv(x, **options))


def resnet(state, x, large=False):
    """Bottlenecks where a block has a third convolution; option A where a smaller image comes without a projection."""
    x = conv_norm(state, 1, x, stride=2, padding=3) if large else conv_norm(state, 1, x, padding=1)
    x = F.max_pool2d(x.relu(), 3, 2, 1) if large else x.relu()
    for stage in range(1, 5):
        for number in range(state.at(f"layer{stage}").count()):
            block, stride = state.at(f"layer{stage}", number), 2 if stage > 1 and number == 0 else 1
            if block.has("conv3"):
                out = conv_norm(block, 1, x).relu()
                out = conv_norm(block, 2, out, stride=stride, padding=1).relu()
                out = conv_norm(block, 3, out)
            else:
                out = conv_norm(block, 1, x, stride=stride, padding=1).relu()
                out = conv_norm(block, 2, out, padding=1)
            if block.has("downsample"):
                x = block.at("downsample.1").batch_norm(block.at("downsample.0").conv(x, stride=stride))
            elif stride == 2:
                zeros = torch.zeros(len(x), out.shape[1] - x.shape[1], *out.shape[2:], dtype=x.dtype)
                x = torch.cat([F.avg_pool2d(x, 1, 2), zeros], 1)
            x = (out + x).relu()
    return state.at("fc").linear(x.mean((2, 3)))


def vgg(state, x, layers, norm, pixels):
    """`layers`: numbers of convolutions, with a 0 for each pooling and a -1 for one that is left out."""
    number = 0
    for layer in layers:
        if layer > 0:
            x = state.at("features", number).conv(x, padding=1)
            if norm:
                x = state.at("features", number + 1).batch_norm(x)
            x, number = x.relu(), number + 2 + norm
        else:
            x, number = F.max_pool2d(x, 2) if layer == 0 else x, number + 1
    x = F.adaptive_avg_pool2d(x, pixels).flatten(1)
    count = state.at("classifier").count()
    for part in range(count):
        x = state.at("classifier", 3 * part).linear(x)
        x = x.relu() if part < count - 1 else x
    return x


def mobilenet(state, x, halvings):
    """`halvings`: the numbers of the features (0: the first convolution) that halve the image."""
    x = conv_bn6(state.at("features.0"), x, stride=2 if 0 in halvings else 1, padding=1)
    last = state.at("features").count() - 1
    for number in range(1, last):
        conv, stride, before = state.at("features", number, "conv"), 2 if number in halvings else 1, x
        for part in range(conv.count() - 2):
            weight = conv.at(part, 0)["weight"]
            wide = weight.shape[1] == 1
            options = {"stride": stride, "padding": 1, "groups": len(weight)} if wide else {}
            x = conv_bn6(conv.at(part), x, **options)
        part = conv.count() - 2
        x = conv.at(part + 1).batch_norm(conv.at(part).conv(x))
        x = x + before if x.shape == before.shape else x
    x = conv_bn6(state.at("features", last), x)
    return state.at("classifier.1").linear(x.mean((2, 3)))


def conv_bn6(state, x, **options):
    return state.at(1).batch_norm(state.at(0).conv(x, **options)).clamp(0, 6)


def convnext(state, x, side):
    """`side`: of the first layer's patches."""
    first = state.at("features.0")
    x = first.at(0).conv(x, stride=side).permute(0, 2, 3, 1)
    x = first.at(1).layer_norm(x, 1e-6)
    for number in range(1, state.at("features").count()):
        part = state.at("features", number)
        if number % 2 == 0:
            x = part.at(1).conv(part.at(0).layer_norm(x, 1e-6).permute(0, 3, 1, 2), stride=2).permute(0, 2, 3, 1)
            continue
        for block in (part.at(i) for i in range(part.count())):
            y = block.at("block.0").conv(x.permute(0, 3, 1, 2), padding=3, groups=x.shape[-1]).permute(0, 2, 3, 1)
            y = block.at("block.3").linear(block.at("block.2").layer_norm(y, 1e-6))
            x = x + block["layer_scale"].flatten() * block.at("block.5").linear(F.gelu(y))
    x = state.at("classifier.0").layer_norm(x.mean((1, 2)), 1e-6)
    return state.at("classifier.2").linear(x)


def attention(state, x, count):
    """Softmax attention of (N, T, E) to itself, written out."""
    rows, steps, width = x.shape
    mixed = F.linear(x, state["in_proj_weight"], state["in_proj_bias"])
    q, k, v = (part.reshape(rows, steps, count, width // count).transpose(1, 2) for part in mixed.chunk(3, -1))
    scores = (q @ k.transpose(2, 3) / (width // count) ** 0.5).softmax(-1)
    return state.at("out_proj").linear((scores @ v).transpose(1, 2).reshape(rows, steps, width))


def patches(x, side):
    """(N, patches, channels * side * side)"""
    return F.unfold(x, side, stride=side).transpose(1, 2)


def vit(state, x, side, count):
    """`side`: of the patches; `count`: of the heads."""
    x = F.linear(patches(x, side), state["conv_proj.weight"].flatten(1), state["conv_proj.bias"])
    x = torch.cat([state["class_token"].repeat(len(x), 1, 1), x], 1) + state["encoder.pos_embedding"]
    for number in range(state.at("encoder.layers").count()):
        block = state.at("encoder.layers", f"encoder_layer_{number}")
        x = x + attention(block.at("self_attention"), block.at("ln_1").layer_norm(x, 1e-6), count)
        y = F.gelu(block.at("mlp.0").linear(block.at("ln_2").layer_norm(x, 1e-6)))
        x = x + block.at("mlp.3").linear(y)
    return state.at("heads.head").linear(state.at("encoder.ln").layer_norm(x, 1e-6)[:, 0])


def mlp_mixer(state, x, side):
    """`side`: of the patches."""
    x = F.linear(patches(x, side), state["stem.proj.weight"].flatten(1), state["stem.proj.bias"])
    for block in (state.at("blocks", i) for i in range(state.at("blocks").count())):
        y = block.at("norm1").layer_norm(x, 1e-6).transpose(1, 2)
        y = block.at("mlp_tokens.fc2").linear(F.gelu(block.at("mlp_tokens.fc1").linear(y)))
        x = x + y.transpose(1, 2)
        y = block.at("mlp_channels.fc1").linear(block.at("norm2").layer_norm(x, 1e-6))
        x = x + block.at("mlp_channels.fc2").linear(F.gelu(y))
    return state.at("head").linear(state.at("norm").layer_norm(x, 1e-6).mean(1))


def vectors(state, x):
    """Sequences of vectors (N, T, features), and which of their steps count (N, T)."""
    if state.has("input.embedding"):
        there = x != 0  # the padding of the rows with tokens
        there[:, 0] = True
        return F.embedding(x, state["input.embedding.weight"], padding_idx=0), there
    x = x.permute(0, 2, 1, 3).flatten(2) if x.ndim == 4 else x.reshape(*x.shape[:2], -1)
    return x, torch.ones(x.shape[:2], dtype=torch.bool)


def pooled(x, there, how):
    """One vector for each sequence, found sequence by sequence."""
    return torch.stack([
        {"last": lambda s: s[-1], "mean": lambda s: s.mean(0), "max": lambda s: s.amax(0)}[how](one[kept])
        for one, kept in zip(x, there, strict=True)
    ])  # fmt: skip


def recurrent(state, x, kind, how, layers=1, both=False):
    """`kind`: PyTorch's class; `how`: pooling; `both` directions."""
    x, there = vectors(state, x)
    weights = {key.removeprefix("rnn."): value for key, value in state.values.items() if key.startswith("rnn.")}
    hidden = weights["weight_hh_l0"].shape[1]
    cells = getattr(torch.nn, kind)(x.shape[2], hidden, layers, batch_first=True, bidirectional=both).double()
    out, last = torch.func.functional_call(cells, weights, (x,))
    if both and how == "last":
        last = last[0] if kind == "LSTM" else last
        return state.at("fc").linear(torch.cat([last[-2], last[-1]], 1))
    return state.at("fc").linear(pooled(out, there, how))


def tcn(state, x, how):
    x, there = vectors(state, x)
    x = x.transpose(1, 2)
    for level in range(state.at("network").count()):
        block, y = state.at("network", level), x
        for name in ("conv1", "conv2"):
            conv, dilation = block.at(name), 2**level
            if conv.has("parametrizations"):
                length, direction = (conv[f"parametrizations.weight.original{i}"] for i in (0, 1))
                weight = length * direction / direction.square().sum((1, 2), keepdim=True).sqrt()
            else:
                weight = conv["weight"]
            after = dilation * (weight.shape[2] - 1)  # steps too many at the end: cut off, as in the paper's code
            y = F.conv1d(y, weight, conv["bias"], padding=after, dilation=dilation)[..., : -after or None].relu()
        if block.has("downsample"):
            x = F.conv1d(x, block["downsample.weight"], block["downsample.bias"])
        x = (y + x).relu()
    return state.at("linear").linear(pooled(x.transpose(1, 2), there, how))


def transformer(state, x, count, how, sinusoids=True, first=True, act=F.gelu):
    """`count`: of the heads; `first`: norms before attention and dense layers."""
    x, there = vectors(state, x)
    x = state.at("project").linear(x) if state.has("project") else x
    if how == "cls":
        x = torch.cat([state["cls"].repeat(len(x), 1, 1), x], 1)
        there = torch.cat([torch.ones(len(x), 1, dtype=torch.bool), there], 1)
    width = x.shape[2]
    if sinusoids:
        waves = torch.zeros(x.shape[1:])
        for place in range(x.shape[1]):
            for pair in range(width // 2):
                angle = place / 10000 ** (2 * pair / width)
                waves[place, 2 * pair : 2 * pair + 2] = torch.tensor([math.sin(angle), math.cos(angle)])
        x = x + waves
    elif state.has("positions"):
        x = x + state["positions"]
    for block in (state.at("layers", i) for i in range(state.at("layers").count())):
        layer = torch.nn.TransformerEncoderLayer(
            width, count, len(block["linear1.weight"]), 0.0, act, batch_first=True, norm_first=first
        ).double()
        prefix = block.prefix + "."
        weights = {key.removeprefix(prefix): v for key, v in state.values.items() if key.startswith(prefix)}
        x = torch.func.functional_call(layer, weights, (x,), {"src_key_padding_mask": ~there})
    x = state.at("norm").layer_norm(x) if state.has("norm") else x
    return state.at("fc").linear(x[:, 0] if how == "cls" else pooled(x, there, how))
