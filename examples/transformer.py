"""A small causal transformer that writes text.

    python examples/transformer.py [steps]

Each letter looks back at up to 32 letters before it, in four heads, twice. It learns to say what
comes next at every place at once, and then writes, letter by letter.
"""

import sys
from pathlib import Path

import tinygrad_ce as torch
from tinygrad_ce import nn
from tinygrad_ce.nn import functional as F

block_size, batch_size, n_embd, n_head, n_layer, dropout = 32, 16, 48, 4, 2, 0.1
text = Path(__file__).with_name("story.txt").read_text(encoding="utf-8")
chars = sorted(set(text))
data = torch.tensor([chars.index(ch) for ch in text])


def get_batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Pieces of the story, and the same one letter later."""
    ix = torch.randint(len(data) - block_size, (batch_size,))
    return tuple(torch.stack([data[i + k : i + k + block_size] for i in ix]) for k in (0, 1))


class CausalSelfAttention(nn.Module):
    """Σ softmax(q kᵀ / √d) v over what came before, in several heads."""

    def __init__(self) -> None:
        super().__init__()
        self.c_attn = nn.Linear(n_embd, 3 * n_embd, bias=False)
        self.c_proj = nn.Linear(n_embd, n_embd)
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("mask", torch.tril(torch.ones(block_size, block_size)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, T, C) -> (B, T, C)."""
        B, T, C = x.size()
        qkv = self.c_attn(x).view(B, T, 3, n_head, C // n_head)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, T, d)
        att = (q @ k.transpose(-2, -1)) / k.size(-1) ** 0.5
        att = F.softmax(att.masked_fill(self.mask[:T, :T] == 0, float("-inf")), dim=-1)
        return self.c_proj((self.dropout(att) @ v).transpose(1, 2).contiguous().view(B, T, C))


class Block(nn.Module):
    """Letters talk to each other, then each thinks for itself; both are added to what was there."""

    def __init__(self) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(n_embd), nn.LayerNorm(n_embd)
        self.attn = CausalSelfAttention()
        up, down = nn.Linear(n_embd, 4 * n_embd), nn.Linear(4 * n_embd, n_embd)
        self.mlp = nn.Sequential(up, nn.GELU(), down, nn.Dropout(dropout))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, T, C) -> (B, T, C)."""
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    """What a letter is plus where it stands, the blocks, and logits of the next letter."""

    def __init__(self) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(len(chars), n_embd), nn.Embedding(block_size, n_embd)
        self.blocks = nn.Sequential(*[Block() for _ in range(n_layer)])
        self.ln_f = nn.LayerNorm(n_embd)
        self.lm_head = nn.Linear(n_embd, len(chars), bias=False)
        nn.init.normal_(self.lm_head.weight, std=0.02)  # at the start all letters are alike

    def forward(self, idx: torch.Tensor) -> torch.Tensor:
        """(B, T) -> logits of the next letters (B, T, letters)."""
        x = self.wte(idx) + self.wpe(torch.arange(idx.size(1), device=idx.device))
        return self.lm_head(self.ln_f(self.blocks(x)))

    @torch.no_grad()
    def generate(self, idx: torch.Tensor, max_new_tokens: int, top_k: int) -> torch.Tensor:
        """Append letters, each drawn from the `top_k` that are likeliest."""
        for _ in range(max_new_tokens):
            logits = self(idx[:, -block_size:])[:, -1, :]
            logits[logits < logits.topk(top_k).values[:, [-1]]] = -float("inf")
            idx = torch.cat((idx, torch.multinomial(F.softmax(logits, dim=-1), 1)), dim=1)
        return idx


def main(steps: int = 600) -> None:
    """Train, and write."""
    torch.manual_seed(1337)
    model = Transformer()
    print(f"{sum(p.numel() for p in model.parameters()) / 1e3:.1f} thousand parameters")
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(1, steps + 1):
        xb, yb = get_batch()
        loss = F.cross_entropy(model(xb).view(-1, len(chars)), yb.view(-1))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if step % max(1, steps // 5) == 0:
            print(f"step {step:4d}: loss {loss.item():.4f}")

    start = torch.zeros((1, 1), dtype=torch.long)  # letter 0 is the end of a line
    print("".join(chars[i] for i in model.eval().generate(start, 300, top_k=5)[0]))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
