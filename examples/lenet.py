"""LeNet on handwritten digits: convolutions, pooling, and three full layers.

    python examples/lenet.py [epochs]

1,797 real images of 8×8 pixels, which scikit-learn ships; a fifth of them is kept for the test.
"""

import sys

from sklearn.datasets import load_digits

import tinygrad_ce as torch
import tinygrad_ce.nn.functional as F
from tinygrad_ce import nn, optim
from tinygrad_ce.utils.data import DataLoader, TensorDataset, random_split


class LeNet(nn.Module):
    """The network of 1998 in small: its images had 32×32 pixels, ours have 8×8."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, kernel_size=5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, kernel_size=3, padding=1)
        self.fc1 = nn.Linear(16 * 2 * 2, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 1, 8, 8) -> logits (N, 10)."""
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)  # (N, 6, 4, 4)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)  # (N, 16, 2, 2)
        x = torch.flatten(x, 1)  # all but the batch
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        return self.fc3(x)


def train(
    loader: DataLoader, model: nn.Module, criterion: nn.Module, optimizer: optim.Optimizer
) -> float:
    """One epoch; the average loss of its batches."""
    model.train()
    running = 0.0
    for inputs, labels in loader:
        optimizer.zero_grad()
        loss = criterion(model(inputs), labels)
        loss.backward()
        optimizer.step()
        running += loss.item()
    return running / len(loader)


def test(loader: DataLoader, model: nn.Module, criterion: nn.Module) -> tuple[float, float]:
    """The average loss and the share of digits that are read right."""
    model.eval()
    loss, correct = 0.0, 0
    with torch.no_grad():
        for inputs, labels in loader:
            outputs = model(inputs)
            loss += criterion(outputs, labels).item() * len(labels)
            correct += (outputs.argmax(1) == labels).type(torch.float).sum().item()
    return loss / len(loader.dataset), correct / len(loader.dataset)


def main(epochs: int = 8) -> None:
    """Train, test, and look at what was misread."""
    torch.manual_seed(0)
    images, digits = load_digits(return_X_y=True)
    X = torch.from_numpy(images).float().view(-1, 1, 8, 8) / 16
    dataset = TensorDataset(X, torch.from_numpy(digits).long())
    training_data, test_data = random_split(dataset, [0.8, 0.2])
    train_loader = DataLoader(training_data, batch_size=32, shuffle=True)
    test_loader = DataLoader(test_data, batch_size=256)

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = LeNet().to(device)
    print(model)
    print(f"{sum(p.numel() for p in model.parameters() if p.requires_grad):,} parameters")
    criterion = nn.CrossEntropyLoss()
    optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    scheduler = optim.lr_scheduler.StepLR(optimizer, step_size=4, gamma=0.2)
    for epoch in range(1, epochs + 1):
        running = train(train_loader, model, criterion, optimizer)
        scheduler.step()
        loss, accuracy = test(test_loader, model, criterion)
        print(f"epoch {epoch}: loss {running:.4f}, test loss {loss:.4f}, {accuracy:.2%} right")

    inputs, labels = next(iter(test_loader))
    with torch.no_grad():
        surest, read = torch.max(F.softmax(model(inputs), dim=1), 1)
    for i in (read != labels).nonzero().flatten()[:5].tolist():
        print(f"image {i}: {labels[i]}, read as {read[i]} with probability {surest[i]:.2f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
