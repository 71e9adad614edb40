"""A bigram model of names, once by counting and once by gradient: both find the same table.

    python examples/bigrams.py [steps]

The model knows one letter and says which comes next. The best table of probabilities is that of
the counts. Gradient descent on the average negative log-likelihood does not know this, and gets
there all the same: its table of logits becomes, but for a constant, the logarithm of the counts.
"""

import sys
from pathlib import Path

import tinygrad_ce as torch
import tinygrad_ce.nn.functional as F

names = Path(__file__).with_name("towns.txt").read_text(encoding="utf-8").split()
letters = sorted(set("".join(names)))
stoi = {letter: i for i, letter in enumerate([".", *letters])}  # "." is the start and the end
itos = {i: letter for letter, i in stoi.items()}
size = len(stoi)


def pairs() -> tuple[torch.Tensor, torch.Tensor]:
    """Every letter of every name, and the letter that comes after it."""
    xs, ys = [], []
    for name in names:
        for first, second in zip("." + name, name + "."):
            xs.append(stoi[first])
            ys.append(stoi[second])
    return torch.tensor(xs), torch.tensor(ys)


def count() -> torch.Tensor:
    """How often the second letter of a pair follows the first: a table, row by row."""
    N = torch.zeros((size, size), dtype=torch.int32)
    for first, second in zip(*pairs()):
        N[first, second] += 1
    return N


def sample(P: torch.Tensor, g: torch.Generator) -> str:
    """Walk through the table from start to end, each step drawn from the row that one is in."""
    name, i = [], 0
    while True:
        i = torch.multinomial(P[i], num_samples=1, replacement=True, generator=g).item()
        if i == 0:
            return "".join(name)
        name.append(itos[i])


def main(steps: int = 300) -> None:
    """Count, learn, and compare."""
    xs, ys = pairs()
    print(f"{len(names)} names, {xs.nelement()} pairs of {size} letters")

    N = count()
    print(f"the first letters: {N[0, 1:].tolist()}")
    P = N / N.sum(1, keepdim=True)  # (size, 1): without keepdim this would divide the columns
    print(f"counting: loss {-P[xs, ys].log().mean().item():.4f}, the least that there is")
    # For other names one is added to each count: a pair that never came would cost infinitely much.
    smooth = (N + 1).float()
    smooth /= smooth.sum(1, keepdim=True)
    print(f"one more of each: loss {-smooth[xs, ys].log().mean().item():.4f}")
    g = torch.Generator().manual_seed(2147483647)
    print("  ", *(sample(smooth, g) for _ in range(5)))

    # The same by gradient. A one-hot vector times W picks a row of W: a table again, of logits.
    W = torch.randn((size, size), generator=g, requires_grad=True)
    xenc = F.one_hot(xs, num_classes=size).float()
    for step in range(1, steps + 1):
        logits = xenc @ W
        counts = logits.exp()
        probs = counts / counts.sum(1, keepdims=True)
        loss = -probs[torch.arange(len(ys)), ys].log().mean()
        W.grad = None
        loss.backward()
        W.data += -50 * W.grad
        if step % max(1, steps // 5) == 0:
            print(f"step {step:4d}: loss {loss.item():.4f}")

    learnt = F.softmax(W.detach(), dim=1)
    often = N.sum(1) > 50  # the rows of rare letters learn slowly
    print(f"largest difference of the tables: {(learnt - P)[often].abs().max().item():.3f}")
    print("  ", *(sample(learnt, g) for _ in range(5)))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
