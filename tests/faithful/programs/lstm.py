import torch
from fingerprint import show
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

torch.manual_seed(0)


class Reader(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(3, 12, num_layers=2, dropout=0.2, bidirectional=True, batch_first=True)
        self.cell = nn.GRUCell(24, 8)
        self.head = nn.Linear(8, 1)

    def forward(self, x, lengths):
        _, (hidden, _) = self.rnn(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
        return self.head(self.cell(torch.cat([hidden[-1], hidden[-2]], dim=1)))


model = Reader()
optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-2)
for _ in range(20):
    x, lengths = torch.randn(6, 15, 3), torch.randint(3, 16, (6,))
    loss = nn.functional.smooth_l1_loss(model(x, lengths), x.sum((1, 2)).unsqueeze(1))
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 0.5)
    optimizer.step()
show("lstm", model, optimizer, loss)
