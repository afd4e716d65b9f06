import torch
from fingerprint import show
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 1))
optimizer = torch.optim.LBFGS(model.parameters(), max_iter=5, line_search_fn="strong_wolfe")
x = torch.linspace(-1, 1, 50).unsqueeze(1)
calls = 0


def closure():
    global calls
    calls += 1
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(model(x), torch.sin(5 * x))
    loss.backward()
    return loss


losses = [optimizer.step(closure) for _ in range(15)]
adam = torch.optim.Adam(model.parameters(), lr=1e-3)
losses += [adam.step(closure) for _ in range(5)]
show("lbfgs", model, optimizer, adam, losses, calls)
