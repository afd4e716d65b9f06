"""A trainer class: arguments in a dataclass, callbacks, evaluation every so often, as the large libraries do it."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset


@dataclass
class TrainingArguments:
    learning_rate: float = 3e-3
    batch_size: int = 32
    epochs: int = 6
    max_grad_norm: float = 1.0
    warmup_steps: int = 50
    eval_steps: int = 100
    logging_steps: int = 100
    seed: int = 0


@dataclass
class TrainerState:
    step: int = 0
    epoch: int = 0
    should_stop: bool = False
    history: list[dict[str, float]] = field(default_factory=list)


class Callback:
    def on_log(self, args: TrainingArguments, state: TrainerState, logs: dict[str, float]) -> None: ...

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, metrics: dict[str, float]) -> None: ...


class PrintCallback(Callback):
    def on_log(self, args: TrainingArguments, state: TrainerState, logs: dict[str, float]) -> None:
        print({"step": state.step} | {name: round(value, 4) for name, value in logs.items()})

    on_evaluate = on_log


class EarlyStoppingCallback(Callback):
    def __init__(self, patience: int) -> None:
        self.patience, self.best, self.waited = patience, float("inf"), 0

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, metrics: dict[str, float]) -> None:
        self.waited = 0 if metrics["eval_loss"] < self.best else self.waited + 1
        self.best = min(self.best, metrics["eval_loss"])
        state.should_stop = self.waited >= self.patience


class Trainer:
    def __init__(
        self,
        model: nn.Module,
        args: TrainingArguments,
        train_dataset: Dataset,
        eval_dataset: Dataset,
        callbacks: list[Callback],
    ) -> None:
        self.model, self.args, self.state, self.callbacks = model, args, TrainerState(), callbacks
        self.train_dataset, self.eval_dataset = train_dataset, eval_dataset
        self.optimizer: torch.optim.Optimizer | None = None

    def create_optimizer_and_scheduler(self) -> None:
        decay = [p for p in self.model.parameters() if p.ndim > 1]
        no_decay = [p for p in self.model.parameters() if p.ndim <= 1]
        groups = [{"params": decay, "weight_decay": 0.01}, {"params": no_decay, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=self.args.learning_rate)
        warmup = self.args.warmup_steps
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: min(1.0, (step + 1) / warmup))

    def compute_loss(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        logits = self.model(inputs["input_ids"])
        return nn.functional.cross_entropy(logits, inputs["labels"])

    def training_step(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        self.model.train()
        loss = self.compute_loss(inputs)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.args.max_grad_norm)
        self.optimizer.step()
        self.scheduler.step()
        self.model.zero_grad()
        return loss.detach()

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        self.model.eval()
        losses = [self.compute_loss(self._prepare(batch)) for batch in DataLoader(self.eval_dataset, batch_size=128)]
        return {"eval_loss": torch.stack(losses).mean().item()}

    def train(self) -> TrainerState:
        torch.manual_seed(self.args.seed)
        self.create_optimizer_and_scheduler()
        loader = DataLoader(self.train_dataset, batch_size=self.args.batch_size, shuffle=True)
        for epoch in range(self.args.epochs):
            self.state.epoch = epoch
            for batch in loader:
                loss = self.training_step(self._prepare(batch))
                self.state.step += 1
                if self.state.step % self.args.logging_steps == 0:
                    self._call("on_log", {"loss": loss.item()})
                if self.state.step % self.args.eval_steps == 0:
                    self._call("on_evaluate", self.evaluate())
                if self.state.should_stop:
                    return self.state
        return self.state

    def _call(self, event: str, values: dict[str, float]) -> None:
        self.state.history.append(values)
        for callback in self.callbacks:
            getattr(callback, event)(self.args, self.state, values)

    @staticmethod
    def _prepare(batch: list[torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"input_ids": batch[0], "labels": batch[1]}


class BagOfTokens(nn.Module):
    """Says which of four topics a sequence of tokens comes from."""

    def __init__(self, vocabulary: int = 200, width: int = 32, topics: int = 4) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.classifier = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 64), nn.GELU(), nn.Linear(64, topics))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.embedding(tokens).mean(dim=1))


def make_corpus(documents: int, generator: torch.Generator) -> TensorDataset:
    """Documents of 24 tokens; each topic prefers its own quarter of the vocabulary a little."""
    topics = torch.randint(0, 4, (documents,), generator=generator)
    weights = torch.ones(4, 200)
    for topic in range(4):
        weights[topic, 50 * topic : 50 * (topic + 1)] = 2.5
    return TensorDataset(torch.multinomial(weights[topics], 24, replacement=True, generator=generator), topics)


if __name__ == "__main__":
    arguments = TrainingArguments()
    torch.manual_seed(arguments.seed)
    source = torch.Generator().manual_seed(1)
    trainer = Trainer(
        model=BagOfTokens(),
        args=arguments,
        train_dataset=make_corpus(3200, source),
        eval_dataset=make_corpus(800, source),
        callbacks=[PrintCallback(), EarlyStoppingCallback(patience=3)],
    )
    trainer.train()
