"""Sharpness-aware minimisation, an optimizer inside an optimizer, and hand-made updates."""

import torch
from fingerprint import show
from torch import nn


class SAM(torch.optim.Optimizer):
    def __init__(self, params, base, rho=0.05, **kwargs):
        super().__init__(params, dict(rho=rho, **kwargs))
        self.base = base(self.param_groups, **kwargs)
        self.param_groups = self.base.param_groups

    @torch.no_grad()
    def first_step(self):
        norm = torch.stack([p.grad.norm() for g in self.param_groups for p in g["params"]]).norm()
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p]["old"] = p.data.clone()
                p.add_(p.grad * (group["rho"] / (norm + 1e-12)))

    @torch.no_grad()
    def second_step(self):
        for group in self.param_groups:
            for p in group["params"]:
                p.data = self.state[p]["old"]
        self.base.step()

    def step(self, closure=None):
        closure = torch.enable_grad()(closure)
        self.first_step()
        self.zero_grad()
        closure()
        self.second_step()


class Lookahead(torch.optim.Optimizer):
    def __init__(self, inner, every=5):  # deliberately without super().__init__
        self.inner, self.every, self.count = inner, every, 0
        self.param_groups, self.state = inner.param_groups, inner.state
        self.slow = [p.detach().clone() for g in self.param_groups for p in g["params"]]

    def zero_grad(self, set_to_none=True):
        self.inner.zero_grad(set_to_none)

    def step(self, closure=None):
        self.inner.step()
        self.count += 1
        if self.count % self.every == 0:
            with torch.no_grad():
                for slow, fast in zip(self.slow, (p for g in self.param_groups for p in g["params"]), strict=True):
                    slow.lerp_(fast, 0.5)
                    fast.copy_(slow)


def loss_of(model):
    return nn.functional.mse_loss(model(x), x.sum(1, keepdim=True))


torch.manual_seed(0)
model = nn.Sequential(nn.Linear(5, 16), nn.SiLU(), nn.Linear(16, 1))
optimizer = SAM(model.parameters(), torch.optim.SGD, lr=0.05, momentum=0.9)
x = torch.randn(12, 5)
for _ in range(15):

    def closure():
        loss = loss_of(model)
        loss.backward()
        return loss

    closure()
    optimizer.step(closure)
    optimizer.zero_grad()
show("sam", model, list(optimizer.base.state.values()))

lookahead = Lookahead(torch.optim.Adam(model.parameters(), lr=1e-2))
for _ in range(12):
    lookahead.zero_grad()
    loss_of(model).backward()
    lookahead.step()
show("lookahead", model, lookahead.slow, lookahead.inner)

for _ in range(12):
    model.zero_grad()
    loss_of(model).backward()
    with torch.no_grad():
        for p in model.parameters():
            p -= 0.05 * p.grad
for p in model.parameters():
    p.data.add_(torch.randn_like(p), alpha=0.01)
show("manual", model)
