"""Advantage actor-critic with an entropy bonus: find the key, then the door, in a corridor of rooms."""

import argparse

import torch
import torch.nn as nn
from torch.distributions import Categorical

ROOMS, HORIZON = 9, 20


class Corridor:
    """Many corridors at once. Observation: position, has key, key's and door's rooms (one-hot). Actions: left, right."""

    def __init__(self, n, generator):
        self.n, self.generator = n, generator
        self.reset()

    def reset(self):
        self.position = torch.full((self.n,), ROOMS // 2)
        self.key = torch.randint(0, ROOMS, (self.n,), generator=self.generator)
        self.door = torch.randint(0, ROOMS, (self.n,), generator=self.generator)
        self.has_key = torch.zeros(self.n, dtype=torch.bool)
        self.done = torch.zeros(self.n, dtype=torch.bool)
        return self.observe()

    def observe(self):
        parts = [nn.functional.one_hot(p, ROOMS) for p in (self.position, self.key, self.door)]
        return torch.cat([*parts, self.has_key[:, None]], dim=1).float()

    def step(self, action):
        self.position = (self.position + 2 * action - 1).clamp(0, ROOMS - 1)
        found = ~self.has_key & (self.position == self.key) & ~self.done
        self.has_key |= found
        opened = self.has_key & ~found & (self.position == self.door) & ~self.done
        reward = (0.5 * found.float() + 1.0 * opened.float() - 0.02) * ~self.done
        self.done |= opened
        return self.observe(), reward, self.done


class ActorCritic(nn.Module):
    def __init__(self, hidden=64):
        super().__init__()
        self.actor = nn.Sequential(nn.Linear(3 * ROOMS + 1, hidden), nn.Tanh(), nn.Linear(hidden, 2))
        self.critic = nn.Sequential(nn.Linear(3 * ROOMS + 1, hidden), nn.Tanh(), nn.Linear(hidden, 1))

    def forward(self, observation):
        return Categorical(logits=self.actor(observation)), self.critic(observation).squeeze(-1)


def play(model, env):
    observation = env.reset()
    steps = []
    for _ in range(HORIZON):
        alive = (~env.done).float()
        policy, value = model(observation)
        action = policy.sample()
        observation, reward, _ = env.step(action)
        steps.append((policy.log_prob(action), policy.entropy(), value, reward, alive))
    return [torch.stack(column) for column in zip(*steps, strict=True)]


def discounted(reward, gamma):
    total, out = torch.zeros_like(reward[0]), []
    for r in reward.flip(0):
        total = r + gamma * total
        out.insert(0, total)
    return torch.stack(out)


def a2c_loss(log_prob, entropy, value, reward, alive, gamma=0.95, value_weight=0.5, entropy_weight=0.01):
    target = discounted(reward, gamma)
    advantage = (target - value).detach()
    actor = -(log_prob * advantage * alive).sum() / alive.sum()
    critic = ((target - value) ** 2 * alive).sum() / alive.sum()
    return actor + value_weight * critic - entropy_weight * (entropy * alive).sum() / alive.sum()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--updates", type=int, default=150)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    env = Corridor(48, torch.Generator().manual_seed(args.seed))
    model = ActorCritic()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=3e-3, alpha=0.95, eps=1e-5)
    returns = []
    for update in range(args.updates):
        rollout = play(model, env)
        loss = a2c_loss(*rollout)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        returns.append(rollout[3].sum(0).mean().item())
        if update % 30 == 29:
            print(f"update {update + 1}  return {sum(returns[-30:]) / 30:+.3f}  loss {loss.item():+.4f}")
    with torch.no_grad():
        reward = play(model, Corridor(400, torch.Generator().manual_seed(1)))[3]
    print("METRIC episode_return", reward.sum(0).mean().item())


if __name__ == "__main__":
    main()
