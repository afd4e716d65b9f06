"""A convolutional network reads drawn digits of a seven-segment display. It learns badly: why?"""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)

SEGMENTS = ["abcdef", "bc", "abdeg", "abcdg", "bcfg", "acdfg", "acdefg", "abc", "abcdefg", "abcdfg"]
PLACES = {
    "a": (0, slice(1, 4)),
    "b": (slice(1, 4), 4),
    "c": (slice(5, 8), 4),
    "d": (8, slice(1, 4)),
    "e": (slice(5, 8), 0),
    "f": (slice(1, 4), 0),
    "g": (4, slice(1, 4)),
}


def make_digits(count: int) -> TensorDataset:
    glyphs = torch.zeros(10, 1, 9, 5)
    for digit, segments in enumerate(SEGMENTS):
        for segment in segments:
            glyphs[digit, 0][PLACES[segment]] = 1
    labels = torch.randint(0, 10, (count,))
    images = glyphs[labels] + 0.6 * torch.randn(count, 1, 9, 5)
    return TensorDataset((images - 0.35) / 0.75, labels)


model = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1),
    nn.ReLU(),
    nn.Conv2d(16, 32, 3, padding=1),
    nn.ReLU(),
    nn.Flatten(),
    nn.Linear(32 * 9 * 5, 10),
)
optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
criterion = nn.CrossEntropyLoss()
loader = DataLoader(make_digits(4000), batch_size=50, shuffle=True)

for epoch in range(5):
    total = 0.0
    for images, labels in loader:
        loss = criterion(model(images), labels)
        loss.backward()
        optimizer.step()
        total += loss.item()
    print(f"epoch {epoch}  loss {total / len(loader):.4f}")
