"""Masked tokens of a hidden grammar: a small encoder, in the manner of the transformers Trainer (accumulation, warm-up)."""

import argparse
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

VOCAB, LENGTH, MASK, IGNORE = 17, 16, 16, -100


@dataclass
class TrainingArguments:
    max_steps: int = 220
    per_device_train_batch_size: int = 16
    gradient_accumulation_steps: int = 2
    learning_rate: float = 5e-3
    warmup_ratio: float = 0.1
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    logging_steps: int = 55
    seed: int = 0


class Grammar:
    """Tokens follow each other along a ring with steps that depend on the sentence."""

    def __init__(self, n, seed):
        g = torch.Generator().manual_seed(seed)
        start, stride = torch.randint(0, 16, (2, n), generator=g)
        stride = 1 + stride % 5
        self.tokens = (start[:, None] + stride[:, None] * torch.arange(LENGTH)) % 16
        slips = torch.rand(n, LENGTH, generator=g) < 0.05
        self.tokens[slips] = torch.randint(0, 16, (int(slips.sum()),), generator=g)

    def collate(self, index, generator, probability=0.2):
        tokens = self.tokens[index].clone()
        chosen = torch.rand(tokens.shape, generator=generator) < probability
        labels = torch.where(chosen, tokens, IGNORE)
        return tokens.masked_fill(chosen, MASK), labels


class Encoder(nn.Module):
    def __init__(self, size=48, heads=4, layers=2):
        super().__init__()
        self.token, self.position = nn.Embedding(VOCAB, size), nn.Embedding(LENGTH, size)
        layer = nn.TransformerEncoderLayer(size, heads, 2 * size, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(size)
        self.lm_head = nn.Linear(size, VOCAB)

    def forward(self, input_ids, labels=None):
        hidden = self.layers(self.token(input_ids) + self.position.weight)
        logits = self.lm_head(self.norm(hidden))
        loss = None if labels is None else F.cross_entropy(logits.transpose(1, 2), labels, ignore_index=IGNORE)
        return loss, logits


class Trainer:
    def __init__(self, model, args, train_dataset, eval_dataset):
        self.model, self.args = model, args
        self.train_dataset, self.eval_dataset = train_dataset, eval_dataset
        decay = [p for p in model.parameters() if p.ndim > 1]
        rest = [p for p in model.parameters() if p.ndim <= 1]
        self.optimizer = torch.optim.AdamW(
            [{"params": decay, "weight_decay": args.weight_decay}, {"params": rest, "weight_decay": 0.0}],
            lr=args.learning_rate,
        )
        warmup = int(args.max_steps * args.warmup_ratio)
        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer,
            lambda s: (s + 1) / warmup if s < warmup else (args.max_steps - s) / (args.max_steps - warmup),
        )
        self.generator = torch.Generator().manual_seed(args.seed)

    def get_batch(self):
        size = self.args.per_device_train_batch_size
        index = torch.randint(0, len(self.train_dataset.tokens), (size,), generator=self.generator)
        return self.train_dataset.collate(index, self.generator)

    def train(self):
        self.model.train()
        for global_step in range(1, self.args.max_steps + 1):
            running = 0.0
            for _ in range(self.args.gradient_accumulation_steps):
                loss, _ = self.model(*self.get_batch())
                (loss / self.args.gradient_accumulation_steps).backward()
                running += loss.item() / self.args.gradient_accumulation_steps
            grad_norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.args.max_grad_norm)
            self.optimizer.step()
            self.lr_scheduler.step()
            self.model.zero_grad()
            if global_step % self.args.logging_steps == 0:
                print({"loss": round(running, 4), "grad_norm": round(grad_norm.item(), 4), "step": global_step})

    @torch.no_grad()
    def evaluate(self):
        self.model.eval()
        everything = torch.arange(len(self.eval_dataset.tokens))
        inputs, labels = self.eval_dataset.collate(everything, torch.Generator().manual_seed(1))
        return self.model(inputs, labels)[0].item()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    args = TrainingArguments(seed=parser.parse_args().seed)
    torch.manual_seed(args.seed)
    trainer = Trainer(Encoder(), args, Grammar(2000, args.seed), Grammar(300, 10_000))
    trainer.train()
    print("METRIC eval_loss", trainer.evaluate())
