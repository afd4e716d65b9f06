"""Semi-supervised node classification with a two-layer graph convolution on a dense adjacency matrix."""

import argparse

import torch
import torch.nn as nn
import torch.nn.functional as F


def stochastic_block_model(n, classes, p_in, p_out, generator):
    label = torch.randint(0, classes, (n,), generator=generator)
    same = label[:, None] == label[None, :]
    probability = torch.where(same, p_in, p_out)
    upper = (torch.rand(n, n, generator=generator) < probability).float().triu(1)
    features = F.one_hot(label, classes).float() + 2.0 * torch.randn(n, classes, generator=generator)
    features = torch.cat([features, torch.randn(n, 12, generator=generator)], dim=1)
    return upper + upper.T, features, label


def normalise(adjacency):
    a = adjacency + torch.eye(len(adjacency))
    d = a.sum(1).rsqrt()
    return d[:, None] * a * d[None, :]


class GraphConvolution(nn.Module):
    def __init__(self, in_features, out_features):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(in_features, out_features))
        self.bias = nn.Parameter(torch.zeros(out_features))
        self.reset_parameters()

    def reset_parameters(self):
        nn.init.xavier_uniform_(self.weight)

    def forward(self, x, adj):
        return adj @ (x @ self.weight) + self.bias


class GCN(nn.Module):
    def __init__(self, nfeat, nhid, nclass, dropout):
        super().__init__()
        self.gc1 = GraphConvolution(nfeat, nhid)
        self.gc2 = GraphConvolution(nhid, nclass)
        self.dropout = dropout

    def forward(self, x, adj):
        x = F.relu(self.gc1(x, adj))
        x = F.dropout(x, self.dropout, training=self.training)
        x = self.gc2(x, adj)
        return F.log_softmax(x, dim=1)


parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int, default=42)
parser.add_argument("--epochs", type=int, default=300)
parser.add_argument("--lr", type=float, default=0.01)
parser.add_argument("--weight_decay", type=float, default=5e-4)
parser.add_argument("--hidden", type=int, default=16)
parser.add_argument("--dropout", type=float, default=0.3)
args = parser.parse_args()
torch.manual_seed(args.seed)

adj, features, labels = stochastic_block_model(400, 4, 0.06, 0.012, torch.Generator().manual_seed(args.seed))
adj = normalise(adj)
idx_train, idx_test = torch.arange(100), torch.arange(150, 400)
model = GCN(features.shape[1], args.hidden, 4, args.dropout)
optimizer = torch.optim.Adam(model.parameters(), lr=args.lr, weight_decay=args.weight_decay)

for epoch in range(args.epochs):
    model.train()
    optimizer.zero_grad()
    output = model(features, adj)
    loss_train = F.nll_loss(output[idx_train], labels[idx_train])
    loss_train.backward()
    optimizer.step()
    if epoch % 50 == 49:
        print(f"Epoch: {epoch + 1:04d} loss_train: {loss_train.item():.4f}")

model.eval()
with torch.no_grad():
    output = model(features, adj)
    accuracy = (output[idx_test].argmax(1) == labels[idx_test]).float().mean().item()
print(f"METRIC accuracy {accuracy:.4f}")
