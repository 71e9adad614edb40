"""Functions of neural networks, each a graph composed from the calculus table.

Nothing here is fused: a picture of `cross_entropy` shows its exp, log, sum and subtraction. What
makes them right at extremes is said where they are composed, here and in engine/functions.py.
"""

from typing import Any

from tinygrad_ce.nn.functional.activations import (
    elu as elu,
    gelu as gelu,
    gumbel_softmax as gumbel_softmax,
    leaky_relu as leaky_relu,
    log_sigmoid as log_sigmoid,
    log_softmax as log_softmax,
    logsigmoid as logsigmoid,
    logsumexp as logsumexp,
    relu as relu,
    relu_ as relu_,
    sigmoid as sigmoid,
    silu as silu,
    softmax as softmax,
    softplus as softplus,
    tanh as tanh,
)
from tinygrad_ce.nn.functional.attention import (
    multi_head_attention_forward as multi_head_attention_forward,
    scaled_dot_product_attention as scaled_dot_product_attention,
)
from tinygrad_ce.nn.functional.convolutions import (
    conv1d as conv1d,
    conv2d as conv2d,
    conv_transpose2d as conv_transpose2d,
    unfold as unfold,
)
from tinygrad_ce.nn.functional.distances import (
    cosine_embedding_loss as cosine_embedding_loss,
    cosine_similarity as cosine_similarity,
    normalize as normalize,
    pairwise_distance as pairwise_distance,
    triplet_margin_loss as triplet_margin_loss,
)
from tinygrad_ce.nn.functional.layers import (
    dropout as dropout,
    dropout1d as dropout1d,
    dropout2d as dropout2d,
    embedding as embedding,
    linear as linear,
    one_hot as one_hot,
)
from tinygrad_ce.nn.functional.losses import (
    binary_cross_entropy as binary_cross_entropy,
    binary_cross_entropy_with_logits as binary_cross_entropy_with_logits,
    cross_entropy as cross_entropy,
    huber_loss as huber_loss,
    kl_div as kl_div,
    l1_loss as l1_loss,
    mse_loss as mse_loss,
    nll_loss as nll_loss,
    smooth_l1_loss as smooth_l1_loss,
)
from tinygrad_ce.nn.functional.normalization import (
    batch_norm as batch_norm,
    group_norm as group_norm,
    layer_norm as layer_norm,
    rms_norm as rms_norm,
)
from tinygrad_ce.nn.functional.padding import (
    pad as pad,
)
from tinygrad_ce.nn.functional.pools import (
    adaptive_avg_pool1d as adaptive_avg_pool1d,
    adaptive_avg_pool2d as adaptive_avg_pool2d,
    avg_pool1d as avg_pool1d,
    avg_pool2d as avg_pool2d,
    max_pool1d as max_pool1d,
    max_pool2d as max_pool2d,
)

__all__ = ["adaptive_avg_pool1d", "adaptive_avg_pool2d", "avg_pool1d", "avg_pool2d", "batch_norm",
           "binary_cross_entropy", "binary_cross_entropy_with_logits", "conv1d", "conv2d",
           "conv_transpose2d", "cosine_embedding_loss", "cosine_similarity", "cross_entropy",
           "dropout", "dropout1d", "dropout2d", "elu", "embedding", "gelu", "group_norm",
           "gumbel_softmax", "huber_loss", "kl_div", "l1_loss", "layer_norm", "leaky_relu",
           "linear", "log_sigmoid", "log_softmax", "logsigmoid", "logsumexp", "max_pool1d",
           "max_pool2d", "mse_loss", "multi_head_attention_forward", "nll_loss", "normalize",
           "one_hot", "pad", "pairwise_distance", "relu", "relu_", "rms_norm",
           "scaled_dot_product_attention", "sigmoid", "silu", "smooth_l1_loss", "softmax",
           "softplus", "tanh", "triplet_margin_loss", "unfold"]  # fmt: skip


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    from tinygrad_ce.absent import refuse

    refuse(__name__, name)
