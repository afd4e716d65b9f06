"""A twenty-layer ReLU network learns to tell concentric rings apart."""

import argparse

import torch
from torch import nn

DEPTH = 20
WIDTH = 32


def rings(n, generator):
    angle = 6.2832 * torch.rand(n, generator=generator)
    ring = torch.randint(0, 3, (n,), generator=generator)
    radius = 0.5 + 0.7 * ring + 0.12 * torch.randn(n, generator=generator)
    x = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)
    return x, ring


def build():
    layers = [nn.Linear(2, WIDTH), nn.ReLU()]
    for _ in range(DEPTH - 2):
        layers += [nn.Linear(WIDTH, WIDTH), nn.ReLU()]
    layers.append(nn.Linear(WIDTH, 3))
    net = nn.Sequential(*layers)
    for m in net:
        if isinstance(m, nn.Linear):
            nn.init.kaiming_normal_(m.weight, nonlinearity="relu")
            nn.init.zeros_(m.bias)
    return net


def main(seed):
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed)
    x, y = rings(2000, gen)
    x_val, y_val = rings(600, gen)
    net = build()
    opt = torch.optim.Adam(net.parameters(), lr=1e-3)
    loss_fn = nn.CrossEntropyLoss()
    for step in range(700):
        i = torch.randint(0, len(x), (64,), generator=gen)
        loss = loss_fn(net(x[i]), y[i])
        opt.zero_grad()
        loss.backward()
        opt.step()
        if step % 100 == 99:
            net.eval()
            with torch.no_grad():
                out = net(x_val)
                print(f"{step + 1} {loss:.4f} {loss_fn(out, y_val):.4f} {(out.argmax(1) == y_val).float().mean():.3f}")
            net.train()
    with torch.no_grad():
        accuracy = (net(x_val).argmax(1) == y_val).float().mean().item()
    print(f"METRIC accuracy {accuracy:.4f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    main(parser.parse_args().seed)
