"""Letters drawn with noise, in the manner of Lightning: a module with hooks, and a small loop that calls them; bf16."""

import argparse

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

FONT = {
    "C": (0b01110, 0b10000, 0b10000, 0b10000, 0b01110),
    "E": (0b11111, 0b10000, 0b11110, 0b10000, 0b11111),
    "F": (0b11111, 0b10000, 0b11110, 0b10000, 0b10000),
    "H": (0b10001, 0b10001, 0b11111, 0b10001, 0b10001),
    "K": (0b10001, 0b10010, 0b11100, 0b10010, 0b10001),
    "O": (0b01110, 0b10001, 0b10001, 0b10001, 0b01110),
    "P": (0b11110, 0b10001, 0b11110, 0b10000, 0b10000),
    "T": (0b11111, 0b00100, 0b00100, 0b00100, 0b00100),
    "X": (0b10001, 0b01010, 0b00100, 0b01010, 0b10001),
    "Z": (0b11111, 0b00010, 0b00100, 0b01000, 0b11111),
}


def letters(n, generator):
    glyphs = torch.tensor([[[row >> (4 - c) & 1 for c in range(5)] for row in rows] for rows in FONT.values()]).float()
    label = torch.randint(0, len(FONT), (n,), generator=generator)
    image = torch.zeros(n, 1, 9, 9)
    shift = torch.randint(0, 5, (n, 2), generator=generator)
    for i in range(n):
        y, x = shift[i]
        image[i, 0, y : y + 5, x : x + 5] = glyphs[label[i]]
    return image + 0.3 * torch.randn(image.shape, generator=generator), label


class LetterModule(nn.Module):
    def __init__(self, learning_rate=6e-3, weight_decay=1e-3, width=16):
        super().__init__()
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.encoder = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1),
            nn.LayerNorm([width, 9, 9]),
            nn.GELU(),
            nn.MaxPool2d(3),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.GELU(),
        )
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(2 * width * 9, len(FONT))

    def forward(self, x):
        return self.head(self.dropout(self.encoder(x).flatten(1)))

    def training_step(self, batch, batch_idx):
        x, y = batch
        return F.cross_entropy(self(x), y)

    def validation_step(self, batch, batch_idx):
        x, y = batch
        logits = self(x)
        return F.cross_entropy(logits.float(), y), (logits.argmax(1) == y).float().mean()

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay)
        return optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=self.max_epochs)

    def on_train_epoch_end(self, epoch, loss, accuracy):
        print(f"epoch {epoch}: val_loss {loss:.4f} val_acc {accuracy:.4f}")


class MiniTrainer:
    def __init__(self, max_epochs, precision=torch.bfloat16, gradient_clip_val=1.0):
        self.max_epochs, self.precision, self.clip = max_epochs, precision, gradient_clip_val

    def fit(self, module, train_loader, val_loader):
        module.max_epochs = self.max_epochs
        optimizer, scheduler = module.configure_optimizers()
        for epoch in range(self.max_epochs):
            module.train()
            for i, batch in enumerate(train_loader):
                with torch.autocast("cpu", dtype=self.precision):
                    loss = module.training_step(batch, i)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(module.parameters(), self.clip)
                optimizer.step()
            scheduler.step()
            module.on_train_epoch_end(epoch, *self.validate(module, val_loader))

    @torch.no_grad()
    def validate(self, module, loader):
        module.eval()
        results = [torch.stack(module.validation_step(batch, i)) for i, batch in enumerate(loader)]
        return torch.stack(results).mean(0).tolist()


def cli():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    generator = torch.Generator().manual_seed(args.seed)
    train, test = letters(900, generator), letters(600, generator)
    trainer, module = MiniTrainer(max_epochs=10), LetterModule()
    test_loader = DataLoader(TensorDataset(*test), batch_size=200)
    trainer.fit(module, DataLoader(TensorDataset(*train), batch_size=30, shuffle=True), test_loader)
    print("METRIC accuracy", trainer.validate(module, test_loader)[1])


if __name__ == "__main__":
    cli()
