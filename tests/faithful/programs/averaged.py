"""Exponential moving average, stochastic weight averaging, copies of models and optimizers made while they train."""

import copy
import io

import torch
from fingerprint import show
from torch import nn
from torch.optim.swa_utils import SWALR, AveragedModel, get_ema_multi_avg_fn, update_bn

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(4, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 3))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
ema, swa = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9)), AveragedModel(model)
scheduler = SWALR(optimizer, swa_lr=0.05, anneal_epochs=5)
batches = [(torch.randn(8, 4), torch.randint(0, 3, (8,))) for _ in range(6)]
for _ in range(4):
    for x, y in batches:
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        ema.update_parameters(model)
    swa.update_parameters(model)
    scheduler.step()
update_bn([x for x, _ in batches], swa)

twin = copy.deepcopy(model)
twin_optimizer = torch.optim.SGD(twin.parameters(), lr=0.1)
twin_optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
buffer = io.BytesIO()
torch.save((model, optimizer), buffer)
buffer.seek(0)
loaded, loaded_optimizer = torch.load(buffer, weights_only=False)
for one, one_optimizer in ((twin, twin_optimizer), (loaded, loaded_optimizer)):
    for x, y in batches:
        one_optimizer.zero_grad()
        nn.functional.cross_entropy(one(x), y).backward()
        one_optimizer.step()
hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in loaded.modules()]
show("averaged", model, ema, swa, twin, loaded, optimizer, loaded_optimizer, hooks, len(buffer.getvalue()))
