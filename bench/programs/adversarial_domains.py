"""Two-domain classification: features that a domain critic cannot tell apart; one optimizer each, in turns."""

import argparse

import torch
import torch.nn as nn
import torch.nn.functional as F


def domain(n, shift, generator):
    """Three classes in ten dimensions; the second domain is moved along two of them."""
    centres = 1.6 * torch.eye(3, 10)
    label = torch.randint(0, 3, (n,), generator=generator)
    x = centres[label] + 0.6 * torch.randn(n, 10, generator=generator)
    x[:, 4:6] += shift
    x[:, 0] += 0.45 * shift
    return x, label


class Networks:
    def __init__(self, width=32):
        self.features = nn.Sequential(nn.Linear(10, width), nn.ReLU(), nn.Linear(width, 8))
        self.classifier = nn.Sequential(nn.ReLU(), nn.Linear(8, 3))
        self.critic = nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, 1))


def train(nets, source, target, steps, weight=0.3, lr=5e-3, batch=64):
    main_parameters = [*nets.features.parameters(), *nets.classifier.parameters()]
    main_optimizer = torch.optim.Adam(main_parameters, lr=lr)
    critic_optimizer = torch.optim.Adam(nets.critic.parameters(), lr=lr)
    is_source = torch.cat([torch.ones(batch, 1), torch.zeros(batch, 1)])
    for step in range(steps):
        i, j = torch.randint(0, len(source[0]), (batch,)), torch.randint(0, len(target[0]), (batch,))
        both = torch.cat([source[0][i], target[0][j]])
        # the critic learns to tell the domains apart
        critic_loss = F.binary_cross_entropy_with_logits(nets.critic(nets.features(both).detach()), is_source)
        critic_optimizer.zero_grad()
        critic_loss.backward()
        critic_optimizer.step()
        # the features learn to classify, and to be mistaken for the other domain's
        z = nets.features(both)
        class_loss = F.cross_entropy(nets.classifier(z[:batch]), source[1][i])
        confusion = F.binary_cross_entropy_with_logits(nets.critic(z), 1 - is_source)
        main_optimizer.zero_grad()
        (class_loss + weight * confusion).backward()
        main_optimizer.step()
        if step % 80 == 0:
            print(f"{step:4d} class {class_loss.item():.3f} critic {critic_loss.item():.3f}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=400)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    generator = torch.Generator().manual_seed(args.seed)
    source, target, test = (domain(n, s, generator) for n, s in ((1200, 0.0), (1200, 2.0), (800, 2.0)))
    nets = Networks()
    train(nets, source, target, args.steps)
    with torch.no_grad():
        guess = nets.classifier(nets.features(test[0])).argmax(1)
    print("METRIC target_accuracy", (guess == test[1]).float().mean().item())


if __name__ == "__main__":
    main()
