"""The models, written once: expkit has PyTorch's names, so the same lines run in either library.

`MODELS` maps a workload's `model` to its builder; convolutional networks are in `convnets.py`.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.training import convnets
from benchmarks.training.library import F, lib, nn


def mlp(sizes: Sequence[int], activation: str = "ReLU", norm: bool = False, dropout: float = 0.0) -> nn.Module:
    """Linear layers with an activation between them, after a layer norm and before a dropout where asked for."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(sizes[:-1]):
        layers.append(nn.Linear(fan_in, fan_out))
        if norm:
            layers.append(nn.LayerNorm(fan_out))
        layers.append(getattr(nn, activation)())
        if dropout:
            layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))


class Attention(nn.Module):
    """Multi-head self-attention, one product for queries, keys and values: (batch, length, width) -> the same."""

    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Any) -> Any:
        batch, length, width = x.shape
        qkv = self.qkv(x).view(batch, length, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.out(y.transpose(1, 2).reshape(batch, length, width))


class Block(nn.Module):
    """A transformer's layer with the norms in front; the causal ones have the GELU by tanh, as GPT-2."""

    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads, causal)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.gelu = nn.GELU(approximate="tanh" if causal else "none")

    def forward(self, x: Any) -> Any:
        x = x + self.attention(self.norm1(x))
        return x + self.down(self.gelu(self.up(self.norm2(x))))


def blocks(width: int, heads: int, layers: int, causal: bool) -> nn.Module:
    return nn.Sequential(*(Block(width, heads, causal) for _ in range(layers)), nn.LayerNorm(width))


class GPT(nn.Module):
    """Tokens (batch, length) -> logits of the next one (batch, length, vocabulary)."""

    def __init__(self, vocabulary: int, length: int, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.token, self.position = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.blocks = blocks(width, heads, layers, causal=True)
        self.head = nn.Linear(width, vocabulary, bias=False)

    def forward(self, tokens: Any) -> Any:
        return self.head(self.blocks(self.token(tokens) + self.position.weight[: tokens.shape[1]]))


class Encoder(nn.Module):
    """A transformer that looks both ways; the mean over the tokens is classified."""

    def __init__(self, vocabulary: int, length: int, width: int, heads: int, layers: int, classes: int) -> None:
        super().__init__()
        self.token, self.position = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.blocks = blocks(width, heads, layers, causal=False)
        self.head = nn.Linear(width, classes)

    def forward(self, tokens: Any) -> Any:
        return self.head(self.blocks(self.token(tokens) + self.position.weight[: tokens.shape[1]]).mean(1))


class ViT(nn.Module):
    """An image cut into patches by a convolution, then an encoder over them (Dosovitskiy et al. 2021, mean pooled)."""

    def __init__(self, side: int, patch: int, width: int, heads: int, layers: int, classes: int = 10) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.position = nn.Parameter(0.02 * lib.randn((side // patch) ** 2, width))
        self.blocks = blocks(width, heads, layers, causal=False)
        self.head = nn.Linear(width, classes)

    def forward(self, images: Any) -> Any:
        x = self.patches(images).flatten(2).transpose(1, 2)
        return self.head(self.blocks(x + self.position).mean(1))


class Recurrent(nn.Module):
    """A recurrent network over (batch, steps, features); its last output is classified."""

    def __init__(self, kind: str, features: int, width: int, layers: int = 1, classes: int = 10) -> None:
        super().__init__()
        self.cells = getattr(nn, kind)(features, width, num_layers=layers, batch_first=True)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Any) -> Any:
        outputs, _ = self.cells(x)
        return self.head(outputs[:, -1])


def bag_of_words(vocabulary: int, width: int, hidden: int, classes: int) -> nn.Module:
    """The mean of a text's embeddings, classified."""
    words = nn.EmbeddingBag(vocabulary, width, mode="mean")
    return nn.Sequential(words, nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, classes))


MODELS: dict[str, Callable[..., nn.Module]] = {
    "mlp": mlp,
    "gpt": GPT,
    "encoder": Encoder,
    "vit": ViT,
    "recurrent": Recurrent,
    "bag_of_words": bag_of_words,
    "resnet": convnets.resnet,
    "bottlenecks": convnets.bottlenecks,
    "vgg": convnets.vgg,
    "mobilenet": convnets.mobilenet,
    "convnext": convnets.convnext,
    "autoencoder": convnets.autoencoder,
}
