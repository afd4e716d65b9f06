"""Gradient penalty, double backward, Hessian-vector products, custom autograd functions, several roots at once."""

import torch
from fingerprint import show
from torch import nn

torch.manual_seed(0)


class Clamp(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, limit):
        ctx.save_for_backward(x)
        ctx.limit = limit
        return x.clamp(-limit, limit)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * (x.abs() <= ctx.limit), None


model = nn.Sequential(nn.Linear(4, 12), nn.Tanh(), nn.Linear(12, 2))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, amsgrad=True, foreach=True)
products = []
for _ in range(15):
    x = torch.randn(6, 4, requires_grad=True)
    y = Clamp.apply(model(x), 0.8)
    (slope,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    loss = y.square().mean() + 0.1 * (slope.norm(dim=1) - 1).square().mean()
    gradients = torch.autograd.grad(loss, list(model.parameters()), create_graph=True)
    vector = [torch.randn_like(g) for g in gradients]
    products += torch.autograd.grad(gradients, list(model.parameters()), vector, retain_graph=True)
    optimizer.zero_grad()
    torch.autograd.backward([loss, slope.sum()], [torch.tensor(1.0), torch.tensor(0.01)])
    model(x)[:, 0].backward(gradient=torch.ones(6))
    optimizer.step()
show("second_order", model, optimizer, products)
