"""Functions of neural networks, each a graph composed from the calculus table.

Nothing here is fused: a picture of `cross_entropy` shows its exp, log, sum and subtraction. What
makes them right at extremes is said where they are composed, here and in engine/functions.py.
"""

from tinygrad_ce.nn.functional.activations import (
    gelu as gelu,
    leaky_relu as leaky_relu,
    log_sigmoid as log_sigmoid,
    log_softmax as log_softmax,
    logsigmoid as logsigmoid,
    logsumexp as logsumexp,
    relu as relu,
    sigmoid as sigmoid,
    silu as silu,
    softmax as softmax,
    softplus as softplus,
    tanh as tanh,
)
from tinygrad_ce.nn.functional.layers import (
    dropout as dropout,
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
)
from tinygrad_ce.nn.functional.normalization import (
    batch_norm as batch_norm,
    layer_norm as layer_norm,
)
from tinygrad_ce.nn.functional.windows import (
    avg_pool2d as avg_pool2d,
    conv2d as conv2d,
    max_pool2d as max_pool2d,
)
