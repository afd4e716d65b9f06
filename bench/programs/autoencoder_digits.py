import argparse

import torch
from sklearn.datasets import load_digits
from torch import nn


class AutoEncoder(nn.Module):
    def __init__(self, bottleneck=8):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 48), nn.ELU(), nn.Linear(48, bottleneck))
        self.decoder = nn.Sequential(nn.Linear(bottleneck, 48), nn.ELU(), nn.Linear(48, 64), nn.Sigmoid())

    def encode(self, x):
        return self.encoder(x)

    def decode(self, z):
        return self.decoder(z)

    def forward(self, x):
        return self.decode(self.encode(x))


def main(args):
    torch.manual_seed(args.seed)
    images = torch.tensor(load_digits().data / 16, dtype=torch.float32)
    images = images[torch.randperm(len(images))]
    train, test = images[:1400], images[1400:]

    ae = AutoEncoder()
    optimizer = torch.optim.RMSprop(ae.parameters(), lr=args.lr)
    distance = nn.MSELoss()

    for epoch in range(args.epochs):
        for batch in torch.split(train[torch.randperm(len(train))], 50):
            reconstruction = ae(batch)
            loss = distance(reconstruction, batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.inference_mode():
            held_out = distance(ae(test), test)
        if epoch % 5 == 4:
            print(f"epoch {epoch + 1:2d} | reconstruction error {loss:.5f} | held out {held_out:.5f}")
    print(f"METRIC mse {held_out:.6f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Compress digits to eight numbers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--epochs", type=int, default=40)
    main(parser.parse_args())
