import torch
from fingerprint import show
from torch import nn

torch.manual_seed(0)
model = nn.Linear(8, 8)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
scaler = torch.amp.GradScaler("cpu", init_scale=2.0**14, growth_interval=5)
scales = []
for step in range(24):
    x = torch.randn(4, 8)
    if step % 9 == 5:
        x[0, 0] = float("inf")  # the scaler skips this step
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = (model(x) - 1).square().mean()
    optimizer.zero_grad()
    scaler.scale(loss).backward()
    if step % 2:
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    scaler.step(optimizer)
    scaler.update()
    scales.append(scaler.get_scale())
show("grad_scaler", model, optimizer, scales, scaler.state_dict())
