"""A variational autoencoder of handwritten digits: 64 pixels go through six numbers and back.

    python examples/vae.py [epochs]

The encoder gives a normal distribution for each image, the decoder makes an image of a draw from
it. The loss is minus the evidence lower bound: how badly the image is rebuilt, and how far its
distribution is from the standard normal distribution, from which new images are drawn at the end.
"""

import sys

from sklearn.datasets import load_digits

import tinygrad_ce as torch
from tinygrad_ce import nn, optim
from tinygrad_ce.nn import functional as F
from tinygrad_ce.utils.data import DataLoader

SHADES = " .:-=+*#"
torch.set_default_dtype(torch.float64)  # so that many steps give the same digits everywhere


class VAE(nn.Module):
    """Two layers down to mean and log-variance, two layers up again."""

    def __init__(self, pixels: int = 64, hidden: int = 128, latent: int = 6) -> None:
        super().__init__()
        self.fc1 = nn.Linear(pixels, hidden)
        self.fc21 = nn.Linear(hidden, latent)
        self.fc22 = nn.Linear(hidden, latent)
        self.fc3 = nn.Linear(latent, hidden)
        self.fc4 = nn.Linear(hidden, pixels)

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, 64) -> means and log-variances, (N, 6) each."""
        h = F.relu(self.fc1(x))
        return self.fc21(h), self.fc22(h)

    def reparameterize(self, mu: torch.Tensor, logvar: torch.Tensor) -> torch.Tensor:
        """A draw z = μ + σ ε. The chance is in ε alone, so that gradients reach μ and σ."""
        std = torch.exp(0.5 * logvar)
        eps = torch.randn_like(std)
        return mu + eps * std

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """(N, 6) -> (N, 64), each pixel from 0 to 1."""
        return torch.sigmoid(self.fc4(F.relu(self.fc3(z))))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The image rebuilt, and the distribution that it was drawn from."""
        mu, logvar = self.encode(x.view(-1, 64))
        return self.decode(self.reparameterize(mu, logvar)), mu, logvar


def loss_function(
    recon_x: torch.Tensor, x: torch.Tensor, mu: torch.Tensor, logvar: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Both parts, summed over the batch: KL(N(μ, σ²) ‖ N(0, 1)) = ½ Σ (μ² + σ² - 1 - log σ²)."""
    BCE = F.binary_cross_entropy(recon_x, x.view(-1, 64), reduction="sum")
    KLD = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
    return BCE, KLD


def show(images: torch.Tensor) -> None:
    """Images in a row, a character for each pixel."""
    for row in torch.cat(list(images.view(-1, 8, 8)), dim=1):
        levels = (row * len(SHADES)).long().clamp(max=len(SHADES) - 1)
        print("  ", "".join(SHADES[level] for level in levels.tolist()).rstrip())


def main(epochs: int = 20) -> None:
    """Train, rebuild some images, and draw new ones."""
    torch.manual_seed(1)
    images = load_digits().data
    X = torch.tensor(images, dtype=torch.get_default_dtype()) / 16
    train_loader = DataLoader(X[:1500], batch_size=64, shuffle=True)
    test = X[1500:]
    model = VAE()
    optimizer = optim.Adam(model.parameters(), lr=3e-3)
    for epoch in range(1, epochs + 1):
        model.train()
        total = 0
        for data in train_loader:
            optimizer.zero_grad()
            recon, mu, logvar = model(data)
            BCE, KLD = loss_function(recon, data, mu, logvar)
            loss = BCE + KLD
            loss.backward()
            total += loss.item()
            optimizer.step()
        if epoch % max(1, epochs // 5) == 0:
            model.eval()
            with torch.no_grad():
                recon, mu, logvar = model(test)
                BCE, KLD = (part / len(test) for part in loss_function(recon, test, mu, logvar))
            print(f"epoch {epoch:2d}: loss {total / len(train_loader.dataset):.4f}, "
                  f"test {BCE:.4f} + {KLD:.4f}")  # fmt: skip

    with torch.no_grad():
        show(test[:6])
        print("rebuilt:")
        show(model(test[:6])[0])
        print("new, from the normal distribution:")
        show(model.decode(torch.randn(6, 6)))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
