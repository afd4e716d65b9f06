"""Data loaders: what they are, whether they shuffle, where their passes begin and end."""

import gc
import weakref

import pytest
import torch
from torch import nn
from torch.utils import data

from .reading import line_here


def dataset(n=10):
    return data.TensorDataset(torch.randn(n, 3), torch.randint(2, (n,)))


def train_on(loader, model=None, optimizer=None, most=None):
    model = model or nn.Linear(3, 2)
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=0.1)
    for index, (inputs, _) in enumerate(loader):
        if index == most:
            break
        optimizer.zero_grad()
        model(inputs).square().mean().backward()
        optimizer.step()


def epochs(run, loader=0):
    return [int(v) for t in run.tracks("epoch") if t.owner == ("loader", loader) for v in t.mean[:, 0]]


class Stream(data.IterableDataset):
    def __iter__(self):
        return iter([(torch.randn(3), 0)] * 7)


class Own(data.Sampler):
    def __iter__(self):
        return iter(range(10))

    def __len__(self):
        return 10


SAMPLERS = {
    "plain": ({}, False, "SequentialSampler"),
    "shuffled": ({"shuffle": True}, True, "RandomSampler"),
    "subset": ({"sampler": data.SubsetRandomSampler(range(8))}, True, "SubsetRandomSampler"),
    "weighted": ({"sampler": data.WeightedRandomSampler([1.0] * 10, 10)}, True, "WeightedRandomSampler"),
    "own": ({"sampler": Own()}, None, "Own"),
    "distributed": (
        {"sampler": data.DistributedSampler(range(10), num_replicas=2, rank=0, shuffle=False)},
        False,
        "DistributedSampler",
    ),
}


@pytest.mark.parametrize("kind", SAMPLERS)
def test_shuffling(watching, kind):
    options, shuffle, sampler = SAMPLERS[kind]
    with watching() as run:
        train_on(data.DataLoader(dataset(), batch_size=4, **options))
    (loader,) = run.run.loaders.values()
    assert (loader.shuffle, loader.sampler, loader.batch_size) == (shuffle, sampler, 4)
    assert loader.dataset_size == 10
    assert loader.role == "train"


def test_a_batch_sampler_of_ones_own(watching):
    class Batches(data.Sampler):
        def __iter__(self):
            return iter([[0, 1], [2, 3, 4]])

        def __len__(self):
            return 2

    with watching() as run:
        train_on(data.DataLoader(dataset(), batch_sampler=Batches()))
    (loader,) = run.run.loaders.values()
    assert (loader.shuffle, loader.batch_size, loader.batches) == (None, None, 2)


def test_iterable_datasets(watching):
    with watching() as run:
        train_on(data.DataLoader(Stream(), batch_size=2))
    (loader,) = run.run.loaders.values()
    assert (loader.shuffle, loader.batch_size, loader.batches, loader.dataset_size) == (None, 2, None, None)
    assert epochs(run.run) == [4]


def test_epochs_and_a_pass_that_was_broken_off(watching):
    loader = data.DataLoader(dataset(), batch_size=3, drop_last=True)
    with watching() as run:
        train_on(loader)
        train_on(loader, most=1)
        train_on(loader)
    assert epochs(run.run) == [3, 2, 3]
    assert run.run.loaders[0].drop_last


def test_where_it_was_made(watching):
    class Named(data.DataLoader):
        def __init__(self, *args):
            super().__init__(*args, batch_size=5)

    with watching() as run:
        plain = data.DataLoader(dataset(), batch_size=5)
        here = line_here()
        derived = Named(dataset())
        train_on(plain)
        train_on(derived)
    assert [loader.site.line - here for loader in run.run.loaders.values()] == [-1, 1]
    assert {loader.site.file for loader in run.run.loaders.values()} == {__file__}


def test_roles_of_two_loaders(watching):
    training, validation = (data.DataLoader(dataset(), batch_size=5) for _ in range(2))
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watching() as run:
        for _ in range(2):
            train_on(training, model, optimizer)
            with torch.no_grad():
                for inputs, _ in validation:
                    model(inputs)
    roles = {loader.id: loader.role for loader in run.run.loaders.values()}
    assert roles == {0: "train", 1: "validation"}
    assert epochs(run.run, 0) == epochs(run.run, 1) == [2, 2]


def test_validation_in_the_middle_of_an_epoch(watching):
    training, validation = (data.DataLoader(dataset(), batch_size=5) for _ in range(2))
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watching() as run:
        for inputs, _ in training:
            for other, _ in validation:
                model(other)
            optimizer.zero_grad()
            model(inputs).mean().backward()
            optimizer.step()
    assert [loader.role for loader in run.run.loaders.values()].count("validation") == 1
    assert sorted(epochs(run.run, 0) + epochs(run.run, 1)) == [2, 2, 2]


def test_two_training_loaders_side_by_side(watching):
    first, second = (data.DataLoader(dataset(20), batch_size=5) for _ in range(2))
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watching() as run:
        for (a, _), (b, _) in zip(first, second, strict=True):
            optimizer.zero_grad()
            (model(a) - model(b)).square().mean().backward()
            optimizer.step()
    assert {loader.role for loader in run.run.loaders.values()} == {"train"}


class Training(data.Dataset):
    """A data set that would be seen if anything were recorded in workers."""

    def __len__(self):
        return 6

    def __getitem__(self, index):
        weight = torch.ones(3, requires_grad=True)
        optimizer = torch.optim.SGD([weight], lr=0.1)
        nn.functional.mse_loss(weight, torch.zeros(3)).backward()
        optimizer.step()
        return weight.detach(), 0


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a machine of one core
def test_nothing_is_recorded_in_workers(watching, tmp_path):
    with watching() as run:
        train_on(data.DataLoader(Training(), batch_size=3, num_workers=2))
    assert run.run.loaders[0].workers == 2
    assert run.run.steps == 2
    assert len(run.run.optimizers) == 1
    assert epochs(run.run) == [2]
    assert len(list(tmp_path.glob("*.db"))) == 1


def test_a_data_set_that_fails(watching):
    class Broken(data.Dataset):
        def __len__(self):
            return 4

        def __getitem__(self, index):
            if index == 2:
                raise ValueError("no such picture")
            return torch.randn(3), 0

    loader = data.DataLoader(Broken(), batch_size=1)
    with watching() as run, pytest.raises(ValueError, match="no such picture"):
        train_on(loader)
    assert run.run.steps == 2


def test_loaders_and_batches_are_freed(watching):
    with watching():
        loader = data.DataLoader(dataset(), batch_size=5)
        train_on(loader)
        dead = weakref.ref(loader), weakref.ref(loader.dataset)
        del loader
        gc.collect()
        assert [ref() for ref in dead] == [None, None]
