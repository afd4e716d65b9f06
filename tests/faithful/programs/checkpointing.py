import torch
from fingerprint import show
from torch import nn
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

for reentrant in (True, False):
    torch.manual_seed(0)
    block = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, 16))
    stack = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 16))
    model = nn.ModuleList([block, stack])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(15):
        x = torch.randn(8, 16, requires_grad=True)
        hidden = checkpoint(block, x, use_reentrant=reentrant)
        loss = checkpoint_sequential(stack, 2, hidden, use_reentrant=reentrant).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    show(f"checkpointing-{'reentrant' if reentrant else 'not'}", model, optimizer, x.grad)
