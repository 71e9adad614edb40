"""What PyTorch answers to every public function and method: texts that both libraries run.

A row is the shapes of the operands a, b, c and the texts that are tried on them, in several dtypes.
For float64 the answer has gradients of Σ w·y to the second order, w being different everywhere.
`tests/data/make_torch_names.py` freezes PyTorch's answers.
"""

from __future__ import annotations

import json
import math
import types
import warnings
from pathlib import Path
from typing import Any

import numpy as np

FROZEN = Path(__file__).parent / "data" / "torch_names.npz"

DTYPES = ("float64", "float32", "int64", "bool")
NUMBER, ROW, MATRIX, CUBE, EMPTY = (), (3,), (2, 3), (2, 3, 2), (0, 2)
ALL = ((NUMBER,), (ROW,), (MATRIX,), (CUBE,), (EMPTY,))

_UNARY = """abs absolute acos arccos asin arcsin asinh arcsinh atan arctan ceil cos cosh erf erfc
    exp expm1 fix floor log log10 log1p log2 neg negative reciprocal relu round rsqrt sigmoid sign
    sin sinh sqrt square tan tanh trunc logical_not bitwise_not isnan isinf isfinite"""
UNARY = _UNARY.split()
_BINARY = """add sub subtract mul multiply div divide true_divide floor_divide remainder fmod pow
    atan2 arctan2 hypot logaddexp maximum minimum eq ne not_equal gt greater ge greater_equal lt
    less le less_equal logical_and logical_or logical_xor bitwise_and bitwise_or
    bitwise_xor"""
BINARY = _BINARY.split()
NOT_IN_PLACE = {"isnan", "isinf", "isfinite", "maximum", "minimum", "logaddexp"}
SQUARE, SQUARES = (3, 3), (2, 3, 3)
NO_NUMBERS = NOT_IN_PLACE | {"atan2", "arctan2", "hypot"}


def texts(block: str) -> list[str]:
    """What stands in lines, two spaces apart."""
    return [t.strip() for line in block.split("\n") for t in line.split("  ") if t.strip()]


ROWS: list[tuple[Any, list[str]]] = [
    (ALL, [t for n in UNARY for t in (f"T.{n}(a)", f"a.{n}()")]),
    (ALL, [f"a.clone().{n}_()" for n in UNARY if n not in NOT_IN_PLACE]),
    (((MATRIX, MATRIX), (MATRIX, ROW), (NUMBER, ROW), ((2, 1), ROW), (EMPTY, EMPTY), (ROW, (2,))),
     [t for n in BINARY for t in (f"T.{n}(a, b)", f"a.{n}(b)")]),
    (((MATRIX, MATRIX), (MATRIX, ROW), (ROW, MATRIX)),
     [f"a.clone().{n}_(b)" for n in BINARY if n not in NOT_IN_PLACE]),
    (((MATRIX,),), [f"T.{n}(a, 2)" for n in BINARY if n not in NO_NUMBERS]),
    (ALL, texts("""
        T.add(a, 2, alpha=3)  a.sub(1, alpha=2)  T.div(a, 2, rounding_mode='floor')
        T.div(a, 2, rounding_mode='trunc')  a.clone().div_(2, rounding_mode='floor')
        T.round(a, decimals=2)  a.round(decimals=1)  T.clamp(a, 0, 1)  a.clip(max=0.5)
        T.clamp(a, min=0.2)  a.clone().clamp_(0, 0.5)  a.clone().clamp_(min=0)  T.sum(a)
        a.sum(dtype=T.float64)  a.mean(dtype=T.float64)  a.prod()  a.prod(dtype=T.float64)
        a.any()  a.all()  T.norm(a)  a.norm(1)  a.norm(3)  a.norm(0)  a.norm(math.inf)
        a.norm(-math.inf)  T.flatten(a)  T.ravel(a)  a.ravel()  T.numel(a)  a.nelement()
        a.ndimension()  a.element_size()  a.tolist()  T.is_tensor(a)  T.is_floating_point(a)
        a.is_leaf  a.stride()  a.storage_offset()  a.type()  T.nonzero(a)
        a.nonzero(as_tuple=True)  T.argwhere(a)  T.where(a > 0)  T.where(a > 0, a, 0.5)
        T.unique(a)  T.unique(a, return_inverse=True, return_counts=True)
        a.unique(return_counts=True)  T.roll(a, 1)  T.tile(a, (2,))  a.tile(2, 2)
        T.repeat_interleave(a, 2)  a.repeat_interleave(3)  a.view_as(a)  a.reshape_as(a)
        a.expand_as(a)  a.type_as(T.zeros(1))  a.new_zeros(2, 3)  a.new_ones((2,))
        a.new_full((2, 1), 3)  a.new_tensor([1, 2])  a.new_empty(2, 0)
        a.new_zeros(2, dtype=T.int32)  a.type(T.float32)  a.type('torch.LongTensor')
        T.isclose(a, a)  T.equal(a, a)  T.allclose(a, a)  a.unsqueeze(0)  T.unsqueeze(a, -1)
        T.squeeze(a)  a.t()  a.clone().unsqueeze_(0)  a.clone().squeeze_()  a.clone().t_()
        T.diag(a)  a.reshape(shape=(-1,))  T.reshape(a, (-1,))  T.lerp(a, a + 1, 0.3)
        a.lerp(a + 1, 0.7)  a.clone().fill_(2)  a.clone().zero_()  T.logsumexp(a, -1)
        T.softmax(a, -1)  a.softmax(-1, dtype=T.float64)  a.log_softmax(-1)
        a.cumprod(-1, dtype=T.float64)  T.log_softmax(a, 0, dtype=T.float64)  T.cumsum(a, 0)
        a.cumsum(axis=-1)  T.cumsum(a, dim=0, dtype=T.float64)  a.cumprod(0)
        a.clone().cumsum_(0)  T.histc(a, 4)  T.histc(a, bins=3, min=-1, max=1)
        T.histogram(a, 3)  T.histogram(a, bins=2, range=(-1.0, 1.0))
        T.histogram(a, bins=4, density=True)  a.bool()  a.double()  a.long()  a.int()
        a.byte()  a.char()  a.short()
        T.addcmul(a, a, a, value=2)  T.addcdiv(a, a, a + 3)  T.movedim(a, 0, -1)  a.float()
        T.square(a)  T.amax(a)  T.max(a)  a.min()  T.argmax(a)  a.argmin()  T.sort(a)
        a.argsort()  a.clone().masked_fill_(a > 0, 2)  a.contiguous()
        T.masked_fill(a, a > 0, 0.5)  T.masked_select(a, a > 0)  a.masked_select(a < 0)""")),
    (((ROW,), (MATRIX,), (CUBE,), (EMPTY,)), texts("""
        T.median(a)  a.median()  T.quantile(a, 0.3)  a.quantile(0.75, dim=0, keepdim=True)
        T.quantile(a, 0.5, -1, interpolation='lower')  T.diff(a)  a.diff(n=2, dim=0)
        T.nansum(a)  a.nansum(-1)  T.nanmean(a, 0)  a.nanmean()  T.nan_to_num(a)
        a.nan_to_num(1, 2, 3)  T.column_stack((a, a))  T.broadcast_tensors(a, a[:1])
        T.std(a)  a.var(0)  T.std(a, 0, True)  a.std(dim=-1, unbiased=False, keepdim=True)
        T.var(a, dim=0, correction=0)  a.std(False)  T.mean(a, dim=0, keepdim=True)
        T.sum(a, (0, -1))  a.sum(axis=0)  a.sum(-1, True)  T.max(a, 0)
        T.max(a, dim=-1, keepdim=True)  T.min(a, 0)  a.sort(descending=True)
        T.sort(a, dim=0, descending=True)  T.argsort(a, -1, True)  T.topk(a, 2)
        a.topk(1, dim=0, largest=False)  T.topk(a, k=2, dim=-1, largest=False, sorted=True)
        T.narrow(a, -1, 1, 2)  a.narrow(0, 0, 1)  T.select(a, 0, 1)  a.select(-1, -1)
        a.unfold(-1, 2, 1)  a.unfold(0, 2, 2)  T.tensor_split(a, 2)  a.tensor_split([1, 2], -1)
        T.split(a, 2)  T.split(a, [1, 1, 1], dim=-1)  a.chunk(2, -1)  T.unbind(a)
        T.flip(a, dims=(0,))  a.flip(-1)  T.roll(a, 2, 0)  T.roll(a, (1, -1), (0, -1))
        a.roll(-1, -1)  T.repeat_interleave(a, 2, dim=0)
        a.repeat_interleave(T.tensor([1, 0, 2]), -1)  T.swapaxes(a, 0, -1)  T.moveaxis(a, 0, -1)
        a.movedim((0,), (-1,))  T.unflatten(a, -1, (1, -1))
        a.index_select(0, T.tensor([1, 0, 1]))  T.index_select(a, -1, T.tensor([1]))
        T.index_fill(a, 0, T.tensor([1]), 2)  a.clone().index_fill_(-1, T.tensor([0]), 1)
        a.index_add(0, T.tensor([0, 0]), a[:2])  T.index_copy(a, 0, T.tensor([1, 0]), a[:2])
        a.clone().index_add_(0, T.tensor([1, 1]), a[:2], alpha=2)  T.amin(a, dim=0)
        a.clone().index_copy_(0, T.tensor([1]), a[:1])  T.logsumexp(a, dim=0, keepdim=True)
        a.norm(dim=0)  T.norm(a, p=1, dim=-1, keepdim=True)  a.norm(3, 0)  T.vstack((a, a))
        T.hstack((a, a))  T.cat((a, a), dim=-1)  T.concat([a, a])  T.concatenate([a, a], 0)
        T.stack([a, a], dim=-1)  T.unique(a, dim=0)
        a.clone().put_(T.tensor([0, 1]), T.tensor([1, 2]).to(a.dtype))
        a.clone().put_(T.tensor([0, 0]), T.tensor([1, 2]).to(a.dtype), accumulate=True)
        a.prod(0)  T.prod(a, -1, keepdim=True)  a.all(0)  a.any(-1, keepdim=True)
        a[1:].storage_offset()  a.stride(-1)  0.5 in a  len(a)  [*a]
        a.expand(size=(2, *a.shape))  T.take_along_dim(a, T.argsort(a, 0), 0)
        T.take_along_dim(a, T.tensor([0, 1]))  a.masked_scatter(a > 0, a * 0 + 2)
        a.clone().masked_scatter_(a > 0, a + 1)  a.scatter(0, (a * 0).long(), 3)
        a.scatter(0, (a * 0).long(), value=2)  a.scatter_add(0, (a * 0).long(), a)
        a.clone().scatter_add_(-1, (a * 0).long(), a)  T.gather(a, 0, (a * 0).long())
        a.clone().scatter_(0, (a * 0).long(), 1, reduce='add')  T.rot90(a)""")),
    (((MATRIX,),), texts("""
        T.t(a)  T.transpose(a, 0, 1)  a.clone().transpose_(0, 1)  T.permute(a, (1, 0))
        a.permute(dims=(1, 0))  T.rot90(a, 3, [0, 1])  T.rot90(a, 2)  a.rot90(-1, (1, 0))
        T.diag(a, 1)  a.diag(-1)  T.diagonal(a, offset=1)  a[:, :2].trace()  T.tril(a)
        T.triu(a, 1)  a.tril(diagonal=-1)  a.clone().triu_()  a.clone().fill_diagonal_(5)
        T.movedim(a, (0, 1), (1, 0))  T.meshgrid(a[0], a[1], indexing='ij')
        T.meshgrid(a[0], a[1], indexing='xy')  T.cartesian_prod(a[0], a[1])
        T.cartesian_prod(a[0])  a.repeat(2, 1)  a.tile(2)  T.tile(a, dims=(1, 2))
        T.bincount(T.tensor([1, 0, 1]), minlength=4)  T.bincount(T.tensor([1, 0, 1]), a[0])
        T.searchsorted(T.sort(a)[0], a)  T.searchsorted(T.sort(a[0])[0], a, right=True)
        T.searchsorted(T.sort(a[0])[0], 0.5, side='left')  T.cross(a, a + 1, dim=1)
        T.searchsorted(T.sort(a[0])[0], a, out_int32=True)  T.einsum('ij->j', a)
        a.repeat_interleave(T.tensor([2, 1]), dim=0)  a.T.stride()  a.view(size=(3, 2))
        T.argmax(a, dim=1, keepdim=True)  a.T.data_ptr() == a.data_ptr()
        T.add(a, a, out=T.empty(2, 3, dtype=a.dtype)) if not a.requires_grad else 0
        T.exp(a, out=T.empty(0)) if not a.requires_grad else 0  a.T.unflatten(0, (-1, 3))
        T.sum(input=a, dim=0)  T.mul(input=a, other=a)  T.exp(input=a)  a.add(other=a)
        a.clone().mul_(a)  a.clone().sub_(a, alpha=2)  a.clone().add_(1)  a + True
        a.clone().addcmul_(a, a, value=2)  a.clone().addcdiv_(a, a + 3)  2 ** a  a // 2
        a.clone().lerp_(a + 1, 0.2)  a.clone().swapaxes_(0, 1)  a.clone().share_memory_()
        a.detach().clone().apply_(lambda v: 2 * v)  a.clone().multiply_(2)
        a.clone().cumprod_(1)  a.clone().tril_()  a.clone().masked_scatter_(a > 0, a + 1)
        a.clone().clip_(min=0)  a.clone().subtract_(a, alpha=2)
        a.new_full(size=(2,), fill_value=1, dtype=T.float32, requires_grad=True)
        a.data_ptr() == a[1:].data_ptr()
        a.new_tensor(data=[1.0], dtype=T.float64, requires_grad=True)
        a.new_ones(2, dtype=T.float32, requires_grad=True).sum()  a.sort(stable=True, dim=0)
        a.argsort(stable=True, dim=0)  T.gather(a, 1, T.tensor([[0], [2]]), sparse_grad=False)
        a.new_zeros((2, 2), requires_grad=True, dtype=T.float64)
        a.new_empty((0,), requires_grad=True, dtype=T.float64)
        a.clone(memory_format=T.preserve_format) if hasattr(T, 'nope') else 0
        a.repeat(repeats=(2, 2))  a.moveaxis(source=0, destination=1)
        a.norm(p=2, dim=0, dtype=T.float64)  a % 2  1 - a  3 / a  T.pow(2, a)  -a  abs(a)""")),
    (((MATRIX, ROW),), texts("""
        T.mv(a, b)  a.mv(b)  T.matmul(a, b)  T.outer(a[0], b)  T.dot(a[0], b)  a @ b
        T.cross(a, b.expand(2, 3), dim=1)  T.lerp(a, b.expand(2, 3), a)""")),
    (((MATRIX, (3, 2), (2, 2)),), texts("""
        T.addmm(c, a, b)  c.addmm(a, b, beta=0.5, alpha=2)  T.addmm(c, a, b, beta=0)
        c.clone().addmm_(a, b)  T.mm(a, b)  T.matmul(a, b)  T.einsum('ij,jk->ki', a, b)""")),
    ((((2, 2, 3), CUBE, (2, 2, 2)),), texts("""
        T.baddbmm(c, a, b)  c.baddbmm(a, b, beta=2, alpha=0.5)  T.bmm(a, b)
        c.clone().baddbmm_(a, b)  T.addcmul(c, c, c, value=0.5)  a.matmul(b)""")),
    (((MATRIX,),), texts("""
        T.zeros(2, 3)  T.zeros((2, 3), dtype=T.int32)  T.zeros(size=(2,), requires_grad=True)
        T.zeros([])  T.ones([2])  T.ones(2, 0, dtype=T.bool)  T.ones(size=(1,), dtype=T.float64)
        [*T.empty(2, 3).shape]  T.empty(size=(0,), dtype=T.uint8)  T.full((2,), 7)
        T.full((2,), 0.5)  T.full(size=(2, 1), fill_value=True)  T.full((2,), 1, dtype=T.float64)
        T.full([], 2.5, requires_grad=True)  T.eye(2)  T.eye(2, 3, dtype=T.int64)  T.eye(n=1, m=2)
        T.eye(2, requires_grad=True)  T.arange(3)  T.arange(1, 4)  T.arange(1, 2, 0.25)
        T.arange(end=3)  T.arange(start=1, end=9, step=3)  T.arange(3.0)  T.arange(5, 0, -2)
        T.arange(0, 3, dtype=T.float32)  T.arange(0.0, 1.0, 0.1, requires_grad=True)
        T.arange(3, 1)  T.arange(0)  T.arange(T.tensor(3))  T.range(1, 3)  T.range(0, 1, 0.5)
        T.range(3, 0, -1)  T.linspace(0, 1, 7)  T.linspace(-1, 2, steps=4, dtype=T.float64)
        T.linspace(0, 1, 1)  T.linspace(start=1, end=0, steps=2, requires_grad=True)
        T.linspace(0, 10, 5, dtype=T.int64)  T.linspace(0, 1, 0)  T.logspace(0, 2, 5)
        T.logspace(0, 3, 4, base=2)  T.logspace(-1, 1, steps=3, dtype=T.float64)
        T.zeros_like(a)  T.zeros_like(a, dtype=T.int64)  T.ones_like(a, requires_grad=True)
        T.ones_like(input=a, dtype=T.bool)  [*T.empty_like(a).shape]  T.full_like(a, 2)
        T.full_like(a, fill_value=0.5, dtype=T.float32)  T.zeros_like(a, device='cpu')
        T.tensor([1, 2.5])  T.tensor([[True]])  T.tensor(3)  T.tensor([], dtype=T.int64)
        T.tensor([1.0], dtype=T.float64, requires_grad=True, device='cpu')  T.as_tensor([1, 2])
        T.as_tensor(a) is a  T.as_tensor(a, dtype=T.float32)  T.zeros(2, out=T.ones(2))
        T.arange(3, out=T.empty(0, dtype=T.int64))  T.ones(2, layout=None, device='cpu')
        T.zeros(2, pin_memory=False)  T.zeros(-1)  T.zeros(2, dtype=T.int64, requires_grad=True)
        (T.manual_seed(3), T.rand(2, 3))[1]  (T.manual_seed(3), T.rand(size=(2,)))[1]
        (T.manual_seed(3), T.rand(2, dtype=T.float64, requires_grad=True))[1]
        (T.manual_seed(3), T.randn((2, 3)))[1]  (T.manual_seed(3), T.randn(20, dtype=T.float64))[1]
        (T.manual_seed(3), T.randn(size=[2], requires_grad=True))[1]
        (T.manual_seed(3), T.rand_like(a))[1]
        (T.manual_seed(3), T.rand_like(a, dtype=T.float32))[1]
        (T.manual_seed(3), T.randn_like(a, requires_grad=True))[1]
        (T.manual_seed(3), T.randn_like(input=a, dtype=T.float32))[1]
        (T.manual_seed(3), T.randint(5, (4,)))[1]  (T.manual_seed(3), T.randint(2, 9, (4,)))[1]
        (T.manual_seed(3), T.randint(high=5, size=(4,)))[1]
        (T.manual_seed(3), T.randint(low=1, high=5, size=(2, 2), dtype=T.float32))[1]
        (T.manual_seed(3), T.randint(0, 2, size=[3], dtype=T.int32))[1]
        (T.manual_seed(3), T.randint_like(a, 9))[1]  (T.manual_seed(3), T.randint_like(a, 3, 9))[1]
        (T.manual_seed(3), T.randperm(7))[1]  (T.manual_seed(3), T.randperm(n=5, dtype=T.int32))[1]
        (T.manual_seed(3), T.normal(0.0, 2.0, (3,)))[1]
        (T.manual_seed(3), T.normal(mean=1, std=0.5, size=(2, 2)))[1]
        (T.manual_seed(3), T.normal(T.zeros(3), T.ones(3)))[1]
        (T.manual_seed(3), T.normal(mean=T.arange(1.0, 4.0)))[1]
        (T.manual_seed(3), T.normal(0.5, T.ones(2)))[1]
        (T.manual_seed(3), T.bernoulli(T.full((6,), 0.5)))[1]
        (T.manual_seed(3), T.bernoulli(T.zeros(4), p=0.5))[1]
        (T.manual_seed(3), T.bernoulli(a.abs().detach()))[1]
        (T.manual_seed(3), T.multinomial(T.ones(5), 3))[1]
        (T.manual_seed(3), T.multinomial(input=T.ones(2, 5), num_samples=4, replacement=True))[1]
        (T.manual_seed(3), T.rand(2, generator=T.Generator().manual_seed(5)))[1]
        T.randint(0, 9, (3,), generator=T.Generator().manual_seed(5))
        (T.manual_seed(3), T.rand(3, out=T.empty(3)))[1]
        (T.manual_seed(7), T.initial_seed())[1]  (T.manual_seed(3), T.empty(4).exponential_())[1]
        (T.manual_seed(3), T.empty(4).exponential_(lambd=2.0))[1]  T.LongTensor([1, 2])
        (T.manual_seed(3), T.empty(4).random_(3, 9))[1]  T.FloatTensor([[1, 2]])
        (T.manual_seed(3), T.zeros(4, dtype=T.int64).random_(9))[1]  T.ByteTensor([1])
        [*T.FloatTensor(2, 3).shape]  isinstance(a, T.DoubleTensor)  a.type(T.LongTensor)
        a.is_contiguous()  a.T.is_contiguous()  a.isclose(a + 1e-7)  a.allclose(other=a)
        a.equal(a)  a.equal(a + 1)  T.isclose(a, a, rtol=0.0, atol=0.0, equal_nan=True)
        a.clone().index_put_((T.tensor([0, 1]), T.tensor([2, 0])), a[0, :2])
        a.index_put((T.tensor([0, 0]),), a[1], accumulate=True)
        a.index_put((T.tensor([1]),), values=a[0])  (a * 2).detach_()  T.BoolTensor([True])
        (a.clone() * 1).detach_().requires_grad""")),
    (((MATRIX, MATRIX),), texts("""
        T.lerp(a, b, 0.5)  a.lerp(b, b)  T.where(a > b, a, b)  a.where(a > 0, b)  T.max(a, b)
        T.min(a, b)  a.scatter(1, T.tensor([[2, 0, 1]]), b[:1])
        a.scatter(0, T.tensor([[1, 0, 1]]), b[:1])
        a.scatter(0, T.tensor([[1], [0]]), b.detach())
        T.scatter_add(a, 1, T.tensor([[0, 0, 2], [1, 1, 1]]), b)
        a.clone().scatter_(1, T.tensor([[2], [0]]), b[:, :1])  T.isclose(a, b)  T.equal(a, b)
        T.allclose(a, b, rtol=1.0, atol=2.0)  a.clone().copy_(b)
        a.index_add(1, T.tensor([0, 0, 2]), b, alpha=0.5)
        T.index_copy(a, 1, T.tensor([2, 0, 1]), b)  a.masked_scatter(a > 0, b)
        a.masked_fill(b > 0, 1)  T.vstack([a, b])  T.hstack([a, b[:, :1]])  T.stack([a, b], 1)
        T.cat([a, b], 1)""")),
    (((SQUARE,), (SQUARES,), (MATRIX,), (ROW,), ((0, 0),)), texts("""
        T.linalg.inv(a)  T.inverse(a)  a.inverse()  T.linalg.det(a)  T.det(a)  a.det()
        T.linalg.det(a[..., :2, :2] * 0 + 1)""")),
    (((SQUARE,), (SQUARES,), (MATRIX,), (ROW,)), texts("""
        T.linalg.norm(a)  T.linalg.norm(a, dim=-1, keepdim=True)  T.linalg.norm(a, 1)
        T.linalg.norm(a, math.inf)  T.linalg.norm(a, ord='fro')  T.linalg.norm(a, -1, dim=0)
        T.linalg.norm(a, 3, -1)  T.linalg.norm(a, 1, dim=(0, -1))  T.linalg.vector_norm(a)
        T.linalg.vector_norm(a, 3, dim=0)  T.linalg.vector_norm(a, math.inf, keepdim=True)
        T.linalg.vector_norm(a, ord=1, dim=(0, -1), dtype=T.float64)  T.linalg.matrix_norm(a)
        T.linalg.matrix_norm(a, 1, keepdim=True)  T.linalg.matrix_norm(a, -math.inf)
        T.linalg.matrix_norm(a, ord=-1, dim=(0, 1))  T.linalg.norm(a.detach(), 2)
        T.linalg.matrix_norm(a.detach(), 'nuc')  T.linalg.matrix_norm(a.detach(), -2)
        T.linalg.svdvals(a.detach())  T.linalg.svd(a.detach()).S  T.svd(a.detach()).S
        T.linalg.qr(a.detach()).R.abs()  T.linalg.qr(a.detach(), mode='complete').Q.abs()
        (lambda U, S, V: U @ T.diag(S) @ V.T)(*T.svd(a.detach()))  T.linalg.pinv(a.detach())
        [*T.svd(a.detach(), some=False).V.shape]  [*T.linalg.svd(a.detach())[2].shape]
        T.linalg.svd(a.detach(), full_matrices=False)[2].abs()  T.linalg.cross(a, a + 1)""")),
    (((SQUARE,), (SQUARES,)), texts("""
        T.linalg.eigh(a.detach()).eigenvalues  T.linalg.eigvalsh(a.detach(), UPLO='U')
        T.linalg.eigh(a.detach() + a.detach().mT)[1].abs()  T.linalg.solve(a, a.mT)
        T.linalg.solve(a, a[..., 0])  T.linalg.solve(a, a.mT, left=False)
        T.linalg.matrix_norm(a, 2).sum() * 1""")),
    (((SQUARE, ROW), (SQUARE, (3, 2)), (SQUARES, (3, 2)), (SQUARES, MATRIX), (SQUARE, MATRIX)),
     texts("""
        T.linalg.solve(a, b)""")),
]  # fmt: skip

IN_PLACE = "PyTorch lets the gradient through what has none"
NEGATIVE = "NumPy refuses integers to negative powers"
PLAIN = "alpha is a factor as any other: a float makes integers floats"
BOOLEANS = "booleans are no numbers"
DIFFERS = {
    **{(f"a.clone().logical_{name}_(b)", "float64"): IN_PLACE for name in ("and", "or", "xor")},
    ("a.clone().logical_not_()", "float64"): IN_PLACE,
    ("a.norm(0)", "float64"): "a count has no gradient",
    ("T.linalg.det(a[..., :2, :2] * 0 + 1)", "float64"): "its second derivatives want an inverse",
    ("T.linalg.matrix_norm(a, 2).sum() * 1", "float64"): "singular values have first ones only",
    **{(f"T.logical_{name}(a, 2)", dtype): "numbers are taken, too"
       for name in ("and", "or", "xor") for dtype in ("float64", "float32")},
    **{(text, "int64"): NEGATIVE
       for text in ("T.pow(a, b)", "a.pow(b)", "a.clone().pow_(b)", "2 ** a", "T.pow(2, a)")},
    ("a.index_add(1, T.tensor([0, 0, 2]), b, alpha=0.5)", "bool"): PLAIN,
    **{(text, "int64"): PLAIN
       for text in ("c.addmm(a, b, beta=0.5, alpha=2)", "c.baddbmm(a, b, beta=2, alpha=0.5)",
                    "T.addcmul(c, c, c, value=0.5)",
                    "a.index_add(1, T.tensor([0, 0, 2]), b, alpha=0.5)")},
    **{(text, "bool"): BOOLEANS
       for text in ("T.sign(a)", "a.sign()", "T.square(a)", "a.square()", "a.clone().sign_()",
                    "a.clone().index_add_(0, T.tensor([1, 1]), a[:2], alpha=2)",
                    "T.einsum('ij->j', a)")},
}  # fmt: skip
"""What this library answers otherwise, in which dtype, and why."""


def data(shape: tuple[int, ...], dtype: str, seed: int) -> np.ndarray:
    """Numbers of size 0.1 to 0.9 and both signs, no two of them close; whole ones for integers."""
    stream = np.random.default_rng(seed + 10 * len(shape))
    n = math.prod(shape)
    x = (stream.permutation(n) + 0.5) / max(n, 1) * 0.8 + 0.1
    x = (x * stream.choice([-1, 1], n)).reshape(shape)
    return np.asarray(
        np.rint(3 * x) if dtype == "int64" else x > 0 if dtype == "bool" else x, dtype
    )


def weights(shape: tuple[int, ...], number: int) -> np.ndarray:
    """Different everywhere."""
    return np.cos(np.arange(math.prod(shape)) * 1.7 + number).reshape(shape)


def told(value: Any, T: Any) -> Any:
    """A result as plain data: tensors as ["tensor", dtype, array, requires_grad]."""
    if isinstance(value, T.Tensor):
        array = value.detach().numpy()
        return ["tensor", str(array.dtype), np.array(array), bool(value.requires_grad)]
    if isinstance(value, (tuple, list)):
        plain = type(value) in (tuple, list) or hasattr(value, "numel")
        return ["list" if plain else type(value).__name__, *(told(v, T) for v in value)]
    return ["value", value]


def tensors(value: Any, T: Any) -> list[Any]:
    if isinstance(value, (tuple, list)):
        return [t for v in value for t in tensors(v, T)]
    return [value] if isinstance(value, T.Tensor) and value.requires_grad else []


def weighed(values: list[Any], T: Any) -> Any:
    """Σ w·y."""
    return sum((y * T.tensor(weights(tuple(y.shape), i))).sum() for i, y in enumerate(values))


def derivatives(y: Any, leaves: list[Any], T: Any) -> list[Any]:
    """First and second gradients as arrays, zeros where there is none."""
    outputs = tensors(y, T)
    if not outputs:
        return []
    first = T.autograd.grad(weighed(outputs, T), leaves, create_graph=True, allow_unused=True)
    live = [g for g in first if g is not None and g.requires_grad]
    second = [None] * len(leaves)
    if live:
        second = T.autograd.grad(weighed(live, T), leaves, allow_unused=True)
    return [
        np.zeros(tuple(x.shape)) if g is None else np.array(g.detach().clone().numpy())
        for x, g in zip(leaves * 2, [*first, *second])
    ]


def answer(text: str, shapes: Any, dtype: str, seed: int, T: Any) -> Any:
    """What one library says: ["error"], or the result and its gradients."""
    arrays = [data(shape, dtype, seed + i) for i, shape in enumerate(shapes)]
    live = dtype == "float64"
    leaves = [T.tensor(x, requires_grad=live) for x in arrays]
    names = {"T": T, "math": math, **dict(zip("abc", leaves))}
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            y = eval(text, names)
            return ["result", told(y, T), derivatives(y, leaves, T) if live else []]
        except (RuntimeError, ValueError, TypeError, IndexError, NotImplementedError) as error:
            return ["error", type(error).__name__, str(error).split("\n")[0]]


def questions() -> list[tuple[str, Any, str]]:
    """Every text with its shapes and dtypes; all dtypes for one of the shapes of a row."""
    found = []
    for several, texts in ROWS:
        widest = max(several, key=lambda shapes: math.prod(shapes[0]) * len(shapes))
        for text in texts:
            found += [(text, shapes, "float64") for shapes in several]
            found += [(text, widest, dtype) for dtype in DTYPES[1:]]
    return found


def same(ours: Any, wanted: Any, rtol: float) -> str:
    """In what two pieces of an answer differ, or nothing."""
    if isinstance(wanted, np.ndarray):
        if not isinstance(ours, np.ndarray) or ours.shape != wanted.shape:
            return f"shape {getattr(ours, 'shape', ours)} instead of {wanted.shape}"
        top = np.max(np.abs(wanted), initial=1.0, where=np.isfinite(wanted))
        near = np.allclose(ours, wanted, rtol=rtol, atol=rtol * float(top), equal_nan=True)
        return "" if near else f"{ours.tolist()} instead of {wanted.tolist()}"
    if isinstance(wanted, list) and isinstance(ours, list) and len(ours) == len(wanted):
        return next((d for d in (same(a, b, rtol) for a, b in zip(ours, wanted)) if d), "")
    if isinstance(wanted, float) and isinstance(ours, float):
        return "" if math.isclose(ours, wanted, rel_tol=rtol) else f"{ours} instead of {wanted}"
    return "" if ours == wanted and type(ours) is type(wanted) else f"{ours} instead of {wanted}"


def difference(ours: Any, wanted: Any, dtype: str) -> str:
    """In what two answers differ, or nothing. Errors are equal, whatever they say."""
    if wanted[0] == "error" and ("not implemented" in wanted[-1] or "float" not in dtype):
        return ""  # what PyTorch has not made, and integers that it refuses, may work here
    if ours[0] != wanted[0]:
        return f"{ours} instead of {wanted}"
    if ours[0] == "error":
        return ""
    rtol = 1e-9 if dtype == "float64" else 1e-5
    single = "float32" in str(wanted[1])
    found = same(ours[1], wanted[1], rtol)
    if not found and any(np.isnan(g).any() for g in wanted[2]):
        return ""  # beyond where PyTorch has a slope
    return found or (
        f"gradients {d}" if (d := same(ours[2], wanted[2], 1e-6 if single else 1e-8)) else ""
    )


# --- frozen: arrays in one row of numbers, the rest as JSON ---------------------------------


def packed(value: Any, numbers: list[np.ndarray]) -> Any:
    if isinstance(value, np.ndarray):
        start = sum(x.size for x in numbers)
        numbers.append(value.astype(np.float64).reshape(-1))
        return {"at": start, "shape": value.shape, "dtype": str(value.dtype)}
    return [packed(v, numbers) for v in value] if isinstance(value, (list, tuple)) else value


def unpacked(value: Any, numbers: np.ndarray) -> Any:
    if isinstance(value, dict):
        n = math.prod(value["shape"])
        part = numbers[value["at"] : value["at"] + n]
        return part.reshape(value["shape"]).astype(value["dtype"])
    return [unpacked(v, numbers) for v in value] if isinstance(value, list) else value


def freeze(answers: list[Any]) -> None:
    numbers: list[np.ndarray] = []
    index = [packed(a, numbers) for a in answers]
    np.savez_compressed(
        FROZEN, numbers=np.concatenate(numbers),
        index=np.frombuffer(json.dumps(index).encode(), np.uint8),
    )  # fmt: skip


def frozen() -> list[Any]:
    with np.load(FROZEN) as file:
        numbers, text = file["numbers"], file["index"].tobytes().decode()
    return [unpacked(a, numbers) for a in json.loads(text)]


def library(name: str) -> types.ModuleType:
    return __import__(name)
