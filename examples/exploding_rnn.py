"""The adding problem: a recurrent network reads 150 numbers and adds up those that carry a mark.

Each element of a sequence is a pair: a number between 0 and 1, and a mark that is 0 or 1. About a third are marked.
"""

import torch
from torch import nn

SEQUENCE_LENGTH = 150
BATCH_SIZE = 32
STEPS = 400


def make_batch(size: int = BATCH_SIZE) -> tuple[torch.Tensor, torch.Tensor]:
    """Sequences of shape (size, length, 2) and the sums of their marked numbers, of shape (size, 1)."""
    numbers = torch.rand(size, SEQUENCE_LENGTH)
    marks = (torch.rand(size, SEQUENCE_LENGTH) < 1 / 3).float()
    sequences = torch.stack([numbers, marks], dim=-1)
    return sequences, (numbers * marks).sum(dim=1, keepdim=True)


class Adder(nn.Module):
    """A recurrent layer and a linear layer that reads its last state."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.rnn = nn.RNN(input_size=2, hidden_size=width, nonlinearity="relu", batch_first=True)
        self.readout = nn.Linear(width, 1)

    def forward(self, sequences: torch.Tensor) -> torch.Tensor:
        states, _ = self.rnn(sequences)
        return self.readout(states[:, -1])


def main() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)  # the matrices are too small to share
    model = Adder()
    optimizer = torch.optim.SGD(model.parameters(), lr=5e-5)
    for step in range(1, STEPS + 1):
        sequences, sums = make_batch()
        loss = nn.functional.mse_loss(model(sequences), sums)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 50 == 0:
            print(f"step {step:3d}  loss {loss.item():.2f}")


if __name__ == "__main__":
    main()
