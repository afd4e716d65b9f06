"""Knowledge distillation: a small student imitates a larger teacher's softened outputs."""

import argparse

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits


def mlp(*sizes):
    blocks = []
    for k in range(len(sizes) - 2):
        blocks += [nn.Linear(sizes[k], sizes[k + 1]), nn.ReLU()]
    return nn.Sequential(*blocks, nn.Linear(sizes[-2], sizes[-1]))


def distillation_loss(student_logits, teacher_logits, labels, temperature, alpha):
    soft = F.kl_div(
        F.log_softmax(student_logits / temperature, dim=1),
        F.softmax(teacher_logits / temperature, dim=1),
        reduction="batchmean",
    )
    hard = F.cross_entropy(student_logits, labels)
    return alpha * temperature**2 * soft + (1 - alpha) * hard


def batches(x, y, size):
    for idx in torch.randperm(len(x)).split(size):
        yield x[idx], y[idx]


def train_teacher(teacher, x, y, epochs=12):
    optimizer = torch.optim.Adam(teacher.parameters(), lr=1e-3)
    for _ in range(epochs):
        for xb, yb in batches(x, y, 50):
            optimizer.zero_grad()
            F.cross_entropy(teacher(xb), yb).backward()
            optimizer.step()
    return teacher.eval()


def train_student(student, teacher, x, y, epochs=30, lr=3e-3, temperature=3.0, alpha=0.7):
    optimizer = torch.optim.Adam(student.parameters(), lr=lr)
    for epoch in range(epochs):
        for xb, yb in batches(x, y, 50):
            with torch.no_grad():
                teacher_logits = teacher(xb)
            loss = distillation_loss(student(xb), teacher_logits, yb, temperature, alpha)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if epoch % 5 == 4:
            print(f"student epoch {epoch + 1}: {loss.item():.4f}")


def main(seed):
    torch.manual_seed(seed)
    x, y = load_digits(return_X_y=True)
    x = torch.tensor(x, dtype=torch.float32).sub(4.88).div(6.02)
    y = torch.tensor(y)
    order = torch.randperm(len(x))
    x, y = x[order], y[order]
    teacher = train_teacher(mlp(64, 128, 128, 10), x[:1200], y[:1200])
    student = mlp(64, 24, 10)
    train_student(student, teacher, x[:1200], y[:1200])
    with torch.no_grad():
        print("teacher log loss", F.cross_entropy(teacher(x[1200:]), y[1200:]).item())
        print("METRIC log_loss", F.cross_entropy(student(x[1200:]), y[1200:]).item())


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    main(parser.parse_args().seed)
