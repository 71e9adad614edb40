"""Multi-head attention."""

from __future__ import annotations

from typing import Any

from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.nn import functional as F, init
from tinygrad_ce.nn.layer import Layer, new_parameter, positive
from tinygrad_ce.nn.linear import Linear
from tinygrad_ce.nn.parameter import Parameter


class NonDynamicallyQuantizableLinear(Linear):
    """The last matrix of an attention; a Linear under the name that PyTorch prints."""


class MultiheadAttention(Layer):
    """Attention in several heads: (L, N, E), (S, N, E), (S, N, E) -> (L, N, E), (N, L, S).

    softmax(Q Kᵀ/√d) V in each head of size d = E/heads, Q, K and V being the inputs times a matrix
    each; what the heads give, side by side, times another matrix. With batch_first N comes first.
    `kdim` and `vdim` are the sizes of keys and values, `add_bias_kv` adds a key and a value that
    are trained, `add_zero_attn` one of zeros. Masks say what is not to be seen; see
    `functional.multi_head_attention_forward`.

    >>> attention = MultiheadAttention(4, 2, batch_first=True)
    >>> x = Tensor([[[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]])
    >>> y, weights = attention(x, x, x)
    >>> y.shape, weights.shape
    (torch.Size([1, 2, 4]), torch.Size([1, 2, 2]))
    """

    formula = "softmax(QKᵀ/√d) V, in heads"
    data = "query, key, value"
    in_proj_weight: Parameter | None
    in_proj_bias: Parameter | None

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        name, given = "MultiheadAttention", {"device": device, "dtype": dtype}
        self.embed_dim = embed = positive(embed_dim, "embed_dim", name)
        self.kdim = embed if kdim is None else kdim
        self.vdim = embed if vdim is None else vdim
        self.num_heads = positive(num_heads, "num_heads", name)
        self.dropout = dropout
        self.batch_first = batch_first
        self.head_dim = embed // num_heads
        if embed % num_heads:
            raise AssertionError(f"{name}: embed_dim={embed} must be divisible by {num_heads}")
        if self.kdim == self.vdim == embed:
            self.in_proj_weight = new_parameter(3 * embed, embed, **given)
            self.q_proj_weight = self.k_proj_weight = self.v_proj_weight = None
        else:
            self.q_proj_weight = new_parameter(embed, embed, **given)
            self.k_proj_weight = new_parameter(embed, self.kdim, **given)
            self.v_proj_weight = new_parameter(embed, self.vdim, **given)
            self.in_proj_weight = None
        self.in_proj_bias = new_parameter(3 * embed, **given) if bias else None
        self.out_proj = NonDynamicallyQuantizableLinear(embed, embed, bias, **given)
        self.bias_k = new_parameter(1, 1, embed, **given) if add_bias_kv else None
        self.bias_v = new_parameter(1, 1, embed, **given) if add_bias_kv else None
        self.add_zero_attn = add_zero_attn
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        """Draw new initial values: by Glorot and Bengio's formula; biases are 0."""
        matrices = (
            self.in_proj_weight, self.q_proj_weight, self.k_proj_weight, self.v_proj_weight
        )  # fmt: skip
        for matrix in matrices:
            if matrix is not None:
                init.xavier_uniform_(matrix)
        if self.in_proj_bias is not None and self.out_proj.bias is not None:
            init.zeros_(self.in_proj_bias)
            init.zeros_(self.out_proj.bias)
        for bias in (self.bias_k, self.bias_v):
            if bias is not None:
                init.xavier_normal_(bias)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """(L, N, E), (S, N, E), (S, N, E) -> (L, N, E), (N, L, S)."""
        turned = self.batch_first and query.ndim == 3
        if turned:
            query, key, value = (x.transpose(0, 1) for x in (query, key, value))
        y, weights = F.multi_head_attention_forward(
            query, key, value, self.embed_dim, self.num_heads, self.in_proj_weight,
            self.in_proj_bias, self.bias_k, self.bias_v, self.add_zero_attn, self.dropout,
            self.out_proj.weight, self.out_proj.bias, self.training, key_padding_mask,
            need_weights, attn_mask, self.in_proj_weight is None, self.q_proj_weight,
            self.k_proj_weight, self.v_proj_weight, average_attn_weights, is_causal,
        )  # fmt: skip
        return y.transpose(0, 1) if turned else y, weights
