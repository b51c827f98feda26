"""autoencoder: samples through a bottleneck, and back."""

from __future__ import annotations

from expkit.nn.models.coders import decoder, encoder
from expkit.nn.models.parts import size
from expkit.nn.module import Module
from expkit.registry import register
from expkit.tensor import Tensor


@register("model", "autoencoder")
class Autoencoder(Module):
    """Reconstructs its input from `bottleneck` numbers. Hinton and Salakhutdinov, 2006.

    `channels`: convolutions of stride 2, for images; without any all layers are dense. Their sizes are `hidden`.
    The output is linear: for a loss of images in [0, 1] that wants probabilities choose loss=bce_with_logits.
    (N, *input_shape) -> (N, *input_shape)
    """

    default_task = "reconstruction"

    def __init__(
        self,
        input_shape: tuple[int, ...],
        bottleneck: int = 16,
        hidden: list[int] | tuple[int, ...] = (128,),
        channels: list[int] | tuple[int, ...] = (),
        activation: str = "relu",
    ) -> None:
        super().__init__()
        code = size("model.bottleneck", bottleneck)
        self.encoder = encoder("autoencoder", input_shape, channels, hidden, code, activation)
        self.decoder = decoder("autoencoder", input_shape, channels, hidden, code, activation)

    def encode(self, input: Tensor) -> Tensor:
        """(N, *input_shape) -> (N, bottleneck)"""
        return self.encoder(input)

    def decode(self, code: Tensor) -> Tensor:
        """(N, bottleneck) -> (N, *input_shape)"""
        return self.decoder(code)

    def forward(self, input: Tensor) -> Tensor:
        return self.decode(self.encode(input))
