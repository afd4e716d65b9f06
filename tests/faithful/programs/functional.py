"""torch.func: gradients of pure functions, vmap over an ensemble, one step of meta-learning; no optimizer at first."""

import torch
from fingerprint import show
from torch import nn
from torch.func import functional_call, grad, grad_and_value, stack_module_state, vmap

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
weights = {name: p.detach().clone() for name, p in model.named_parameters()}


def loss_of(weights, x, y):
    return nn.functional.mse_loss(functional_call(model, weights, (x,)), y)


for _ in range(15):
    x = torch.randn(10, 3)
    gradient, value = grad_and_value(loss_of)(weights, x, x.sum(1, keepdim=True))
    weights = {name: weight - 0.1 * gradient[name] for name, weight in weights.items()}
per_example = vmap(grad(loss_of), in_dims=(None, 0, 0))(weights, x.unsqueeze(1), x.sum(1).view(-1, 1, 1))
show("functional", weights, per_example, value)

ensemble = [nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)) for _ in range(3)]
stacked, _ = stack_module_state(ensemble)
optimizer = torch.optim.Adam(stacked.values(), lr=1e-2)
for _ in range(15):
    x = torch.randn(10, 3)
    predictions = vmap(lambda w, inputs: functional_call(ensemble[0], w, (inputs,)), in_dims=(0, None))(stacked, x)
    loss = nn.functional.mse_loss(predictions, x.sum(1, keepdim=True).expand(3, 10, 1))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
show("ensemble", stacked, optimizer)

meta = torch.optim.SGD(model.parameters(), lr=0.05)
for _ in range(10):
    x = torch.randn(10, 3)
    fast = dict(model.named_parameters())
    inner = torch.autograd.grad(loss_of(fast, x, x[:, :1]), tuple(fast.values()), create_graph=True)
    fast = {name: p - 0.1 * g for (name, p), g in zip(fast.items(), inner, strict=True)}
    meta.zero_grad()
    loss_of(fast, -x, -x[:, :1]).backward()
    meta.step()
show("meta", model, meta)
