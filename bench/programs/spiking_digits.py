"""A spiking network with a surrogate gradient (custom autograd.Function) reads digits as spike counts."""

import argparse

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits


class Spike(torch.autograd.Function):
    """A step forward, a fast sigmoid's slope backward."""

    @staticmethod
    def forward(ctx, potential, slope):
        ctx.save_for_backward(potential)
        ctx.slope = slope
        return (potential > 0).float()

    @staticmethod
    def backward(ctx, grad):
        (potential,) = ctx.saved_tensors
        return grad / (1 + ctx.slope * potential.abs()) ** 2, None


class SpikingNet(nn.Module):
    def __init__(self, hidden=80, leak=0.85, slope=5.0):
        super().__init__()
        self.input = nn.Linear(64, hidden)
        self.output = nn.Linear(hidden, 10)
        self.leak, self.slope = leak, slope

    def forward(self, spikes):
        """(T, N, 64) spikes to (N, 10): the highest potential that each output reaches."""
        potential = spikes.new_zeros(spikes.shape[1], self.input.out_features)
        read = spikes.new_zeros(spikes.shape[1], 10)
        trace, fired = [], 0.0
        for frame in spikes:
            potential = self.leak * potential + self.input(frame)
            spike = Spike.apply(potential - 1, self.slope)
            potential = potential - spike.detach()
            read = self.leak * read + self.output(spike)
            trace.append(read)
            fired = fired + spike.mean()
        return torch.stack(trace).amax(0), fired / len(spikes)


def encode(images, frames, generator):
    """Bright pixels spike more often."""
    return (torch.rand(frames, *images.shape, generator=generator) < 0.5 * images).float()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lr", type=float, default=4e-3)
    parser.add_argument("--updates", type=int, default=260)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    generator = torch.Generator().manual_seed(args.seed)
    pixels, label = load_digits(return_X_y=True)
    pixels, label = torch.tensor(pixels / 16, dtype=torch.float32), torch.tensor(label)
    order = torch.randperm(len(label), generator=generator)
    train, test = order[:1200], order[1200:]
    model = SpikingNet()
    optimizer = torch.optim.Adamax(model.parameters(), lr=args.lr)
    for update in range(args.updates):
        pick = train[torch.randint(0, len(train), (40,), generator=generator)]
        logits, rate = model(encode(pixels[pick], 12, generator))
        loss = F.cross_entropy(logits, label[pick]) + 0.1 * (rate - 0.15) ** 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if update % 50 == 0:
            print(f"update {update} loss {loss.item():.3f} firing rate {rate.item():.3f}")
    with torch.no_grad():
        logits, _ = model(encode(pixels[test], 12, generator))
    print("METRIC accuracy", (logits.argmax(1) == label[test]).float().mean().item())


if __name__ == "__main__":
    main()
