"""Digits with an exponential moving average of the weights for evaluation."""

import argparse

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--decay", type=float, default=0.98)
parser.add_argument("--lr", type=float, default=0.1)
config = parser.parse_args()
torch.manual_seed(config.seed)

bunch = load_digits()
images = torch.tensor(bunch.images, dtype=torch.float32).unsqueeze(1) / 16 - 0.3
labels = torch.tensor(bunch.target)
order = torch.randperm(len(labels))
train_idx, valid_idx = order[:1200], order[1200:]

model = nn.Sequential(
    nn.Conv2d(1, 10, 3, padding=1),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Flatten(),
    nn.Linear(160, 48),
    nn.ReLU(),
    nn.Linear(48, 10),
)
ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(config.decay))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=config.lr, momentum=0.8)


def validate(net):
    net.eval()
    with torch.inference_mode():
        result = criterion(net(images[valid_idx]), labels[valid_idx]).item()
    net.train()
    return result


for epoch in range(15):
    for batch in train_idx[torch.randperm(1200)].split(40):
        loss = criterion(model(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        ema.update_parameters(model)
    if epoch % 3 == 2:
        print(f"epoch {epoch + 1}: raw {validate(model):.4f} averaged {validate(ema):.4f}")

print("METRIC log_loss", validate(ema))
