"""A character-level GPT in one file, trained on the source of Python's own standard library."""

import argparse as source_module
import math
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)
CONTEXT, WIDTH, HEADS, LAYERS, BATCH, STEPS = 64, 64, 4, 2, 16, 300

text = Path(source_module.__file__).read_text(encoding="utf-8")
alphabet = sorted(set(text))
tokens = torch.tensor([alphabet.index(character) for character in text])
train_tokens, validation_tokens = tokens[: int(0.9 * len(tokens))], tokens[int(0.9 * len(tokens)) :]


def sample_batch(source: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    starts = torch.randint(0, len(source) - CONTEXT - 1, (BATCH, 1)) + torch.arange(CONTEXT)
    return source[starts], source[starts + 1]


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.merge = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, _ = x.shape
        qkv = self.qkv(self.norm1(x)).view(batch, length, 3, HEADS, WIDTH // HEADS)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.merge(mixed.transpose(1, 2).reshape(batch, length, WIDTH))
        return x + self.mlp(self.norm2(x))


class GPT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Embedding(len(alphabet), WIDTH)
        self.position = nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, len(alphabet), bias=False)
        self.apply(self._initialise)
        self.head.weight = self.token.weight

    def _initialise(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    def forward(self, ids: torch.Tensor, targets: torch.Tensor | None = None):
        x = self.token(ids) + self.position(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        logits = self.head(self.norm(x))
        if targets is None:
            return logits, None
        return logits, F.cross_entropy(logits.flatten(0, 1), targets.flatten())


@torch.no_grad()
def validation_loss(model: GPT, batches: int = 5) -> float:
    model.eval()
    losses = [model(*sample_batch(validation_tokens))[1].item() for _ in range(batches)]
    model.train()
    return sum(losses) / batches


model = GPT()
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.95), weight_decay=0.1)
for step in range(STEPS):
    for group in optimizer.param_groups:
        group["lr"] = 3e-3 * min((step + 1) / 30, 0.55 + 0.45 * math.cos(math.pi * step / STEPS))
    _, loss = model(*sample_batch(train_tokens))
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    if step % 100 == 99:
        print(f"step {step + 1}  train {loss.item():.3f}  validation {validation_loss(model):.3f}")

ids = torch.tensor([[alphabet.index("\n")]])
model.eval()
with torch.no_grad():
    for _ in range(120):
        logits, _ = model(ids[:, -CONTEXT:])
        ids = torch.cat([ids, torch.multinomial(F.softmax(logits[:, -1], dim=-1), 1)], dim=1)
print("".join(alphabet[i] for i in ids[0].tolist()))
