"""A Hamiltonian network learns a pendulum from noisy derivatives; judged by its own trajectories (Runge-Kutta)."""

import argparse

import torch
import torch.nn as nn


def field(state):
    """dq/dt = p, dp/dt = -sin q."""
    q, p = state.unbind(-1)
    return torch.stack([p, -torch.sin(q)], dim=-1)


def rollout(f, state, steps=60, dt=0.1):
    path = [state]
    for _ in range(steps):
        k1 = f(state)
        k2 = f(state + dt / 2 * k1)
        k3 = f(state + dt / 2 * k2)
        k4 = f(state + dt * k3)
        state = state + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        path.append(state)
    return torch.stack(path)


class Hamiltonian(nn.Module):
    def __init__(self, width=48):
        super().__init__()
        self.energy = nn.Sequential(
            nn.Linear(2, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1)
        )

    def forward(self, state):
        """The symplectic gradient of the energy."""
        with torch.enable_grad():
            state = state if state.requires_grad else state.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.energy(state).sum(), state, create_graph=self.training)
        return torch.stack([gradient[..., 1], -gradient[..., 0]], dim=-1)


def main(seed, iterations=700, lr=4e-3, batch=96):
    torch.manual_seed(seed)
    states = (torch.rand(1500, 2) - 0.5) * torch.tensor([4.0, 3.0])
    slopes = field(states) + 0.05 * torch.randn(1500, 2)
    model = Hamiltonian()
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=iterations, power=1.0)
    for i in range(iterations):
        pick = torch.randint(0, len(states), (batch,))
        loss = (model(states[pick]) - slopes[pick]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        if i % 100 == 0:
            print(f"{i:4d} {loss.item():.5f}")
    model.eval()
    start = torch.tensor([[0.4, 0.0], [0.9, 0.3], [-1.2, 0.2], [1.5, -0.2], [-0.3, 1.0]])
    error = rollout(model, start).detach() - rollout(field, start)
    print("METRIC path_rmse", error.square().mean().sqrt().item())


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    main(parser.parse_args().seed)
