"""What the original report describes, as a user would write it: train a VAE, count its modes.

Nothing of this project is used here. The peers run this function with the tool that each is named
after.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable

import numpy as np
import torch
from sklearn.mixture import GaussianMixture
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

N_POINTS = 10_000
N_COMPONENTS = 10
BATCH_SIZE = 128
KS = range(5, 15)


class VAE(nn.Module):
    """Two hidden layers of 128 on either side of a latent plane."""

    def __init__(self, latent_dim: int = 2, width: int = 128) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.encoder = nn.Sequential(
            nn.Linear(3, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        )
        self.mean = nn.Linear(width, latent_dim)
        self.log_variance = nn.Linear(width, latent_dim)
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, 3),
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Encode, draw a code, decode."""
        hidden = self.encoder(x)
        mean, log_variance = self.mean(hidden), self.log_variance(hidden)
        code = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        return self.decoder(code), mean, log_variance


def draw_points(seed: int) -> np.ndarray:
    """Draw points (10000, 3) from a random mixture of ten Gaussians."""
    rng = np.random.default_rng(seed)
    means = rng.uniform(-10, 10, (N_COMPONENTS, 3))
    variances = rng.uniform(0.5, 2.0, (N_COMPONENTS, 3))
    chosen = rng.choice(N_COMPONENTS, N_POINTS, p=rng.dirichlet(np.ones(N_COMPONENTS)))
    noise = rng.normal(size=(N_POINTS, 3)) * np.sqrt(variances[chosen])
    return (means[chosen] + noise).astype(np.float32)


def train(points: np.ndarray, *, n_epochs: int, seed: int) -> VAE:
    """Train with Adam on squared error plus KL divergence."""
    torch.manual_seed(seed)
    model = VAE()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loader = DataLoader(TensorDataset(torch.from_numpy(points)), BATCH_SIZE, shuffle=True)
    for _ in range(n_epochs):
        for (batch,) in loader:
            decoded, mean, log_variance = model(batch)
            error = ((decoded - batch) ** 2).sum(dim=1).mean()
            kl = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum(dim=1).mean()
            optimizer.zero_grad()
            (error + kl).backward()
            optimizer.step()
    return model


def count_modes(points: np.ndarray) -> int:
    """Count modes by the lowest BIC of Gaussian mixtures with 5 to 14 components."""
    bics = [GaussianMixture(k, random_state=42).fit(points).bic(points) for k in KS]
    return KS[int(np.argmin(bics))]


def train_and_count(data_seed: int, init_seed: int, n_epochs: int) -> int:
    """Run one trial: data, training, decoder means of prior draws, count."""
    torch.set_num_threads(1)
    model = train(draw_points(data_seed), n_epochs=n_epochs, seed=init_seed)
    with torch.no_grad():
        generated = model.decoder(torch.randn(N_POINTS, model.latent_dim)).numpy()
    return count_modes(generated)


def seed_pairs(n_trials: int) -> list[tuple[int, int]]:
    """List (data seed, init seed): two trainings on each data set."""
    return [(i // 2, i % 2) for i in range(n_trials)]


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line that every peer has."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=24, help="trainings (default: 24)")
    parser.add_argument("--epochs", type=int, default=100, help="of each (default: 100)")
    parser.add_argument("--workers", type=int, default=2, help="at once (default: 2)")
    parser.add_argument("--scratch", default=".", help="folder for the tool's own files")
    return parser.parse_args(argv)


def print_counts(counts: Iterable[int]) -> None:
    """Print the counts as one JSON line, which the comparison checks."""
    json.dump({"counts": sorted(counts)}, sys.stdout)
    print()
