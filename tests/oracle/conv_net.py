"""The small network that LoRA on convolutions and embeddings is compared with PEFT on."""
import torch
from torch import nn


class ConvNet(nn.Module):
    """ConvNet of tests/tuners/small_networks.h."""

    def __init__(self, weights):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.grouped = nn.Conv2d(6, 8, 3, stride=2, padding=1, groups=2)
        self.wide = nn.Conv2d(8, 6, (5, 3), padding=(2, 1), bias=False)
        self.point = nn.Conv2d(6, 4, 1)
        self.labels = nn.Embedding(7, 4)
        self.head = nn.Linear(4, 5)
        self.load_state_dict(weights)

    def forward(self, x):
        for layer in (self.stem, self.grouped, self.wide, self.point):
            x = layer(x).tanh()
        return self.head(x.mean((2, 3)) + self.labels(torch.arange(len(x))))
