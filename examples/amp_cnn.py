"""Automatic mixed precision: a convolutional network tells drawn shapes apart, with autocast and a gradient scaler.

On a GPU the scaler guards float16 gradients; on a CPU autocast uses bfloat16, and the scaler stays switched off.
"""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
device = "cuda" if torch.cuda.is_available() else "cpu"
dtype = torch.float16 if device == "cuda" else torch.bfloat16
SIZE = 16


def draw(count: int) -> TensorDataset:
    """Discs, squares, crosses at random places, each in noise."""
    labels = torch.randint(0, 3, (count,))
    grid = torch.arange(SIZE).float()
    center = torch.randint(4, SIZE - 4, (count, 2, 1, 1)).float()
    down, across = (grid.view(1, -1, 1) - center[:, 0]).abs(), (grid.view(1, 1, -1) - center[:, 1]).abs()
    disc = (down**2 + across**2 <= 9.5).float()
    square = (torch.maximum(down, across) <= 2.5).float()
    cross = ((torch.minimum(down, across) <= 0.5) & (torch.maximum(down, across) <= 3.5)).float()
    images = torch.stack([disc, square, cross])[labels, torch.arange(count)]
    images = images + 0.3 * torch.randn_like(images)
    return TensorDataset((images.unsqueeze(1) - 0.1) / 0.4, labels)


class ShapeNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(inplace=True),
            nn.Conv2d(16, 32, 3, padding=1, stride=2, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(inplace=True),
        )
        self.head = nn.Linear(32, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(images).mean(dim=(2, 3)))


train_loader = DataLoader(draw(2048), batch_size=64, shuffle=True)
test_loader = DataLoader(draw(512), batch_size=128)
model = ShapeNet().to(device)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True)
scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=8 * len(train_loader))
scaler = torch.amp.GradScaler(device, enabled=dtype is torch.float16)
criterion = nn.CrossEntropyLoss()

for epoch in range(8):
    model.train()
    for images, labels in train_loader:
        images, labels = images.to(device), labels.to(device)
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, dtype=dtype):
            loss = criterion(model(images), labels)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        scheduler.step()
    model.eval()
    right = 0
    with torch.inference_mode(), torch.autocast(device, dtype=dtype):
        for images, labels in test_loader:
            logits = model(images.to(device))
            criterion(logits, labels.to(device))
            right += (logits.argmax(1).cpu() == labels).sum().item()
    print(f"epoch {epoch}  last loss {loss.item():.4f}  test accuracy {right / 512:.3f}")
