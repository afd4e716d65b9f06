"""The four training loops that the benchmark times, and the data they learn from (made here, no download)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

SEED = 20_240_917

MLP_FEATURES, MLP_WIDTH, MLP_CLASSES, MLP_BATCH, MLP_EXAMPLES = 64, 192, 10, 64, 16_384
IMAGE_SIDE, IMAGE_CLASSES, IMAGE_BATCH, IMAGE_EXAMPLES = 32, 10, 32, 2_048
GPT_VOCABULARY, GPT_LENGTH, GPT_WIDTH, GPT_HEADS, GPT_LAYERS, GPT_BATCH = 256, 128, 192, 6, 6, 4
LSTM_VOCABULARY, LSTM_LENGTH, LSTM_EMBEDDING, LSTM_WIDTH, LSTM_LAYERS, LSTM_BATCH = 96, 64, 128, 192, 2, 16
SEQUENCES = 2_048
PIXEL_NOISE = 1.5  # standard deviation of the noise over the class pattern, whose own is 1
TRANSITION_SHARPNESS = 2.0  # standard deviation of the logits of the Markov chain that writes the sequences


@dataclass
class Training:
    """Everything one training loop owns. `clip` is the gradient-norm threshold, None where the loop does not clip."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    loader: DataLoader[tuple[Tensor, ...]]
    clip: float | None
    classes: int
    steps_done: int = 0

    def parameters(self) -> int:
        """Number of trained scalars."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    def loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy of a batch; sequences (N, T, C) are flattened to (N·T, C)."""
        return F.cross_entropy(self.model(inputs).flatten(0, -2), targets.flatten())


@dataclass(frozen=True)
class Workload:
    """A named recipe for a `Training`; the same seed gives the same weights and the same order of batches."""

    name: str
    title: str
    make: Callable[[], Training]

    def build(self, seed: int = SEED) -> Training:
        """A fresh training, with the global generator seeded."""
        torch.manual_seed(seed)
        return self.make()


def make_mlp() -> Training:
    """Classify points by a random linear teacher."""
    inputs = torch.randn(MLP_EXAMPLES, MLP_FEATURES)
    targets = (inputs @ torch.randn(MLP_FEATURES, MLP_CLASSES)).argmax(1)
    model = nn.Sequential(
        nn.Linear(MLP_FEATURES, MLP_WIDTH),
        nn.ReLU(),
        nn.Linear(MLP_WIDTH, MLP_WIDTH),
        nn.ReLU(),
        nn.Linear(MLP_WIDTH, MLP_CLASSES),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return Training(model, optimizer, _loader(inputs, targets, MLP_BATCH), None, MLP_CLASSES)


class Residual(nn.Module):
    """Two 3×3 convolutions with batch norm and a shortcut: (N, inward, H, W) → (N, outward, H/stride, W/stride)."""

    def __init__(self, inward: int, outward: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inward, outward, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outward)
        self.conv2 = nn.Conv2d(outward, outward, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outward)
        same = inward == outward and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(inward, outward, 1, stride, bias=False)
        self.relu1 = nn.ReLU()
        self.relu2 = nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.relu1(self.norm1(self.conv1(images)))
        return self.relu2(self.norm2(self.conv2(hidden)) + self.shortcut(images))


def make_resnet() -> Training:
    """Tell ten smooth patterns apart under noise, 32×32 pixels in three colours."""
    targets = torch.randint(IMAGE_CLASSES, (IMAGE_EXAMPLES,))
    coarse = torch.randn(IMAGE_CLASSES, 3, 4, 4)
    patterns = F.interpolate(coarse, size=(IMAGE_SIDE, IMAGE_SIDE), mode="bicubic")
    images = patterns[targets] + PIXEL_NOISE * torch.randn(IMAGE_EXAMPLES, 3, IMAGE_SIDE, IMAGE_SIDE)
    model = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        Residual(32, 32, 1),
        Residual(32, 64, 2),
        Residual(64, 128, 2),
        Residual(128, 128, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(128, IMAGE_CLASSES),
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    return Training(model, optimizer, _loader(images, targets, IMAGE_BATCH), None, IMAGE_CLASSES)


class Block(nn.Module):
    """Pre-norm causal self-attention and feed-forward: (N, T, width) → the same shape."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.attend = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 4 * width)
        self.activation = nn.GELU()
        self.contract = nn.Linear(4 * width, width)

    def forward(self, hidden: Tensor) -> Tensor:
        batch, length, width = hidden.shape
        queries_keys_values = self.attend(self.norm1(hidden)).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = queries_keys_values.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        hidden = hidden + self.project(mixed.transpose(1, 2).reshape(batch, length, width))
        return hidden + self.contract(self.activation(self.expand(self.norm2(hidden))))


class GPT(nn.Module):
    """A small decoder-only transformer: tokens (N, T) → logits (N, T, vocabulary)."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(GPT_VOCABULARY, GPT_WIDTH)
        self.positions = nn.Embedding(GPT_LENGTH, GPT_WIDTH)
        self.blocks = nn.ModuleList(Block(GPT_WIDTH, GPT_HEADS) for _ in range(GPT_LAYERS))
        self.norm = nn.LayerNorm(GPT_WIDTH)
        self.head = nn.Linear(GPT_WIDTH, GPT_VOCABULARY, bias=False)
        self.apply(self._initialise)

    @staticmethod
    def _initialise(module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        hidden = self.tokens(tokens) + self.positions(torch.arange(tokens.shape[1]))
        for block in self.blocks:
            hidden = block(hidden)
        return self.head(self.norm(hidden))


def make_gpt() -> Training:
    """Predict the next token of a Markov chain."""
    inputs, targets = _sequences(GPT_VOCABULARY, GPT_LENGTH)
    model = GPT()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
    return Training(model, optimizer, _loader(inputs, targets, GPT_BATCH), 1.0, GPT_VOCABULARY)


class CharacterLSTM(nn.Module):
    """Tokens (N, T) → logits (N, T, vocabulary)."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(LSTM_VOCABULARY, LSTM_EMBEDDING)
        self.lstm = nn.LSTM(LSTM_EMBEDDING, LSTM_WIDTH, LSTM_LAYERS, batch_first=True)
        self.head = nn.Linear(LSTM_WIDTH, LSTM_VOCABULARY)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.lstm(self.embedding(tokens))[0])


def make_lstm() -> Training:
    """Predict the next token of a Markov chain."""
    inputs, targets = _sequences(LSTM_VOCABULARY, LSTM_LENGTH)
    model = CharacterLSTM()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return Training(model, optimizer, _loader(inputs, targets, LSTM_BATCH), 1.0, LSTM_VOCABULARY)


def _sequences(vocabulary: int, length: int) -> tuple[Tensor, Tensor]:
    """Inputs and next tokens, both (SEQUENCES, length), of a random first-order Markov chain."""
    transition = (TRANSITION_SHARPNESS * torch.randn(vocabulary, vocabulary)).softmax(1)
    tokens = torch.empty(SEQUENCES, length + 1, dtype=torch.long)
    tokens[:, 0] = torch.randint(vocabulary, (SEQUENCES,))
    for place in range(length):
        tokens[:, place + 1] = torch.multinomial(transition[tokens[:, place]], 1)[:, 0]
    return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()


def _loader(inputs: Tensor, targets: Tensor, batch: int) -> DataLoader[tuple[Tensor, ...]]:
    return DataLoader(TensorDataset(inputs, targets), batch_size=batch, shuffle=True, drop_last=True)


def describe(training: Training) -> str:
    """Size in words, for the report: "51,466 parameters in 6 tensors, Adam, batch 64"."""
    tensors = len(list(training.model.parameters()))
    clip = "" if training.clip is None or math.isinf(training.clip) else f", clipped at {training.clip:g}"
    return (
        f"{training.parameters():,} parameters in {tensors} tensors, {type(training.optimizer).__name__}, "
        f"batch {training.loader.batch_size}{clip}"
    )


WORKLOADS: tuple[Workload, ...] = (
    Workload("mlp", "tiny MLP", make_mlp),
    Workload("resnet", "small ResNet, 32×32", make_resnet),
    Workload("gpt", f"small GPT, length {GPT_LENGTH}", make_gpt),
    Workload("lstm", f"LSTM, {LSTM_LAYERS} layers, length {LSTM_LENGTH}", make_lstm),
)
