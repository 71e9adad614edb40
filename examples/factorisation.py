"""Matrix factorisation: which films will somebody like, from the stars given to others?

    python examples/factorisation.py [epochs]

Users and films get a short vector and a bias each, and a rating is their product and sum. The
ratings are made here from hidden vectors, with noise: nothing can predict better than the noise.
"""

import sys

import tinygrad_ce as torch
from tinygrad_ce import nn
from tinygrad_ce.utils.data import DataLoader, Dataset

USERS, FILMS, HIDDEN, NOISE = 120, 80, 3, 0.3


class Ratings(Dataset):
    """(user, film, stars) of every pair of which a coin says that there is a rating."""

    def __init__(self, share: float) -> None:
        tastes, films = torch.randn(USERS, HIDDEN), torch.randn(FILMS, HIDDEN)
        stars = 3 + 0.4 * tastes @ films.T + 0.5 * torch.randn(FILMS)
        stars += NOISE * torch.randn_like(stars)
        self.users, self.films = torch.nonzero(torch.rand(USERS, FILMS) < share, as_tuple=True)
        self.stars = stars[self.users, self.films]

    def __len__(self) -> int:
        return len(self.stars)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return self.users[i], self.films[i], self.stars[i]


class Factorisation(nn.Module):
    """r(u, f) = μ + b(u) + b(f) + p(u) · q(f)."""

    def __init__(self, users: int, films: int, factors: int, mean: float) -> None:
        super().__init__()
        self.P, self.Q = nn.Embedding(users, factors), nn.Embedding(films, factors)
        self.user_bias, self.film_bias = nn.Embedding(users, 1), nn.Embedding(films, 1)
        for table in (self.P, self.Q):
            nn.init.normal_(table.weight, std=0.1)
        for table in (self.user_bias, self.film_bias):
            nn.init.zeros_(table.weight)
        self.register_buffer("mean", torch.tensor(mean))

    def forward(self, user: torch.Tensor, film: torch.Tensor) -> torch.Tensor:
        """(N,) and (N,) -> (N,)."""
        product = (self.P(user) * self.Q(film)).sum(dim=-1)
        return self.mean + product + (self.user_bias(user) + self.film_bias(film)).squeeze(-1)


def rmse(model: nn.Module, data: Ratings, rows: torch.Tensor) -> float:
    """The root of the mean squared error, in stars."""
    with torch.no_grad():
        predicted = model(data.users[rows], data.films[rows])
        return nn.MSELoss()(predicted, data.stars[rows]).sqrt().item()


def main(epochs: int = 15) -> None:
    """Factorise, and recommend."""
    torch.manual_seed(0)
    data = Ratings(share=0.3)
    order = torch.randperm(len(data))
    test, training = order[: len(data) // 5], order[len(data) // 5 :]
    loader = DataLoader(data, batch_size=64, sampler=torch.utils.data.SubsetRandomSampler(training))
    mean = data.stars[training].mean().item()
    print(f"{len(data)} of {USERS * FILMS} ratings, {mean:.3f} stars on average")
    print(f"the average for everybody: {(data.stars[test] - mean).square().mean().sqrt():.4f}")

    model = Factorisation(USERS, FILMS, HIDDEN, mean)
    # Each user has few ratings: without the decay the vectors would learn the noise by heart.
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02, weight_decay=0.3)
    loss_fn = nn.MSELoss()
    for epoch in range(1, epochs + 1):
        for user, film, stars in loader:
            loss = loss_fn(model(user, film), stars)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        if epoch % max(1, epochs // 5) == 0:
            print(f"epoch {epoch:2d}: training {rmse(model, data, training):.4f}, "
                  f"test {rmse(model, data, test):.4f} stars")  # fmt: skip

    user = torch.tensor(7)
    with torch.no_grad():
        stars = model(user.expand(FILMS), torch.arange(FILMS))
    stars[data.films[data.users == user]] = -torch.inf  # what they have seen already
    best = stars.topk(3)
    print(
        "for user 7:",
        ", ".join(f"film {f} ({s:.2f})" for s, f in zip(*map(torch.Tensor.tolist, best))),
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
