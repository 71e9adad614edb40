"""Transformers: attention and a small network in turn, each added to what goes in."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_ce.engine import devices
from tinygrad_ce.engine.frame import current
from tinygrad_ce.engine.operands import leaf, numbers, value_of
from tinygrad_ce.engine.promotion import default_dtype
from tinygrad_ce.engine.table import where
from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.nn import functional as F, init
from tinygrad_ce.nn.activations import GELU, ReLU
from tinygrad_ce.nn.attention import MultiheadAttention
from tinygrad_ce.nn.containers import ModuleList
from tinygrad_ce.nn.dropout import Dropout
from tinygrad_ce.nn.functional.attention import additive
from tinygrad_ce.nn.layer import Layer
from tinygrad_ce.nn.linear import Linear
from tinygrad_ce.nn.module import Module
from tinygrad_ce.nn.normalization import LayerNorm

Activation = str | Callable[[Tensor], Tensor]


def activation_named(activation: Activation) -> Callable[[Tensor], Tensor]:
    """A function: "relu", "gelu", or one that is given."""
    if not isinstance(activation, str):
        return activation
    if activation not in ("relu", "gelu"):
        raise RuntimeError(f'activation={activation!r}; wanted "relu", "gelu" or a function')
    return F.relu if activation == "relu" else F.gelu


class _TransformerLayer(Layer):
    """What both kinds of layers have."""

    attentions: tuple[str, ...] = ()
    self_attn: MultiheadAttention
    multihead_attn: MultiheadAttention

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = F.relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        given = {"device": device, "dtype": dtype}
        for name in self.attentions:
            attention = MultiheadAttention(
                d_model, nhead, dropout, bias, batch_first=batch_first, **given
            )
            setattr(self, name, attention)
        self.linear1 = Linear(d_model, dim_feedforward, bias, **given)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, **given)
        self.norm_first = norm_first
        numbers = range(1, len(self.attentions) + 2)
        for i in numbers:
            setattr(self, f"norm{i}", LayerNorm(d_model, layer_norm_eps, bias=bias, **given))
        for i in numbers:
            setattr(self, f"dropout{i}", Dropout(dropout))
        self.activation = activation_named(activation)

    def _add(self, x: Tensor, i: int, block: Callable[[Tensor], Tensor]) -> Tensor:
        """x + block(x), with the i-th dropout, and normalised before the block or at the end."""
        norm, drop = getattr(self, f"norm{i}"), getattr(self, f"dropout{i}")
        if self.norm_first:
            return x + drop(block(norm(x)))
        return norm(x + drop(block(x)))

    def _feed_forward(self, x: Tensor) -> Tensor:
        return self.linear2(self.dropout(self.activation(self.linear1(x))))


class TransformerEncoderLayer(_TransformerLayer):
    """x + attention(x), then x + W₂ max(W₁x + b₁, 0) + b₂, each normalised: (L, N, E) -> the same.

    With norm_first the normalisation stands before each of the two.

    >>> layer = TransformerEncoderLayer(d_model=4, nhead=2, dim_feedforward=8)
    >>> layer(Tensor([[[1.0, 2.0, 3.0, 4.0]]])).shape
    torch.Size([1, 1, 4])
    """

    formula = "x + attention(x), x + W₂ relu(W₁ x)"
    data = "src"
    attentions = ("self_attn",)

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """(L, N, E) -> (L, N, E); a mask (L, L) and a mask of padding (N, L)."""
        x = self._add(
            src, 1, attending(self.self_attn, None, src_mask, src_key_padding_mask, is_causal)
        )
        return self._add(x, 2, self._feed_forward)


class TransformerDecoderLayer(_TransformerLayer):
    """An encoder layer that also attends to what an encoder gives: (T, N, E), (S, N, E) -> (T, N, E).

    >>> layer = TransformerDecoderLayer(d_model=4, nhead=2, dim_feedforward=8)
    >>> x = Tensor([[[1.0, 2.0, 3.0, 4.0]]])
    >>> layer(x, x).shape
    torch.Size([1, 1, 4])
    """  # noqa: E501

    formula = "x + attention(x), x + attention(x, memory), x + W₂ relu(W₁ x)"
    data = "tgt, memory"
    attentions = ("self_attn", "multihead_attn")

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """(T, N, E), (S, N, E) -> (T, N, E)."""
        own = attending(self.self_attn, None, tgt_mask, tgt_key_padding_mask, tgt_is_causal)
        other = attending(
            self.multihead_attn, memory, memory_mask, memory_key_padding_mask, memory_is_causal
        )
        return self._add(self._add(self._add(tgt, 1, own), 2, other), 3, self._feed_forward)


def attending(
    attention: Any, memory: Tensor | None, mask: Any, padding: Any, causal: bool
) -> Callable[[Tensor], Tensor]:
    """x ↦ what x finds in the memory, or in itself."""

    def block(x: Tensor) -> Tensor:
        kv = x if memory is None else memory
        y: Tensor = attention(
            x, kv, kv, attn_mask=mask, key_padding_mask=padding, need_weights=False,
            is_causal=causal,
        )[0]  # fmt: skip
        return y

    return block


def clones(layer: Module, count: int) -> ModuleList:
    """Copies of a layer, with the same initial values."""
    return ModuleList([copy.deepcopy(layer) for _ in range(count)])


def leaves_out_padding(layer: Any, src: Tensor, padding: Tensor) -> bool:
    """Whether PyTorch would leave padding out: where nothing is recorded, and it comes last."""
    if current().record or layer.training or src.ndim != 3:
        return False
    if not isinstance(layer, TransformerEncoderLayer) or layer.norm_first:
        return False
    attention, known = layer.self_attn, (F.relu, F.gelu)
    kind = layer.activation in known or isinstance(layer.activation, (ReLU, GELU))
    even = attention.batch_first and attention.num_heads % 2 == 0
    if not (kind and even and attention.in_proj_bias is not None):
        return False
    hidden = numbers(value_of(padding)) != 0
    return bool((hidden[:, 1:] >= hidden[:, :-1]).all())


class TransformerEncoder(Layer):
    """Encoder layers on each other, and a norm: (L, N, E) -> (L, N, E).

    All begin with the values of the layer that is given. `enable_nested_tensor` and `mask_check`
    are for speed in PyTorch, and change here only that in eval() and no_grad() padding, where it
    would be left out there, comes out as 0.

    >>> encoder = TransformerEncoder(TransformerEncoderLayer(4, 2, 8, batch_first=True), 2)
    >>> encoder(Tensor([[[1.0, 2.0, 3.0, 4.0]]])).shape
    torch.Size([1, 1, 4])
    """

    def __init__(
        self,
        encoder_layer: Module,
        num_layers: int,
        norm: Module | None = None,
        enable_nested_tensor: bool = True,
        mask_check: bool = True,
    ) -> None:
        self.layers = clones(encoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm
        self.enable_nested_tensor = enable_nested_tensor
        self.mask_check = mask_check

    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        """(L, N, E) -> (L, N, E); a mask (L, L) and a mask of padding (N, L)."""
        name, padding = "TransformerEncoder", src_key_padding_mask
        mask, padding = additive(mask, src, name), additive(padding, src, name)
        causal = bool(is_causal) and mask is not None  # a hint, which changes no number
        x = src
        for layer in self.layers:
            x = layer(x, src_mask=mask, is_causal=causal, src_key_padding_mask=padding)
        left_out = self.enable_nested_tensor and mask is None
        if padding is not None and left_out and leaves_out_padding(self.layers[0], src, padding):
            x = where(padding.unsqueeze(-1) != 0.0, 0.0, x)
        return x if self.norm is None else self.norm(x)


class TransformerDecoder(Layer):
    """Decoder layers on each other, and a norm: (T, N, E), (S, N, E) -> (T, N, E).

    >>> decoder = TransformerDecoder(TransformerDecoderLayer(4, 2, 8), 2)
    >>> x = Tensor([[[1.0, 2.0, 3.0, 4.0]]])
    >>> decoder(x, x).shape
    torch.Size([1, 1, 4])
    """

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        self.layers = clones(decoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """(T, N, E), (S, N, E) -> (T, N, E)."""
        x = tgt
        causal = bool(tgt_is_causal) and tgt_mask is not None  # a hint, which changes no number
        for layer in self.layers:
            x = layer(
                x, memory, tgt_mask=tgt_mask, memory_mask=memory_mask,
                tgt_key_padding_mask=tgt_key_padding_mask,
                memory_key_padding_mask=memory_key_padding_mask,
                tgt_is_causal=causal, memory_is_causal=memory_is_causal,
            )  # fmt: skip
        return x if self.norm is None else self.norm(x)


class Transformer(Layer):
    """An encoder, and a decoder that attends to it: (S, N, E), (T, N, E) -> (T, N, E).

    Matrices are drawn by Glorot and Bengio's formula (Vaswani et al., 2017).

    >>> model = Transformer(4, 2, 1, 1, 8)
    >>> x = Tensor([[[1.0, 2.0, 3.0, 4.0]]])
    >>> model(x, x).shape
    torch.Size([1, 1, 4])
    """

    data = "src, tgt"

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = F.relu,
        custom_encoder: Any = None,
        custom_decoder: Any = None,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        settings = (d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps,
                    batch_first, norm_first, bias, device, dtype)  # fmt: skip
        norm = {"eps": layer_norm_eps, "bias": bias, "device": device, "dtype": dtype}
        if custom_encoder is None:
            layer: Module = TransformerEncoderLayer(*settings)
            end = LayerNorm(d_model, **norm)
            custom_encoder = TransformerEncoder(layer, num_encoder_layers, end)
        self.encoder = custom_encoder
        if custom_decoder is None:
            layer = TransformerDecoderLayer(*settings)
            end = LayerNorm(d_model, **norm)
            custom_decoder = TransformerDecoder(layer, num_decoder_layers, end)
        self.decoder = custom_decoder
        self._reset_parameters()
        self.d_model = d_model
        self.nhead = nhead
        self.batch_first = batch_first

    def _reset_parameters(self) -> None:
        for parameter in self.parameters():
            if parameter.dim() > 1:
                init.xavier_uniform_(parameter)

    def forward(
        self,
        src: Tensor,
        tgt: Tensor,
        src_mask: Tensor | None = None,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """(S, N, E), (T, N, E) -> (T, N, E)."""
        batch = 0 if self.batch_first else 1
        if src.ndim == 3 and src.shape[batch] != tgt.shape[batch]:
            raise RuntimeError(
                f"Transformer: src {tuple(src.shape)} and tgt {tuple(tgt.shape)} have batches of "
                "different sizes"
            )
        if src.shape[-1] != self.d_model or tgt.shape[-1] != self.d_model:
            raise RuntimeError(
                f"Transformer: src {tuple(src.shape)}, tgt {tuple(tgt.shape)}; wanted "
                f"(..., {self.d_model}), d_model"
            )
        memory = self.encoder(src, src_mask, src_key_padding_mask, src_is_causal)
        return self.decoder(
            tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask,
            tgt_is_causal, memory_is_causal,
        )  # fmt: skip

    @staticmethod
    def generate_square_subsequent_mask(sz: int, device: Any = None, dtype: Any = None) -> Tensor:
        """A mask (sz, sz) to add that hides what comes later: -inf above the diagonal, 0 elsewhere.

        >>> Transformer.generate_square_subsequent_mask(2)
        tensor([[0., -inf],
                [0., 0.]])
        """
        devices.check(device)
        mask = np.triu(np.full((sz, sz), -math.inf), 1)
        return leaf(mask.astype(default_dtype() if dtype is None else dtype))
