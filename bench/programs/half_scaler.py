"""Regression in half precision with a GradScaler: how fast does a bearing wear? Targets are small numbers."""

import argparse

import torch
from torch import nn


def bearings(n, generator):
    """Load, speed, temperature, age (normalised) to wear per hour in metres."""
    x = torch.randn(n, 4, generator=generator)
    wear = torch.exp(0.5 * x[:, 0] + 0.4 * x[:, 1] * x[:, 2] - 0.3 * x[:, 3])
    return x, 1e-3 * wear * (1 + 0.05 * torch.randn(n, generator=generator))


def train(model, x, y, args):
    device = torch.device("cpu")
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=0.9)
    scaler = torch.amp.GradScaler(device.type, enabled=args.scale, init_scale=2.0**24, growth_interval=10_000)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, args.steps)
    loss_function = nn.MSELoss()
    for step in range(args.steps):
        rows = torch.randint(0, len(x), (64,))
        with torch.autocast(device.type, dtype=torch.float16):
            predicted = model(x[rows]).squeeze(-1)
            loss = loss_function(predicted.float() * args.unit, y[rows])
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), args.clip)
        scaler.step(optimizer)
        scaler.update()
        scheduler.step()
        if step % 100 == 0:
            print(f"step {step} loss {loss.item():.3e} scale {scaler.get_scale():g}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=450)
    parser.add_argument("--lr", type=float, default=2e4)
    parser.add_argument("--clip", type=float, default=1e-4)
    parser.add_argument("--unit", type=float, default=1e-3, help="metres per unit of the network's output")
    parser.add_argument("--no-scale", dest="scale", action="store_false")
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    generator = torch.Generator().manual_seed(args.seed)
    x, y = bearings(1500, generator)
    x_test, y_test = bearings(500, generator)
    model = nn.Sequential(nn.Linear(4, 48), nn.Tanh(), nn.Linear(48, 48), nn.Tanh(), nn.Linear(48, 1))
    train(model, x, y, args)
    with torch.no_grad():
        error = model(x_test).squeeze(-1) * args.unit - y_test
    print("METRIC rmse_um", 1e6 * error.pow(2).mean().sqrt().item())


if __name__ == "__main__":
    main()
