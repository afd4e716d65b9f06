"""Trains small networks under a watch, and asks what it says."""

import torch
from torch.nn import functional as F


def fit(model, optimizer, x, y, steps, size=32, loss=None, validation=None):
    loss = loss or F.cross_entropy  # looked up here: a watch sees only functions that are looked up while it goes on
    for step in range(1, steps + 1):
        pick = torch.randint(0, len(x), (size,))
        optimizer.zero_grad()
        loss(model(x[pick]), y[pick]).backward()
        optimizer.step()
        if validation is not None and step % 25 == 0:
            model.eval()
            with torch.no_grad():
                loss(model(validation[0]), validation[1])
            model.train()


def fit_loader(model, optimizer, loader, epochs, validation=None):
    for _ in range(epochs):
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
        if validation is not None:
            model.eval()
            with torch.no_grad():
                F.cross_entropy(model(validation[0]), validation[1])
            model.train()


def alarms(watch):
    grave = [finding for finding in watch.findings if finding.severity != "note"]
    assert watch.verdict.faults == ()
    return {finding.slug for finding in grave} | {slug for finding in grave for slug in finding.symptoms}


def primary(watch):
    assert watch.verdict.faults == ()
    return watch.verdict.primary.slug if watch.verdict.primary else watch.verdict.outcome
