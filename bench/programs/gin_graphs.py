"""A property of small graphs (how many triangles): graph isomorphism network on batched graphs, index_add_ for messages."""

import argparse

import torch
from torch import nn

NODES = 8


def random_graphs(n, generator):
    density = 0.25 + 0.35 * torch.rand(n, 1, 1, generator=generator)
    upper = torch.triu((torch.rand(n, NODES, NODES, generator=generator) < density).float(), 1)
    adjacency = upper + upper.transpose(1, 2)
    triangles = torch.diagonal(adjacency @ adjacency @ adjacency, dim1=1, dim2=2).sum(1) / 6
    walks = (adjacency @ adjacency @ adjacency).diagonal(dim1=1, dim2=2)
    features = torch.stack([adjacency.sum(2), walks / 2 + torch.randn(walks.shape, generator=generator)], dim=2)
    return adjacency, features, triangles


def batch_up(adjacency, features):
    """One large graph: edges between nodes numbered through, and which graph a node belongs to."""
    graph, source, target = adjacency.nonzero(as_tuple=True)
    owner = torch.arange(len(adjacency)).repeat_interleave(NODES)
    return features.flatten(0, 1), graph * NODES + source, graph * NODES + target, owner


class GINLayer(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.epsilon = nn.Parameter(torch.zeros(()))
        self.mlp = nn.Sequential(
            nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU(), nn.Linear(outputs, outputs), nn.ReLU()
        )

    def forward(self, h, source, target):
        messages = torch.zeros_like(h).index_add_(0, target, h[source])
        return self.mlp((1 + self.epsilon) * h + messages)


class GIN(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.layers = nn.ModuleList([GINLayer(2, width), GINLayer(width, width)])
        self.readout = nn.Linear(2 * width, 1)

    def forward(self, features, source, target, owner):
        h, pooled = features, []
        graphs = int(owner.max()) + 1
        for layer in self.layers:
            h = layer(h, source, target)
            pooled.append(h.new_zeros(graphs, h.shape[1]).index_add_(0, owner, h) / NODES)
        return self.readout(torch.cat(pooled, dim=1)).squeeze(-1)


def train_epoch(model, data, optimizer, mean, std, size=40):
    adjacency, features, value = data
    model.train()
    total = 0.0
    for pick in torch.randperm(len(value)).split(size):
        prediction = model(*batch_up(adjacency[pick], features[pick]))
        loss = (prediction - (value[pick] - mean) / std).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(pick)
    return total / len(value)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--lr", type=float, default=8e-3)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    generator = torch.Generator().manual_seed(args.seed)
    data, test = random_graphs(800, generator), random_graphs(300, generator)
    mean, std = data[2].mean(), data[2].std()
    model = GIN()
    optimizer = torch.optim.Adamax(model.parameters(), lr=args.lr)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=8, gamma=0.3)
    for epoch in range(args.epochs):
        loss = train_epoch(model, data, optimizer, mean, std)
        scheduler.step()
        print(f"epoch {epoch} MAE {loss * std:.3f} triangles")
    model.eval()
    with torch.no_grad():
        predicted = model(*batch_up(test[0], test[1])) * std + mean
    print("METRIC mae", (predicted - test[2]).abs().mean().item())


if __name__ == "__main__":
    main()
