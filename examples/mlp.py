"""A model of names with embeddings and batch normalisation, its backward pass done by hand.

    python examples/mlp.py [steps]

Three letters go in, each as a vector of its own, and the probabilities of the fourth come out. One
batch goes backward twice, through autograd and through the formulas that one derives on paper;
then the network is trained with the formulas alone.
"""

import sys
from pathlib import Path

import tinygrad_ce as torch
import tinygrad_ce.nn.functional as F

BLOCK, EMBEDDING, HIDDEN, BATCH = 3, 8, 64, 32
names = Path(__file__).with_name("towns.txt").read_text(encoding="utf-8").split()
itos = [".", *sorted(set("".join(names)))]
stoi = {letter: i for i, letter in enumerate(itos)}


def build(names: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Contexts of three letters, and the letters that follow."""
    X, Y = [], []
    for name in names:
        line = [0] * BLOCK + [stoi[letter] for letter in name + "."]
        X += [line[i : i + BLOCK] for i in range(len(name) + 1)]
        Y += line[BLOCK:]
    return torch.tensor(X), torch.tensor(Y)


def initial(g: torch.Generator) -> list[torch.Tensor]:
    """C, W1, gain, bias, W2, b2; the last layer is small, so that it starts without an opinion."""
    wide = BLOCK * EMBEDDING
    W1 = torch.randn((wide, HIDDEN), generator=g) * (5 / 3) / wide**0.5
    gain, bias = torch.ones((1, HIDDEN)), torch.zeros((1, HIDDEN))
    W2 = torch.randn((HIDDEN, len(itos)), generator=g) * 0.1
    C = torch.randn((len(itos), EMBEDDING), generator=g)
    parameters = [C, W1, gain, bias, W2, torch.zeros(len(itos))]
    for p in parameters:
        p.requires_grad = True
    return parameters


def forward(parameters: list, X: torch.Tensor, Y: torch.Tensor, running: tuple = ()) -> tuple:
    """The loss, and what the backward pass needs; `running` has mean and variance, for tests."""
    C, W1, gain, bias, W2, b2 = parameters
    emb = C[X].view(X.shape[0], -1)
    pre = emb @ W1  # no bias: the normalisation would take it away again
    mean, var = running or (pre.mean(0, keepdim=True), pre.var(0, keepdim=True))
    inv = (var + 1e-5) ** -0.5
    raw = (pre - mean) * inv
    h = torch.tanh(gain * raw + bias)
    logits = h @ W2 + b2
    return F.cross_entropy(logits, Y), emb, inv, raw, h, logits, mean, var


def backward(parameters: list, X: torch.Tensor, Y: torch.Tensor, kept: tuple) -> list[torch.Tensor]:
    """The gradients of all parameters, by the formulas."""
    C, W1, gain, _, W2, _ = parameters
    (emb, inv, raw, h, logits, *_), n = kept, X.shape[0]
    dlogits = F.softmax(logits, 1)
    dlogits[range(n), Y] -= 1  # (p − y)/n
    dlogits /= n
    dpre2 = (1 - h**2) * (dlogits @ W2.T)
    # Every row moves the mean and the variance of its batch, hence the two sums.
    dbias, dgain = dpre2.sum(0, keepdim=True), (raw * dpre2).sum(0, keepdim=True)
    dpre = gain * inv / n * (n * dpre2 - dbias - n / (n - 1) * raw * dgain)
    demb = (dpre @ W1.T).view(n, BLOCK, EMBEDDING)
    dC = torch.zeros_like(C)
    dC.index_add_(0, X.view(-1), demb.view(-1, EMBEDDING))  # a letter may come more than once
    return [dC, emb.T @ dpre, dgain, dbias, h.T @ dlogits, dlogits.sum(0)]


def main(steps: int = 2000) -> None:
    """Check the formulas, train with them, and write some names."""
    (Xtr, Ytr), (Xte, Yte) = build([n for n in names if n not in names[::10]]), build(names[::10])
    g = torch.Generator().manual_seed(2147483647)
    parameters = initial(g)
    print(f"{sum(p.nelement() for p in parameters)} parameters, {len(Xtr)} contexts")

    loss, *kept = forward(parameters, Xtr[:BATCH], Ytr[:BATCH])
    loss.backward()
    by_hand = backward(parameters, Xtr[:BATCH], Ytr[:BATCH], kept)
    for name, p, d in zip(("C", "W1", "gain", "bias", "W2", "b2"), parameters, by_hand):
        print(f"{name:<5} as by autograd: {torch.allclose(d, p.grad, rtol=1e-4, atol=1e-6)}")

    running = [torch.zeros((1, HIDDEN)), torch.ones((1, HIDDEN))]
    with torch.no_grad():
        for step in range(1, steps + 1):
            ix = torch.randint(0, Xtr.shape[0], (BATCH,), generator=g)
            loss, *kept = forward(parameters, Xtr[ix], Ytr[ix])
            for p, d in zip(parameters, backward(parameters, Xtr[ix], Ytr[ix], kept)):
                p.data += -(0.1 if step <= steps * 0.7 else 0.01) * d
            running = [0.99 * old + 0.01 * new for old, new in zip(running, kept[-2:])]
            if step % max(1, steps // 5) == 0:
                print(f"step {step:5d}: loss {loss.item():.4f}")
        print(f"test: loss {forward(parameters, Xte, Yte, running)[0].item():.4f}")
        for line in [[0] * BLOCK for _ in range(5)]:
            while line[-1] or len(line) == BLOCK:
                X = torch.tensor([line[-BLOCK:]])
                p = F.softmax(forward(parameters, X, X[:, 0], running)[5], dim=1)
                line.append(torch.multinomial(p, num_samples=1, generator=g).item())
            print("  ", "".join(itos[i] for i in line[BLOCK:-1]))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
