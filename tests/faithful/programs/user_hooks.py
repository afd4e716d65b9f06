"""Hooks of the user's own, and gradients taken by hand: their calls and order must not change."""

import torch
from fingerprint import show
from torch import nn

torch.manual_seed(0)
calls = []


class Gate(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x, *, scale=1.0):
        return torch.sigmoid(self.linear(x)) * scale


gate, head = Gate(), nn.Linear(4, 1)
gate.register_forward_pre_hook(
    lambda module, args, kwargs: (calls.append("pre"), (args, {**kwargs, "scale": 2.0}))[1], with_kwargs=True
)
gate.register_forward_hook(lambda module, args, output: (calls.append("forward"), output + 0.1)[1])
head.register_full_backward_hook(lambda module, grad_input, grad_output: calls.append("backward"))
gate.linear.weight.register_hook(lambda gradient: (calls.append("tensor"), gradient * 0.5)[1])
head.weight.register_post_accumulate_grad_hook(lambda parameter: calls.append("accumulated"))
nn.modules.module.register_module_forward_hook(lambda module, args, output: calls.append(type(module).__name__))

optimizer = torch.optim.Adam([*gate.parameters(), *head.parameters()], lr=1e-2, fused=True)
optimizer.register_step_pre_hook(lambda *_: calls.append("step"))
optimizer.register_step_post_hook(lambda *_: calls.append("stepped"))
for _ in range(15):
    x = torch.randn(6, 4)
    hidden = gate(x)
    hidden.retain_grad()
    loss = nn.functional.l1_loss(head(hidden), x[:, :1])
    optimizer.zero_grad()
    loss.backward(retain_graph=True)
    loss.backward(inputs=list(head.parameters()))
    optimizer.step()
show("user_hooks", gate, head, optimizer, hidden.grad, calls)
