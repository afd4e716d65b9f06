"""Word-level GRU language model with truncated backpropagation; the gradient is clipped at every step."""

import argparse
import math

import torch
import torch.nn as nn

WORDS = 40


def corpus(n, seed):
    """Tokens from a random Markov chain with few successors for each word."""
    g = torch.Generator().manual_seed(seed)
    successors = torch.randint(0, WORDS, (WORDS, 3), generator=torch.Generator().manual_seed(7))
    token, out = 0, []
    choices = torch.randint(0, 3, (n,), generator=g).tolist()
    for c in choices:
        token = successors[token, c].item()
        out.append(token)
    return torch.tensor(out)


def batchify(data, bsz):
    nbatch = data.size(0) // bsz
    return data[: nbatch * bsz].view(bsz, -1).t().contiguous()


class RNNModel(nn.Module):
    def __init__(self, ntoken, ninp, nhid):
        super().__init__()
        self.encoder = nn.Embedding(ntoken, ninp)
        self.rnn = nn.GRU(ninp, nhid)
        self.decoder = nn.Linear(nhid, ntoken)
        nn.init.uniform_(self.encoder.weight, -0.1, 0.1)
        nn.init.zeros_(self.decoder.bias)

    def forward(self, tokens, hidden):
        output, hidden = self.rnn(self.encoder(tokens), hidden)
        return self.decoder(output).view(-1, WORDS), hidden


def repackage_hidden(h):
    return None if h is None else h.detach()


def evaluate(model, source, bptt, criterion):
    model.eval()
    total, hidden = 0.0, None
    with torch.no_grad():
        for i in range(0, source.size(0) - 1, bptt):
            n = min(bptt, source.size(0) - 1 - i)
            output, hidden = model(source[i : i + n], hidden)
            total += n * criterion(output, source[i + 1 : i + 1 + n].reshape(-1)).item()
    return total / (source.size(0) - 1)


def main():
    parser = argparse.ArgumentParser(description="RNN language model")
    parser.add_argument("--lr", type=float, default=8.0)
    parser.add_argument("--clip", type=float, default=0.25)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--bptt", type=int, default=15)
    parser.add_argument("--seed", type=int, default=1111)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    train_data = batchify(corpus(15000, args.seed), 16)
    val_data = batchify(corpus(3000, args.seed + 1), 10)
    model = RNNModel(WORDS, 24, 48)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr)
    for epoch in range(1, args.epochs + 1):
        model.train()
        hidden = None
        for i in range(0, train_data.size(0) - 1 - args.bptt, args.bptt):
            data, targets = train_data[i : i + args.bptt], train_data[i + 1 : i + 1 + args.bptt].reshape(-1)
            model.zero_grad()
            hidden = repackage_hidden(hidden)
            output, hidden = model(data, hidden)
            loss = criterion(output, targets)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), args.clip)
            optimizer.step()
        val_loss = evaluate(model, val_data, args.bptt, criterion)
        print(f"| end of epoch {epoch:3d} | valid loss {val_loss:5.2f} | valid ppl {math.exp(min(val_loss, 30)):8.2f}")
    print("METRIC cross_entropy", val_loss)


if __name__ == "__main__":
    main()
