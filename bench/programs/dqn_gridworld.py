"""Deep Q-learning in a 5x5 grid with a pit; replay memory and a target network."""

import argparse
import copy
import random
from collections import deque

import torch
import torch.nn as nn
import torch.nn.functional as F

SIZE, GOAL, PIT = 5, (4, 4), (2, 2)
MOVES = [(0, 1), (1, 0), (0, -1), (-1, 0)]


def observe(cell):
    one_hot = torch.zeros(SIZE * SIZE)
    one_hot[cell[0] * SIZE + cell[1]] = 1.0
    return one_hot


def move(cell, action):
    nxt = tuple(min(max(c + d, 0), SIZE - 1) for c, d in zip(cell, MOVES[action], strict=True))
    reward = 1.0 if nxt == GOAL else -1.0 if nxt == PIT else -0.02
    return nxt, reward, nxt in (GOAL, PIT)


class QNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(SIZE * SIZE, 64)
        self.fc2 = nn.Linear(64, len(MOVES))

    def forward(self, x):
        return self.fc2(F.relu(self.fc1(x)))


class Agent:
    def __init__(self, lr=2e-3, gamma=0.95):
        self.q = QNet()
        self.target = copy.deepcopy(self.q)
        self.gamma = gamma
        self.optimizer = torch.optim.Adam(self.q.parameters(), lr=lr)
        self.memory = deque(maxlen=3000)

    def act(self, cell, epsilon):
        if random.random() < epsilon:
            return random.randrange(len(MOVES))
        with torch.no_grad():
            return self.q(observe(cell)).argmax().item()

    def learn(self, batch_size=32):
        states, actions, rewards, next_states, done = zip(*random.sample(self.memory, batch_size), strict=True)
        actions = torch.tensor(actions).unsqueeze(1)
        rewards = torch.tensor(rewards)
        done = torch.tensor(done, dtype=torch.float32)
        value = self.q(torch.stack(states)).gather(1, actions).squeeze(1)
        with torch.no_grad():
            best = self.target(torch.stack(next_states)).max(1).values
        expected = rewards + self.gamma * best * (1 - done)
        loss = F.smooth_l1_loss(value, expected)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()


def evaluate(agent):
    """Mean discounted return of the greedy policy over all start cells."""
    total, starts = 0.0, [(r, c) for r in range(SIZE) for c in range(SIZE) if (r, c) not in (GOAL, PIT)]
    for cell in starts:
        discount = 1.0
        for _ in range(20):
            cell, reward, over = move(cell, agent.act(cell, 0.0))
            total += discount * reward
            discount *= agent.gamma
            if over:
                break
    return total / len(starts)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=2500)
    args = parser.parse_args()
    random.seed(args.seed)
    torch.manual_seed(args.seed)
    agent = Agent()
    cell = (0, 0)
    for step in range(args.steps):
        epsilon = max(0.2, 1 - step / 1500)
        action = agent.act(cell, epsilon)
        nxt, reward, over = move(cell, action)
        agent.memory.append((observe(cell), action, reward, observe(nxt), over))
        cell = (random.randrange(SIZE), random.randrange(2)) if over else nxt
        if step > 200 and step % 2 == 0:
            loss = agent.learn()
        if step % 100 == 0:
            agent.target.load_state_dict(agent.q.state_dict())
        if step % 500 == 499:
            print(f"step {step + 1}: loss {loss:.4f} return {evaluate(agent):+.3f}")
    print("METRIC return", evaluate(agent))


if __name__ == "__main__":
    main()
