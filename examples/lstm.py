"""A character LSTM with truncated backpropagation: it reads a story and goes on telling it.

    python examples/lstm.py [epochs]

The story is read in order, 25 letters at a time. What the network remembers goes on to the next
25, the gradient does not: it would have to walk back to the first letter of the story.
"""

import sys
from pathlib import Path

import tinygrad_ce as torch
import tinygrad_ce.nn as nn
import tinygrad_ce.optim as optim

SEQ_LEN, BATCH, HIDDEN = 25, 8, 96
torch.set_default_dtype(torch.float64)  # so that many steps give the same digits everywhere
State = tuple[torch.Tensor, torch.Tensor]

text = Path(__file__).with_name("story.txt").read_text(encoding="utf-8")
chars = sorted(set(text))
char_to_ix = {ch: i for i, ch in enumerate(chars)}


class CharLSTM(nn.Module):
    """Letters in, logits of the next letters out, and the memory."""

    def __init__(self, vocab_size: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.embed = nn.Embedding(vocab_size, 16)
        self.lstm = nn.LSTM(16, hidden_size, batch_first=True)
        self.decoder = nn.Linear(hidden_size, vocab_size)

    def init_hidden(self, batch_size: int) -> State:
        """Nothing remembered yet: h and c, each (layers, batch, hidden)."""
        weight = next(self.parameters())
        return tuple(weight.new_zeros(1, batch_size, self.hidden_size) for _ in range(2))

    def forward(self, x: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:
        """(N, T) -> logits (N, T, vocabulary)."""
        out, state = self.lstm(self.embed(x), state)
        return self.decoder(out), state


def detach(state: State) -> State:
    """The same numbers without their past."""
    return tuple(s.detach() for s in state)


@torch.no_grad()
def tell(model: CharLSTM, start: str, length: int, temperature: float) -> str:
    """Go on after `start`, each letter drawn and fed back; a low temperature dares less."""
    model.eval()
    state = model.init_hidden(1)
    told, x = start, torch.tensor([[char_to_ix[ch] for ch in start]])
    for _ in range(length):
        logits, state = model(x, state)
        p = torch.softmax(logits[0, -1] / temperature, dim=-1)
        x = torch.multinomial(p, 1).view(1, 1)
        told += chars[x.item()]
    return told


def main(epochs: int = 30) -> None:
    """Read the story some times, then tell it."""
    torch.manual_seed(0)
    data = torch.tensor([char_to_ix[ch] for ch in text], dtype=torch.long)
    # Eight readers, each with a part of the story: row i goes on where it was in the chunk before.
    length = (len(data) - 1) // BATCH
    inputs = data[: BATCH * length].view(BATCH, length)
    targets = data[1 : BATCH * length + 1].view(BATCH, length)
    model = CharLSTM(len(chars), HIDDEN)
    criterion = nn.CrossEntropyLoss()
    optimizer = optim.Adam(model.parameters(), lr=0.008)
    print(f"{len(text)} characters, {len(chars)} different")

    def step(x: torch.Tensor, y: torch.Tensor, state: State) -> tuple:
        logits, state = model(x, state)
        loss = criterion(logits.reshape(-1, len(chars)), y.reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
        optimizer.step()
        return loss, norm, state

    # As one program of NumPy the step is faster; PyTorch would ask for a C compiler to do the like.
    if torch.__name__ == "tinygrad_ce":
        step = torch.compile(step)
    for epoch in range(1, epochs + 1):
        model.train()
        state, total, chunks = model.init_hidden(BATCH), 0.0, 0
        for x, y in zip(inputs.split(SEQ_LEN, dim=1), targets.split(SEQ_LEN, dim=1)):
            loss, norm, state = step(x, y, detach(state))
            total, chunks = total + loss.item(), chunks + 1
        if epoch % max(1, epochs // 5) == 0:
            print(f"epoch {epoch:3d}: loss {total / chunks:.4f}, gradient {norm:.3f}")

    print(tell(model, "The keeper ", 300, temperature=0.5))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
