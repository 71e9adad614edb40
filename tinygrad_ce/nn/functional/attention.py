"""Attention: means of values, weighted by how well their keys fit a query."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_ce.engine import functions, table
from tinygrad_ce.engine.frame import composed
from tinygrad_ce.engine.functions import decided, fixed, looked_at
from tinygrad_ce.engine.operands import leaf
from tinygrad_ce.engine.table import where
from tinygrad_ce.engine.tensor import Tensor
from tinygrad_ce.nn.functional.layers import dropout, linear
from tinygrad_ce.nn.functional.warn import warn


@composed("softmax(QKᵀ/√E + M) V")
def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(Q Kᵀ·scale + mask) V: (..., L, E), (..., S, E), (..., S, Ev) -> (..., L, Ev).

    With A = softmax(Q Kᵀ·scale + mask), G = g Vᵀ and S = A·(G - Σ A·G), the sum over each row:

    ∂L/∂Q = scale * S @ K; ∂L/∂K = scale * S.T @ Q; ∂L/∂V = A.T @ g

    `scale` is 1/√E unless given. A mask of booleans says who may be looked at; one of floats is
    added; `is_causal` lets query i look at the keys 0 ... i. A query that may look at nothing gets
    0. Weights are dropped with probability `dropout_p`, always. With `enable_gqa` several heads of
    queries share one of keys: (..., H, L, E), (..., H/n, S, E).

    >>> from tinygrad_ce import tensor
    >>> q, v = tensor([[0.0], [0.0]]), tensor([[1.0], [3.0]])
    >>> scaled_dot_product_attention(q, q, v, is_causal=True)
    tensor([[1.],
            [2.]])
    """
    name = "scaled_dot_product_attention"
    if query.ndim < 2 or query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
        raise ValueError(
            f"{name}: query {tuple(query.shape)}, key {tuple(key.shape)}, value "
            f"{tuple(value.shape)}; wanted (..., L, E), (..., S, E), (..., S, Ev)"
        )
    if is_causal and attn_mask is not None:
        raise RuntimeError(f"{name}: attn_mask and is_causal are both given; leave one out")
    if enable_gqa:
        key, value = (shared_heads(x, query, name) for x in (key, value))
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = table.matmul(query * scale, table.mT(key))
    if is_causal:
        seen = np.tri(query.shape[-2], key.shape[-2], dtype=bool)
        weights = functions.softmax(where(fixed(seen, scores), scores, -math.inf), -1)
    elif attn_mask is not None:
        weights = safe_softmax(masked_scores(scores, attn_mask))
    else:
        weights = functions.softmax(scores, -1)
    return table.matmul(dropout(weights, dropout_p), value)


def shared_heads(x: Tensor, query: Tensor, name: str) -> Tensor:
    """Each head as often as it is shared."""
    heads, own = query.shape[-3], x.shape[-3]
    if heads % own:
        raise RuntimeError(f"{name}: {heads} heads of queries do not divide into {own} of keys")
    index = leaf(np.repeat(np.arange(own), heads // own))
    return x[(..., index, slice(None), slice(None))]


def masked_scores(scores: Any, mask: Any) -> Any:
    """Scores with -inf where a mask of booleans is False, or with a mask of floats added."""
    return where(mask, scores, -math.inf) if mask.dtype.kind == "b" else scores + mask


def safe_softmax(scores: Any) -> Any:
    """Softmax over the last dimension, 0 in rows that are -inf everywhere."""
    v = looked_at(scores)
    nothing = decided(table.all(v == -math.inf, -1, True), scores)
    return where(nothing, 0.0, functions.softmax(where(nothing, 0.0, scores), -1))


def additive(mask: Tensor | None, like: Tensor, name: str) -> Tensor | None:
    """A mask to add: -inf where a mask of booleans, of what is *not* to be seen, is True."""
    if mask is None or mask.dtype.kind == "f":
        return mask
    if mask.dtype.kind != "b":
        raise TypeError(f"{name}: the mask has dtype {mask.dtype}; wanted bool or float")
    return where(mask, leaf(np.full((), -math.inf, like.dtype)), leaf(np.zeros((), like.dtype)))


def multi_head_attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Attention in several heads: (L, N, E), (S, N, Ek), (S, N, Ev) -> (L, N, E), (N, L, S).

    Query, key and value go through a matrix each (the thirds of `in_proj_weight`), are cut into
    heads, and what the heads give goes through `out_proj_weight`. Masks of booleans say what is
    *not* to be seen, those of floats are added; `key_padding_mask` is (N, S), `attn_mask` (L, S)
    or (N·heads, L, S). The weights, a mean over the heads unless average_attn_weights=False, come
    with need_weights. Without a batch there is no N anywhere.
    """
    batched = check_attention(query, key, value, embed_dim_to_check, num_heads)
    if is_causal and attn_mask is None:
        raise RuntimeError(
            "multi_head_attention_forward: is_causal is a hint about attn_mask, which is missing; "
            "write attn_mask=nn.Transformer.generate_square_subsequent_mask(L)"
        )
    if not batched:
        query, key, value = (x.unsqueeze(1) for x in (query, key, value))
        key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
    length, n, embed = query.shape
    same = not use_separate_proj_weight
    weights = (
        in_proj_weight.chunk(3) if same and in_proj_weight is not None
        else (q_proj_weight, k_proj_weight, v_proj_weight)
    )  # fmt: skip
    biases = (None,) * 3 if in_proj_bias is None else in_proj_bias.chunk(3)
    q, k, v = (linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases))  # type: ignore[arg-type]
    own = key.shape[0]
    if bias_k is not None and bias_v is not None:
        k, v = (table.concatenate(x, b.expand(1, n, embed), axis=0)
                for x, b in ((k, bias_k), (v, bias_v)))  # fmt: skip
    q, k, v = (into_heads(x, num_heads) for x in (q, k, v))
    if add_zero_attn:
        k, v = (table.pad(x, ((0, 0), (0, 0), (0, 1), (0, 0))) for x in (k, v))
    mask = merged_mask(attn_mask, key_padding_mask, query, num_heads, (n, length, own), k.shape[2])
    p = dropout_p if training else 0.0
    if need_weights:
        scores = table.matmul(q * math.sqrt(num_heads / embed), table.mT(k))
        found = dropout(functions.softmax(scores if mask is None else scores + mask, -1), p)
        y = table.matmul(found, v)
        found = found.mean(1) if average_attn_weights else found
        found = found if batched else found.squeeze(0)
    else:
        y, found = scaled_dot_product_attention(q, k, v, mask, p), None
    rows = table.reshape(table.transpose(y, (2, 0, 1, 3)), (length * n, embed))
    y = table.reshape(linear(rows, out_proj_weight, out_proj_bias), (length, n, -1))
    return y if batched else y.squeeze(1), found


def check_attention(query: Any, key: Any, value: Any, embed: int, heads: int) -> bool:
    """Whether there is a batch; shapes that do not fit are refused."""
    name = "multi_head_attention_forward"
    if query.ndim not in (2, 3) or {key.ndim, value.ndim} != {query.ndim}:
        raise AssertionError(
            f"{name}: query {tuple(query.shape)}, key {tuple(key.shape)}, value "
            f"{tuple(value.shape)}; wanted three of (length, N, E), or of (length, E)"
        )
    if query.shape[-1] != embed or embed % heads:
        raise AssertionError(
            f"{name}: query has shape {tuple(query.shape)}; wanted (..., {embed}), for {heads} "
            "heads of one size"
        )
    if key.shape[:-1] != value.shape[:-1]:
        raise AssertionError(
            f"{name}: key {tuple(key.shape)} and value {tuple(value.shape)}; wanted one value for "
            "each key"
        )
    return query.ndim == 3


def into_heads(x: Tensor, heads: int) -> Tensor:
    """(L, N, E) -> (N, heads, L, E/heads)."""
    length, n, embed = x.shape
    return table.transpose(table.reshape(x, (length, n, heads, embed // heads)), (1, 2, 0, 3))


def merged_mask(
    attn_mask: Tensor | None,
    key_padding_mask: Tensor | None,
    like: Tensor,
    heads: int,
    sizes: tuple[int, int, int],
    keys: int,
) -> Tensor | None:
    """Both masks as one to add, of a shape that broadcasts to (N, heads, L, S)."""
    name, (n, length, own) = "multi_head_attention_forward", sizes
    both = [mask for mask in (attn_mask, key_padding_mask) if mask is not None]
    if len(both) == 2 and both[0].dtype != both[1].dtype:
        warn("Support for mismatched key_padding_mask and attn_mask is deprecated. "
             "Use same type for both instead.")  # fmt: skip
    extra = ((0, 0), (0, keys - own))
    merged = None
    if attn_mask is not None:
        mask = additive(attn_mask, like, name)
        if tuple(attn_mask.shape) not in ((length, own), (n * heads, length, own)):
            raise RuntimeError(
                f"{name}: attn_mask has shape {tuple(attn_mask.shape)}; wanted ({length}, {own}) "
                f"or ({n * heads}, {length}, {own})"
            )
        mask = table.pad(mask, ((0, 0),) * (attn_mask.ndim - 2) + extra) if keys > own else mask
        merged = mask if attn_mask.ndim == 2 else table.reshape(mask, (n, heads, length, keys))
    if key_padding_mask is not None:
        if tuple(key_padding_mask.shape) != (n, own):
            raise AssertionError(
                f"{name}: key_padding_mask has shape {tuple(key_padding_mask.shape)}; wanted "
                f"({n}, {own})"
            )
        mask = additive(key_padding_mask, like, name)
        mask = table.pad(mask, extra) if keys > own else mask
        mask = table.reshape(mask, (n, 1, 1, keys))
        merged = mask if merged is None else merged + mask
    return merged
