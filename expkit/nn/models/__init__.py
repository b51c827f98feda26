"""Built-in architectures, registered in the group "model"; sizes come from `input_shape` and `output_size`."""

from expkit.nn.models.cnn import CNN
from expkit.nn.models.linear import LinearModel
from expkit.nn.models.mlp import MLP
