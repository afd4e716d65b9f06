"""REINFORCE with a baseline on a small cart-and-pole, simulated for many poles at once."""

import argparse
import math

import torch
import torch.nn as nn
from torch.distributions import Categorical


class CartPole:
    """A batch of carts; an episode ends when the pole leans over 12 degrees or the cart leaves the track."""

    def __init__(self, n, generator):
        self.state = (torch.rand(n, 4, generator=generator) - 0.5) * 0.1

    def step(self, action):
        x, v, theta, omega = self.state.unbind(1)
        force = action.float() * 20 - 10
        sin, cos = theta.sin(), theta.cos()
        temp = (force + 0.05 * omega**2 * sin) / 1.1
        alpha = (9.8 * sin - cos * temp) / (0.5 * (4 / 3 - 0.1 * cos**2 / 1.1))
        acc = temp - 0.05 * alpha * cos / 1.1
        self.state = torch.stack([x + 0.02 * v, v + 0.02 * acc, theta + 0.02 * omega, omega + 0.02 * alpha], 1)
        return (self.state[:, 0].abs() < 2.4) & (self.state[:, 2].abs() < 12 * math.pi / 180)


class Policy(nn.Module):
    def __init__(self):
        super().__init__()
        self.affine1 = nn.Linear(4, 32)
        self.affine2 = nn.Linear(32, 2)

    def forward(self, x):
        return Categorical(logits=self.affine2(torch.tanh(self.affine1(x))))


def rollout(policy, n, horizon, generator):
    env = CartPole(n, generator)
    alive = torch.ones(n, dtype=torch.bool)
    log_probs, masks = [], []
    for _ in range(horizon):
        dist = policy(env.state)
        action = dist.sample()
        log_probs.append(dist.log_prob(action))
        masks.append(alive)
        alive = alive & env.step(action)
    return torch.stack(log_probs), torch.stack(masks).float()


def returns(rewards, gamma):
    out, running = [], torch.zeros(rewards.shape[1])
    for r in rewards.flip(0):
        running = r + gamma * running
        out.append(running)
    return torch.stack(out[::-1])


def main():
    parser = argparse.ArgumentParser(description="PyTorch REINFORCE example")
    parser.add_argument("--gamma", type=float, default=0.97)
    parser.add_argument("--lr", type=float, default=2e-2)
    parser.add_argument("--updates", type=int, default=160)
    parser.add_argument("--seed", type=int, default=543)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    gen = torch.Generator().manual_seed(args.seed)
    policy = Policy()
    optimizer = torch.optim.Adam(policy.parameters(), lr=args.lr)
    lengths = []
    for update in range(args.updates):
        log_probs, mask = rollout(policy, 12, 100, gen)
        gain = returns(mask, args.gamma)
        baseline = (gain * mask).sum() / mask.sum()
        advantage = (gain - baseline) / (gain[mask > 0].std() + 1e-8)
        policy_loss = -(log_probs * advantage * mask).sum() / mask.sum()
        optimizer.zero_grad()
        policy_loss.backward()
        optimizer.step()
        lengths.append(mask.sum(0).mean().item())
        if update % 20 == 19:
            print(f"Update {update + 1}\tloss {policy_loss.item():+.4f}\taverage length {sum(lengths[-20:]) / 20:.1f}")
    with torch.no_grad():
        _, mask = rollout(policy, 64, 100, gen)
    print("METRIC episode_length", mask.sum(0).mean().item())


if __name__ == "__main__":
    main()
