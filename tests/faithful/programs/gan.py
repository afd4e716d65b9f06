import torch
from fingerprint import show
from torch import nn

torch.manual_seed(0)
generator = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2))
critic = nn.Sequential(nn.Linear(2, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))
generator_optimizer = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.5, 0.9))
critic_optimizer = torch.optim.RMSprop(critic.parameters(), lr=5e-4)
bce = nn.BCEWithLogitsLoss()
for step in range(30):
    real = torch.randn(8, 2) + 3
    fake = generator(torch.randn(8, 4))
    critic_optimizer.zero_grad()
    bce(critic(real), torch.ones(8, 1)).backward()
    bce(critic(fake.detach()), torch.zeros(8, 1)).backward()
    critic_optimizer.step()
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.clamp_(-0.5, 0.5)
    if step % 2:
        generator_optimizer.zero_grad()
        bce(critic(fake), torch.ones(8, 1)).backward()  # leaks gradients into the critic
        generator_optimizer.step()
show("gan", generator, critic, generator_optimizer, critic_optimizer)
