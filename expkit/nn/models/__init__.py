"""Built-in architectures, registered in the group "model"; sizes come from `input_shape` and `output_size`."""

from expkit.nn.models.autoencoder import Autoencoder
from expkit.nn.models.bert import BERT
from expkit.nn.models.cnn import CNN
from expkit.nn.models.convnext import ConvNeXt
from expkit.nn.models.gpt import GPT
from expkit.nn.models.gpt2 import GPT2
from expkit.nn.models.language_rnn import GRULanguageModel, LSTMLanguageModel
from expkit.nn.models.linear import LinearModel
from expkit.nn.models.mlp import MLP
from expkit.nn.models.mlp_mixer import MLPMixer
from expkit.nn.models.mobilenet import MobileNet
from expkit.nn.models.resnet import ResNet18, ResNet20, ResNet32, ResNet34, ResNet50, ResNet56
from expkit.nn.models.rnn import GRUClassifier, LSTMClassifier
from expkit.nn.models.tcn import TCN
from expkit.nn.models.transformer import TransformerClassifier
from expkit.nn.models.unet import UNet
from expkit.nn.models.vae import VAE
from expkit.nn.models.vgg import VGG
from expkit.nn.models.vit import ViT
