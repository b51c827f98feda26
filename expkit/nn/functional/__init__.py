"""The functions behind the modules: `import expkit.nn.functional as F`. Arguments and semantics are PyTorch's."""

from expkit.nn.functional.activation import (
    celu,
    elu,
    gelu,
    glu,
    hardshrink,
    hardsigmoid,
    hardswish,
    hardtanh,
    leaky_relu,
    log_softmax,
    logsigmoid,
    mish,
    prelu,
    relu,
    relu6,
    selu,
    sigmoid,
    silu,
    softmax,
    softmin,
    softplus,
    softshrink,
    softsign,
    tanh,
    tanhshrink,
    threshold,
)
from expkit.nn.functional.attention import scaled_dot_product_attention
from expkit.nn.functional.classification import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    kl_div,
    nll_loss,
)
from expkit.nn.functional.ctc import ctc_loss
from expkit.nn.functional.distance import cosine_similarity, normalize, pairwise_distance
from expkit.nn.functional.dropout import (
    alpha_dropout,
    dropout,
    dropout1d,
    dropout2d,
    dropout3d,
    feature_alpha_dropout,
)
from expkit.nn.functional.linear import bilinear
from expkit.nn.functional.linear_loss import LinearCrossEntropyOptions, linear_cross_entropy
from expkit.nn.functional.lookup import embedding, embedding_bag, one_hot
from expkit.nn.functional.margin import (
    cosine_embedding_loss,
    gaussian_nll_loss,
    hinge_embedding_loss,
    margin_ranking_loss,
    multi_margin_loss,
    multilabel_margin_loss,
    multilabel_soft_margin_loss,
    poisson_nll_loss,
    soft_margin_loss,
    triplet_margin_loss,
    triplet_margin_with_distance_loss,
)
from expkit.nn.functional.multihead import multi_head_attention_forward
from expkit.nn.functional.norm import batch_norm, instance_norm, local_response_norm
from expkit.nn.functional.overwriting import celu_, elu_, hardtanh_, leaky_relu_, relu_, rrelu_, selu_, threshold_
from expkit.nn.functional.padding import pad
from expkit.nn.functional.pooling import (
    fractional_max_pool2d,
    fractional_max_pool3d,
    lp_pool1d,
    lp_pool2d,
    lp_pool3d,
    max_unpool1d,
    max_unpool2d,
    max_unpool3d,
)
from expkit.nn.functional.random_activation import gumbel_softmax, rrelu
from expkit.nn.functional.regression import huber_loss, l1_loss, mse_loss, smooth_l1_loss
from expkit.nn.functional.sampling import affine_grid, grid_sample
from expkit.nn.functional.shuffle import channel_shuffle, pixel_shuffle, pixel_unshuffle
from expkit.tensor import group_norm, layer_norm, linear, pdist, precision
from expkit.tensor.ops.conv import conv1d, conv2d, conv3d, conv_transpose1d, conv_transpose2d, conv_transpose3d
from expkit.tensor.ops.interpolate import interpolate, upsample, upsample_bilinear, upsample_nearest
from expkit.tensor.ops.patches import fold, unfold
from expkit.tensor.ops.pool import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    adaptive_max_pool3d,
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    max_pool1d,
    max_pool2d,
    max_pool3d,
)
from expkit.tensor.ops.rms_norm import rms_norm

precision.cast_public(globals(), but=precision.SELF_CASTING)
