import torch
from fingerprint import show
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(6, 24), nn.GELU(), nn.LayerNorm(24), nn.Linear(24, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
norms = []
for step in range(40):
    x = torch.randn(8, 6)
    loss = nn.functional.binary_cross_entropy_with_logits(model(x), (x.sum(1, keepdim=True) > 0).float()) / 4
    loss.backward()
    if step % 4 == 3:
        norms.append(nn.utils.clip_grad_norm_(model.parameters(), 0.3, norm_type=1.0))
        nn.utils.clip_grad_value_(model.parameters(), 0.1)
        optimizer.step()
        model.zero_grad()
show("accumulation", model, optimizer, norms)
