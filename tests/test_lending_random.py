"""Random programs of in-place operations, views, loans and writes through NumPy.

Either the gradient is that of the forward mode, in NumPy alone, or backward() raises.
"""

import os

import numpy as np

import tinygrad_ce as tg

PROGRAMS = int(os.environ.get("PROGRAMS", "400"))


class Scale(tg.autograd.Function):
    """x·t, where t is no argument of its own."""

    @staticmethod
    def forward(ctx, x, held):
        ctx.save_for_backward(held[0])
        return x * held[0]

    @staticmethod
    def backward(ctx, g):
        return g * ctx.saved_tensors[0], None


class Exp(tg.autograd.Function):
    """(e^x, 2e^x), which keeps its first output."""

    @staticmethod
    def forward(ctx, x):
        y = x.exp()
        ctx.save_for_backward(y)
        return y, 2 * y

    @staticmethod
    def backward(ctx, g, h):
        return (g + 2 * h) * ctx.saved_tensors[0]


SMOOTH = {  # name -> f, and its slope by y = f(x) and x
    "sin": (np.sin, lambda y, x: np.cos(x)),
    "tanh": (np.tanh, lambda y, x: 1 - y * y),
    "exp": (np.exp, lambda y, x: y),
    "square": (np.square, lambda y, x: 2 * x),
}
SEEN = [
    lambda a: a[0, ...], lambda a: a[1:], lambda a: a[..., :1], lambda a: a.reshape(-1),
    lambda a: a[None], lambda a: a.swapaxes(0, -1), lambda a: a[..., None],
]  # fmt: skip


class Program:
    """A random program on Tensors, next to its derivatives by the forward mode.

    To each tensor there are its numbers and four arrays of slopes, one for each element of w. They
    are looked at and written as the tensor is; through NumPy, through detached tensors and under
    no_grad() only the numbers are.
    """

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        w = tg.tensor(self.draw((2, 2)), requires_grad=True)
        self.w, self.text, self.arrays = w, [], []  # arrays: NumPy's, and the numbers there
        self.tensors = [(w, np.array(w.tolist()), list(np.eye(4).reshape(4, 2, 2)))]

    def draw(self, shape):
        return self.random.uniform(-1, 1, shape)

    def pick(self, of):
        return of[self.random.integers(len(of))]

    def step(self):
        kind = self.pick(STEPS)
        before = len(self.tensors)
        try:
            kind(self)
        except (RuntimeError, ValueError) as error:  # a leaf, a view of one, shapes
            assert len(self.tensors) == before
            self.text.append(f"{kind.__name__} refused: {error}"[:100])
        else:
            self.text.append(kind.__name__)

    def constant(self):
        array = self.draw((2, 2))
        make = self.pick([tg.tensor, tg.from_numpy, tg.as_tensor])
        numbers = array.copy()
        self.tensors.append((make(array), numbers, [np.zeros((2, 2)) for _ in range(4)]))
        if make is not tg.tensor:
            self.arrays.append((array, numbers))

    def look(self):
        (x, numbers, slopes), see = self.pick(self.tensors), self.pick(SEEN)
        if x.ndim and len(x) > 1:
            self.tensors.append((see(x), see(numbers), [see(s) for s in slopes]))

    def detach(self):
        x, numbers, _ = self.pick(self.tensors)
        alias = self.pick([x.detach, lambda: x.data])()
        self.tensors.append((alias, numbers, [np.zeros(numbers.shape) for _ in range(4)]))

    def lend(self):
        x, numbers, _ = self.pick(self.tensors)
        array = self.pick([lambda: x.detach().numpy(), lambda: x.numpy(force=True)])()
        if array.ndim and len(array) > 1 and self.random.random() < 0.5:
            see = self.pick([SEEN[0], SEEN[1], SEEN[2]])
            array, numbers = see(array), see(numbers)
        self.arrays.append((array, numbers))

    def let_go(self):
        if self.arrays:
            self.arrays.pop(self.random.integers(len(self.arrays)))

    def write_through_numpy(self):
        if self.arrays:
            array, numbers = self.pick(self.arrays)
            numbers[...] = array[...] = self.draw(array.shape)

    def function(self):
        x, numbers, slopes = self.pick(self.tensors)
        name = self.pick([*SMOOTH])
        f, slope = SMOOTH[name]
        y = np.asarray(f(numbers))
        self.tensors.append(
            (getattr(tg, name)(x), y, [np.asarray(slope(y, numbers) * s) for s in slopes])
        )

    def product(self):
        (a, x, dx), (b, y, dy) = self.pick(self.tensors), self.pick(self.tensors)
        if a.shape == b.shape:
            kind = self.pick(["mul", "add", "scale"])
            one, other = (1, 1) if kind == "add" else (y, x)
            made = a * b if kind == "mul" else a + b if kind == "add" else Scale.apply(a, [b])
            rest = [0 * e if kind == "scale" else other * e for e in dy]
            slopes = [np.asarray(one * d + r) for d, r in zip(dx, rest)]
            self.tensors.append((made, np.asarray(x + y if kind == "add" else x * y), slopes))

    def exponentials(self):
        x, numbers, slopes = self.pick(self.tensors)
        y = np.exp(numbers)
        for k, part in enumerate(Exp.apply(x), 1):
            self.tensors.append((part, np.asarray(k * y), [np.asarray(k * y * s) for s in slopes]))

    def function_in_place(self):
        x, numbers, slopes = self.pick(self.tensors)
        name = self.pick([*SMOOTH])
        f, slope = SMOOTH[name]
        with tg.set_grad_enabled(recorded := self.random.random() < 0.8):
            getattr(x, f"{name}_")()
        y, old = f(numbers), numbers.copy()
        numbers[...] = y
        for s in slopes if recorded else ():
            s[...] = slope(y, old) * s

    def product_in_place(self):
        (a, x, dx), (b, y, dy) = self.pick(self.tensors), self.pick(self.tensors)
        if a.shape != b.shape:
            return
        name = self.pick(["mul_", "add_", "copy_"])
        with tg.set_grad_enabled(recorded := self.random.random() < 0.8):
            getattr(a, name)(b)
        old, other = x.copy(), y.copy()
        x[...] = {"mul_": old * other, "add_": old + other, "copy_": other}[name]
        new = [
            {"mul_": d * other + old * e, "add_": d + e, "copy_": +e}[name] for d, e in zip(dx, dy)
        ]
        for d, n in zip(dx, new) if recorded else ():
            d[...] = n

    def loss(self):
        """The loss, and what its gradient is."""
        total, gradient = tg.tensor(0.0, dtype=tg.float64), np.zeros(4)
        for k in self.random.permutation(len(self.tensors))[:3]:
            x, numbers, slopes = self.tensors[k]
            assert np.allclose(np.asarray(x.detach()), numbers, 1e-9, 1e-9, equal_nan=True)
            weights = self.draw(numbers.shape)
            total = total + (x * tg.tensor(weights)).sum()
            gradient += [(weights * s).sum() for s in slopes]
        return total, gradient.reshape(2, 2)


STEPS = [
    Program.constant, Program.look, Program.look, Program.detach, Program.lend, Program.lend,
    Program.let_go, Program.write_through_numpy, Program.write_through_numpy, Program.function,
    Program.function, Program.product, Program.product, Program.exponentials,
    Program.function_in_place, Program.function_in_place, Program.product_in_place,
    Program.product_in_place,
]  # fmt: skip


def outcome(seed):
    """Whether a program's gradient was right, refused, or not asked for; else it fails."""
    with np.errstate(all="ignore"):
        program = Program(seed)
        for _ in range(program.random.integers(4, 14)):
            program.step()
        loss, gradient = program.loss()
        if not loss.requires_grad:
            assert not gradient.any(), (seed, program.text)
            return "constant"
        try:
            loss.backward()
        except RuntimeError as error:
            assert "has changed it in place since" in str(error), (seed, program.text)
            return "refused"
        if not np.isfinite(gradient).all() or abs(gradient).max() > 1e9:
            return "huge"
        found = np.zeros((2, 2)) if program.w.grad is None else program.w.grad.numpy()
        assert np.allclose(found, gradient, 1e-7, 1e-9), (seed, program.text, found, gradient)
        return "right"


def test_a_gradient_is_right_or_refused():
    outcomes = [outcome(seed) for seed in range(PROGRAMS)]
    assert outcomes.count("right") > PROGRAMS / 3 and outcomes.count("refused") > PROGRAMS / 20
