"""nn.functional and nn.utils: what is refused says what to write; and branches that are rare."""

import numpy as np
import pytest

import tinygrad_ce as tg
from tinygrad_ce.nn import functional as F
from tinygrad_ce.nn.utils import rnn, vector_to_parameters

ones = tg.ones


def heads(*shapes, embed=4, **options):
    """Attention in two heads of matrices of ones."""
    q, k, v = (ones(*shape) for shape in shapes)
    w, out = ones(3 * embed, embed), ones(embed, embed)
    return F.multi_head_attention_forward(
        q, k, v, embed, 2, w, None, None, None, False, 0.0, out, None, **options
    )


BATCH = ((3, 1, 4),) * 3

REFUSED = [
    # A call, the class of its error, and what the message says.
    (lambda: F.scaled_dot_product_attention(ones(2, 3), ones(2, 4), ones(2, 4)),
     ValueError, "query (2, 3), key (2, 4), value (2, 4); wanted (..., L, E)"),
    (lambda: F.scaled_dot_product_attention(*[ones(2, 3)] * 3, ones(2, 2) > 0, is_causal=True),
     RuntimeError, "attn_mask and is_causal are both given; leave one out"),
    (lambda: F.scaled_dot_product_attention(ones(3, 2, 1), *[ones(2, 2, 1)] * 2, enable_gqa=True),
     RuntimeError, "3 heads of queries do not divide into 2 of keys"),
    (lambda: heads(*BATCH, attn_mask=tg.ones(3, 3, dtype=tg.int64)),
     TypeError, "the mask has dtype torch.int64; wanted bool or float"),
    (lambda: heads(*BATCH, is_causal=True),
     RuntimeError, "attn_mask=nn.Transformer.generate_square_subsequent_mask(L)"),
    (lambda: heads((3, 4), (3, 1, 4), (3, 1, 4)),
     AssertionError, "query (3, 4), key (3, 1, 4), value (3, 1, 4); wanted three of (length, N"),
    (lambda: heads((3, 1, 6), (3, 1, 4), (3, 1, 4)),
     AssertionError, "query has shape (3, 1, 6); wanted (..., 4), for 2 heads of one size"),
    (lambda: heads((3, 3), (3, 3), (3, 3), embed=3), AssertionError, "for 2 heads of one size"),
    (lambda: heads((3, 1, 4), (3, 1, 4), (2, 1, 4)),
     AssertionError, "key (3, 1, 4) and value (2, 1, 4); wanted one value for each key"),
    (lambda: heads(*BATCH, attn_mask=ones(3, 2)),
     RuntimeError, "attn_mask has shape (3, 2); wanted (3, 3) or (2, 3, 3)"),
    (lambda: heads(*BATCH, key_padding_mask=ones(1, 2)),
     AssertionError, "key_padding_mask has shape (1, 2); wanted (1, 3)"),
    (lambda: F.conv1d(ones(1, 2, 5), ones(1, 3, 2)),
     ValueError, "conv1d: input (1, 2, 5), weight (1, 3, 2), groups=1; wanted (N, C, L)"),
    (lambda: F.conv_transpose2d(ones(1, 2, 3, 3), ones(3, 1, 2, 2)),
     ValueError, "weight (3, 1, 2, 2); wanted (N, C, H, W) and (C, O/groups, kh, kw)"),
    (lambda: F.conv_transpose2d(ones(1, 1, 3, 3), ones(1, 1, 2, 2), output_padding=1),
     ValueError, "output_padding=1; wanted less than the stride, or the dilation"),
    (lambda: F.unfold(ones(3, 3), 2), ValueError, "unfold: input has shape (3, 3); wanted (N, C"),
    (lambda: F.conv2d(ones(1, 1, 3, 3), ones(1, 1, 2, 2), padding="same", stride=2),
     ValueError, 'conv2d: padding="same" with stride=(2, 2); wanted a stride of 1'),
    (lambda: F.avg_pool1d(ones(1, 1, 1, 4), 2),
     ValueError, "avg_pool1d: input has shape (1, 1, 1, 4); wanted (N, C, L) or (C, L)"),
    (lambda: F.max_pool2d(ones(4, 4), 2), ValueError, "has shape (4, 4); wanted (N, C, H, W)"),
    (lambda: F.adaptive_avg_pool2d(ones(4, 4), 2),
     ValueError, "adaptive_avg_pool2d: input has shape (4, 4); wanted (N, C, H, W)"),
    (lambda: F.adaptive_avg_pool1d(ones(4), 2),
     ValueError, "adaptive_avg_pool1d: input has shape (4,); wanted (N, C, L)"),
    (lambda: F.cosine_embedding_loss(ones(2, 3), ones(2, 3), tg.tensor(1)),
     ValueError, "(2, 3) and (2, 3), target (); wanted (N, D), (N, D), (N,), or (D,), (D,), ()"),
    (lambda: F.triplet_margin_loss(ones(1, 2), ones(1, 2), ones(1, 2), margin=0.0),
     ValueError, "margin=0.0; wanted a positive number"),
    (lambda: F.smooth_l1_loss(ones(2), ones(2), beta=-1.0),
     ValueError, "smooth_l1_loss: beta=-1.0; wanted a positive number, or 0"),
    (lambda: F.embedding(tg.tensor([0]), ones(2, 2), scale_grad_by_freq=True),
     ValueError, "not scaled by frequency; leave it out"),
    (lambda: F.dropout2d(ones(2, 2)), ValueError, "has shape (2, 2); wanted (N, C, H, W)"),
    (lambda: F.dropout1d(ones(2)), ValueError, "has shape (2,); wanted (N, C, L)"),
    (lambda: F.group_norm(ones(2, 3), 2),
     ValueError, "input has shape (2, 3) and num_groups=2; wanted (N, C, ...) with C a multiple"),
    (lambda: F.pad(ones(2), (1, 1, 1)),
     ValueError, "pad=(1, 1, 1) for shape (2,); wanted (before, after) for the last dimension"),
    (lambda: F.pad(ones(2), (1, 1), mode="mirror"),
     ValueError, "mode='mirror'; wanted one of constant, reflect, replicate, circular"),
    (lambda: F.pad(ones(1, 2), (1, 1), mode="reflect", value=2.0),
     ValueError, "mode='reflect' takes no value"),
    (lambda: F.pad(ones(2), (1, 1), mode="reflect"),
     NotImplementedError, "pads the last 1 of 1 dimensions; wanted (C, ...) or (N, C, ...)"),
    (lambda: F.pad(ones(1, 2), (2, 0), mode="reflect"),
     RuntimeError, "(2, 0) around 2 elements; mode='reflect' has at most 1"),
    (lambda: F.pad(ones(1, 2), (0, 3), mode="circular"),
     RuntimeError, "(0, 3) around 2 elements; mode='circular' has at most 2"),
    (lambda: rnn.pad_sequence([ones(2)], padding_side="top"),
     RuntimeError, "padding_side='top'; wanted \"right\" or \"left\""),
    (lambda: rnn.pad_sequence(3), RuntimeError, "got an int; wanted a list of tensors"),
    (lambda: rnn.pack_sequence([]), RuntimeError, "pack_sequence: wanted a list of at least one"),
    (lambda: rnn.pad_sequence([[1, 2]]), RuntimeError, "wanted a list of at least one tensor"),
    (lambda: rnn.unpad_sequence(ones(2, 1), [1.5]),
     TypeError, "unpad_sequence: got [1.5] for lengths; wanted integers, one for each"),
    (lambda: vector_to_parameters([1.0], [ones(1)]),
     TypeError, "vector_to_parameters: got list; wanted a Tensor"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "words"), REFUSED, ids=[r[2][:40] for r in REFUSED])
def test_a_mistake_is_refused_and_the_message_says_what_to_write(call, error, words):
    with pytest.raises(error) as caught:
        call()
    assert words in str(caught.value)


def test_relu_with_an_underscore_writes_into_its_input():
    x = tg.tensor([-1.0, 2.0])
    assert F.relu_(x) is x
    assert x.tolist() == [0.0, 2.0]


def test_the_distance_of_a_triplet_swaps_to_the_nearer_of_anchor_and_positive():
    a, p, n = tg.tensor([[0.0, 0.0]]), tg.tensor([[3.0, 4.0]]), tg.tensor([[3.0, 5.0]])
    # ‖a − p‖ = 5, ‖a − n‖ = √34, ‖p − n‖ = 1.
    near = F.triplet_margin_loss(a, p, n, eps=0.0, swap=True).item()
    far = F.triplet_margin_loss(a, p, n, eps=0.0).item()
    np.testing.assert_allclose((near, far), (5.0, 6.0 - 34.0**0.5), rtol=1e-5)


def test_masks_of_two_dtypes_are_joined_with_a_warning():
    rng = np.random.default_rng(0)
    q, k, v = (tg.tensor(rng.standard_normal((3, 1, 4))) for _ in range(3))
    w, out = (tg.tensor(rng.standard_normal(shape)) for shape in ((12, 4), (4, 4)))
    added, padding = rng.standard_normal((3, 3)), np.array([[False, False, True]])
    with pytest.warns(UserWarning, match="Use same type for both instead"):
        y, weights = F.multi_head_attention_forward(
            q, k, v, 4, 2, w, None, None, None, False, 0.0, out, None,
            key_padding_mask=tg.tensor(padding), attn_mask=tg.tensor(added),
        )  # fmt: skip
    wq, wk, wv = np.split(w.numpy(), 3)
    parts, seen = [], []
    for head in (slice(0, 2), slice(2, 4)):
        a, b, c = ((x.numpy()[:, 0] @ m.T)[:, head] for x, m in ((q, wq), (k, wk), (v, wv)))
        e = np.exp(a @ b.T / 2**0.5 + added) * ~padding
        seen.append(e / e.sum(1, keepdims=True))
        parts.append(seen[-1] @ c)
    np.testing.assert_allclose(weights.numpy()[0], np.mean(seen, 0))
    np.testing.assert_allclose(y.numpy()[:, 0], np.concatenate(parts, 1) @ out.numpy().T)


def test_packed_sequences_change_their_dtype_and_keep_their_order():
    packed = rnn.pack_sequence([tg.tensor([3.0]), tg.tensor([1.0, 2.0])], enforce_sorted=False)
    for other, dtype in (
        (packed.double(), tg.float64),
        (packed.double().float(), tg.float32),
        (packed.to(tg.float16), tg.float16),
    ):
        assert other.data.dtype == dtype
        assert other.data.tolist() == [1.0, 3.0, 2.0]
        assert other.batch_sizes.tolist() == [2, 1]
        assert other.unsorted_indices.tolist() == [1, 0]


def test_a_tensor_is_a_list_of_its_rows_for_sequences():
    x = tg.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert rnn.pad_sequence(x).tolist() == [[1.0, 3.0], [2.0, 4.0]]
