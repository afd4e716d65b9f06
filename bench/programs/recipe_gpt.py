"""nano-GPT on recipes: each word of a small made-up cooking grammar is a token, input and output embeddings are tied."""

import argparse
import math
import random
from dataclasses import dataclass

import torch
import torch.nn as nn
from torch.nn import functional as F

FOOD = ["onions", "carrots", "beans", "rice", "potatoes", "leeks", "peas", "mushrooms", "lentils", "noodles"]
LIQUID = ["water", "stock", "milk", "cream", "wine"]
HOT = ["fry", "roast", "boil", "steam"]
TOOL = {"fry": "pan", "roast": "oven", "boil": "pot", "steam": "basket"}
WORDS = [".", "take", "some", "in", "the", "and", "add", "for", "minutes", "then", "chop", "stir", "serve", "with"]
WORDS += FOOD + LIQUID + HOT + list(TOOL.values()) + ["two", "five", "ten", "them", "it"]
STOI = {w: i for i, w in enumerate(WORDS)}


def recipe(rng):
    food, verb, liquid = rng.choice(FOOD), rng.choice(HOT), rng.choice(LIQUID)
    many = food.endswith("s")
    text = ["take", "some", food, "."]
    if rng.random() < 0.5:
        text += ["chop", "them" if many else "it", "and"]
    time = {"fry": "five", "roast": "ten", "boil": "ten", "steam": "two"}[verb]
    text += [verb, "them" if many else "it", "in", "the", TOOL[verb], "for", time, "minutes", "."]
    text += ["add", "some", liquid, "and", "stir", "the", TOOL[verb], "."]
    return [*text, "then", "serve", "the", food, "with", "the", liquid, "."]


def corpus(recipes, seed):
    rng = random.Random(seed)
    return torch.tensor([STOI[w] for _ in range(recipes) for w in recipe(rng)])


@dataclass
class GPTConfig:
    block_size: int = 32
    vocab_size: int = len(WORDS)
    n_layer: int = 2
    n_head: int = 4
    n_embd: int = 48
    dropout: float = 0.0


class CausalSelfAttention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd)
        self.n_head = config.n_head

    def forward(self, x):
        B, T, C = x.size()
        q, k, v = self.c_attn(x).view(B, T, 3, self.n_head, C // self.n_head).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.c_proj(y.transpose(1, 2).reshape(B, T, C))


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd)
        self.attn = CausalSelfAttention(config)
        self.ln_2 = nn.LayerNorm(config.n_embd)
        self.mlp = nn.Sequential(
            nn.Linear(config.n_embd, 4 * config.n_embd),
            nn.GELU(),
            nn.Linear(4 * config.n_embd, config.n_embd),
            nn.Dropout(config.dropout),
        )

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        x = x + self.mlp(self.ln_2(x))
        return x


class GPT(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.block_size, config.n_embd)
        self.h = nn.ModuleList([Block(config) for _ in range(config.n_layer)])
        self.ln_f = nn.LayerNorm(config.n_embd)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.lm_head.weight = self.wte.weight  # weight tying
        self.apply(self._init_weights)

    def _init_weights(self, module):
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, mean=0.0, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    def forward(self, idx, targets=None):
        pos = torch.arange(idx.size(1))
        x = self.wte(idx) + self.wpe(pos)
        for block in self.h:
            x = block(x)
        logits = self.lm_head(self.ln_f(x))
        loss = None
        if targets is not None:
            loss = F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1))
        return logits, loss

    def configure_optimizers(self, weight_decay, learning_rate):
        params = [p for p in self.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in params if p.dim() >= 2], "weight_decay": weight_decay},
            {"params": [p for p in params if p.dim() < 2], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.95))


def get_batch(data, batch_size, block_size):
    ix = torch.randint(len(data) - block_size, (batch_size,))
    x = torch.stack([data[i : i + block_size] for i in ix])
    y = torch.stack([data[i + 1 : i + 1 + block_size] for i in ix])
    return x, y


@torch.no_grad()
def estimate_loss(model, data, batches=10):
    model.eval()
    losses = [model(*get_batch(data, 32, model.config.block_size))[1].item() for _ in range(batches)]
    model.train()
    return sum(losses) / batches


def main(seed, max_iters=350, eval_interval=50, batch_size=16, learning_rate=6e-3, grad_clip=1.0, warmup_iters=20):
    torch.manual_seed(seed)
    train_data, val_data = corpus(1500, seed), corpus(150, seed + 500)
    model = GPT(GPTConfig())
    optimizer = model.configure_optimizers(weight_decay=0.1, learning_rate=learning_rate)

    def get_lr(it):
        if it < warmup_iters:
            return learning_rate * (it + 1) / warmup_iters
        ratio = (it - warmup_iters) / (max_iters - warmup_iters)
        return learning_rate * (0.1 + 0.45 * (1 + math.cos(math.pi * ratio)))

    for it in range(max_iters):
        for group in optimizer.param_groups:
            group["lr"] = get_lr(it)
        if it % eval_interval == 0:
            print(f"iter {it}: train {estimate_loss(model, train_data):.4f}, val {estimate_loss(model, val_data):.4f}")
        xb, yb = get_batch(train_data, batch_size, model.config.block_size)
        _, loss = model(xb, yb)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), grad_clip)
        optimizer.step()
    print("METRIC val_loss", estimate_loss(model, val_data, batches=20))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    main(parser.parse_args().seed)
