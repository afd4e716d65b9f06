"""DCGAN on 8x8 digits, after the usual tutorial: sigmoid output, BCELoss, real and fake in backward calls of their own."""

import argparse

import torch
import torch.nn as nn
import torch.optim as optim
from sklearn.datasets import load_digits

parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--epochs", type=int, default=25)
parser.add_argument("--lr_g", type=float, default=2e-3)
parser.add_argument("--lr_d", type=float, default=2e-3)
parser.add_argument("--beta1", type=float, default=0.5)
opt = parser.parse_args()
torch.manual_seed(opt.seed)

NZ, NGF, NDF = 16, 16, 16
images = torch.from_numpy(load_digits().images).float().unsqueeze(1)
images = images / 8 - 1
order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
train, held = images[order[:1400]], images[order[1400:]]
loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(train), batch_size=64, shuffle=True, drop_last=True)


def weights_init(m):
    if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(m.weight, 0.0, 0.1)
    elif isinstance(m, nn.BatchNorm2d):
        nn.init.normal_(m.weight, 1.0, 0.02)
        nn.init.zeros_(m.bias)


netG = nn.Sequential(
    nn.ConvTranspose2d(NZ, NGF * 2, 2, 1, 0, bias=False),
    nn.BatchNorm2d(NGF * 2),
    nn.ReLU(True),
    nn.ConvTranspose2d(NGF * 2, NGF, 4, 2, 1, bias=False),
    nn.BatchNorm2d(NGF),
    nn.ReLU(True),
    nn.ConvTranspose2d(NGF, 1, 4, 2, 1, bias=False),
    nn.Tanh(),
)
netD = nn.Sequential(
    nn.Conv2d(1, NDF, 4, 2, 1, bias=False),
    nn.LeakyReLU(0.2, inplace=True),
    nn.Conv2d(NDF, NDF * 2, 4, 2, 1, bias=False),
    nn.LeakyReLU(0.2, inplace=True),
    nn.Conv2d(NDF * 2, 1, 2, 1, 0, bias=False),
    nn.Flatten(),
    nn.Sigmoid(),
)
netG.apply(weights_init)
netD.apply(weights_init)
criterion = nn.BCELoss()
optimizerD = optim.Adam(netD.parameters(), lr=opt.lr_d, betas=(opt.beta1, 0.999))
optimizerG = optim.Adam(netG.parameters(), lr=opt.lr_g, betas=(opt.beta1, 0.999))

for epoch in range(opt.epochs):
    for (data,) in loader:
        # update D
        netD.zero_grad()
        label = torch.full((len(data),), 0.9)
        output = netD(data).view(-1)
        errD_real = criterion(output, label)
        errD_real.backward()
        noise = torch.randn(len(data), NZ, 1, 1)
        fake = netG(noise)
        label.fill_(0.0)
        output = netD(fake.detach()).view(-1)
        errD_fake = criterion(output, label)
        errD_fake.backward()
        errD = errD_real + errD_fake
        optimizerD.step()

        # update G
        netG.zero_grad()
        label.fill_(1.0)
        output = netD(fake).view(-1)
        errG = criterion(output, label)
        errG.backward()
        optimizerG.step()
    print(f"[{epoch}/{opt.epochs}] Loss_D: {errD.item():.4f} Loss_G: {errG.item():.4f}")


def energy_distance(a, b):
    a, b = a.flatten(1), b.flatten(1)
    return (2 * torch.cdist(a, b).mean() - torch.cdist(a, a).mean() - torch.cdist(b, b).mean()).item()


with torch.no_grad():
    print("METRIC energy_distance", energy_distance(netG(torch.randn(397, NZ, 1, 1)), held))
