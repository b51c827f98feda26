"""vae: a distribution of short vectors for each sample, and samples from such vectors."""

from __future__ import annotations

from expkit.nn.models.coders import decoder, encoder
from expkit.nn.models.parts import size
from expkit.nn.module import Module
from expkit.registry import register
from expkit.tensor import Tensor, no_grad, randn, randn_like


@register("model", "vae")
class VAE(Module):
    """Variational autoencoder (Kingma and Welling, 2014): q(z|x) normal with diagonal covariance, p(z) standard normal.

    `channels`: convolutions of stride 2, for images; without any all layers are dense. Their sizes are `hidden`.
    z is drawn while training; in eval mode it is the mean. The output is linear, as that of `autoencoder`.
    (N, *input_shape) -> (N, *input_shape)
    """

    default_task = "reconstruction"

    def __init__(
        self,
        input_shape: tuple[int, ...],
        latent_size: int = 8,
        hidden: list[int] | tuple[int, ...] = (128,),
        channels: list[int] | tuple[int, ...] = (),
        activation: str = "relu",
    ) -> None:
        super().__init__()
        self.latent_size = size("model.latent_size", latent_size)
        self.encoder = encoder("vae", input_shape, channels, hidden, 2 * latent_size, activation)
        self.decoder = decoder("vae", input_shape, channels, hidden, latent_size, activation)

    def encode(self, input: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance of q(z|x).   (N, *input_shape) -> (N, latent_size) each"""
        mean, log_var = self.encoder(input).chunk(2, dim=1)
        return mean, log_var

    def reparameterize(self, mean: Tensor, log_var: Tensor) -> Tensor:
        """z = mean + deviation * noise; the mean in eval mode."""
        return mean + (log_var * 0.5).exp() * randn_like(mean) if self.training else mean

    def decode(self, z: Tensor) -> Tensor:
        """(N, latent_size) -> (N, *input_shape)"""
        return self.decoder(z)

    def kl(self, mean: Tensor, log_var: Tensor) -> Tensor:
        """KL(q(z|x) || p(z)) = -½ Σ (1 + log σ² - μ² - σ²), in nats, averaged over the samples."""
        return -0.5 * (1 + log_var - mean * mean - log_var.exp()).sum(dim=1).mean()

    def forward(self, input: Tensor) -> Tensor:
        return self.decode(self.reparameterize(*self.encode(input)))

    def sample(self, n: int) -> Tensor:
        """`n` samples from the prior.   -> (n, *input_shape)"""
        weight = next(self.parameters())
        with no_grad():
            return self.decode(randn(n, self.latent_size, device=weight.device, dtype=weight.dtype))
