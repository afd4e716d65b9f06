"""Which of two motifs comes first: a small transformer encoder that returns its own loss, with the usual fine-tuning recipe."""

import argparse
from dataclasses import dataclass

import torch
from torch import nn


@dataclass
class Arguments:
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    warmup_steps: int = 30
    max_steps: int = 400
    batch_size: int = 32
    max_grad_norm: float = 1.0


@dataclass
class Output:
    loss: torch.Tensor
    logits: torch.Tensor


class Encoder(nn.Module):
    def __init__(self, vocabulary=12, width=32, length=16):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width, padding_idx=0)
        self.position = nn.Embedding(length, width)
        layer = nn.TransformerEncoderLayer(width, 4, 64, dropout=0.0, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.classifier = nn.Linear(width, 2)

    def forward(self, input_ids, attention_mask, labels):
        hidden = self.embed(input_ids) + self.position.weight[None, : input_ids.shape[1]]
        hidden = self.encoder(hidden, src_key_padding_mask=attention_mask == 0)
        weights = attention_mask[..., None].float()
        logits = self.classifier((hidden * weights).sum(1) / weights.sum(1))
        loss = nn.CrossEntropyLoss()(logits.view(-1, 2), labels.view(-1))
        return Output(loss, logits)


def sample(n, generator):
    ids = torch.randint(3, 12, (n, 16), generator=generator)
    lengths = torch.randint(8, 17, (n,), generator=generator)
    mask = (torch.arange(16)[None] < lengths[:, None]).long()
    first = torch.randint(0, 4, (n,), generator=generator)
    second = torch.randint(4, 8, (n,), generator=generator)
    labels = torch.randint(0, 2, (n,), generator=generator)
    rows = torch.arange(n)
    ids[rows, first], ids[rows, second] = labels + 1, 2 - labels
    return {"input_ids": ids * mask, "attention_mask": mask, "labels": labels}


def batches(data, size):
    while True:
        order = torch.randperm(len(data["labels"]))
        for start in range(0, len(order) - size + 1, size):
            rows = order[start : start + size]
            yield {key: value[rows] for key, value in data.items()}


def train(model, data, args):
    decay = [p for n, p in model.named_parameters() if p.ndim > 1]
    other = [p for n, p in model.named_parameters() if p.ndim <= 1]
    groups = [{"params": decay, "weight_decay": args.weight_decay}, {"params": other, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=args.learning_rate)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min(s / args.warmup_steps, (args.max_steps - s) / (args.max_steps - args.warmup_steps))
    )
    model.train()
    for step, batch in enumerate(batches(data, args.batch_size)):
        if step >= args.max_steps:
            break
        outputs = model(**batch)
        loss = outputs.loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), args.max_grad_norm)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        if step % 50 == 0:
            print({"loss": round(loss.item(), 4), "learning_rate": scheduler.get_last_lr()[0], "step": step})


def main(seed):
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(1)
    data, test = sample(1200, generator), sample(400, generator)
    model = Encoder()
    train(model, data, Arguments())
    model.eval()
    with torch.no_grad():
        print("METRIC log_loss", round(model(**test).loss.item(), 5))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    main(parser.parse_args().seed)
