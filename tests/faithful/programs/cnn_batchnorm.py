import torch
from fingerprint import show
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(
    nn.Conv2d(3, 8, 3, bias=False),
    nn.BatchNorm2d(8),
    nn.ReLU(inplace=True),
    nn.MaxPool2d(2),
    nn.Conv2d(8, 16, 3, bias=False),
    nn.BatchNorm2d(16, track_running_stats=False),
    nn.LeakyReLU(0.1, inplace=True),
    nn.Dropout2d(0.2),
    nn.AdaptiveAvgPool2d(1),
    nn.Flatten(),
    nn.Linear(16, 5),
).to(memory_format=torch.channels_last)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 8, 0.5)
criterion = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 1.0, 0.5, 1.0]))
for _ in range(24):
    images = torch.randn(8, 3, 12, 12).to(memory_format=torch.channels_last)
    loss = criterion(model(images), torch.randint(0, 5, (8,)))
    optimizer.zero_grad(set_to_none=False)
    loss.backward()
    optimizer.step()
    scheduler.step()
show("cnn_batchnorm", model, optimizer, loss)
