import pytest
import torch

import vivavoce
from vivavoce.attach.session import current
from vivavoce.testing.taps import take_everything


@pytest.fixture(autouse=True)
def _calm():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)
    left, torch_left = current(), torch.is_anomaly_enabled()
    if left is not None:
        left.uninstall()
    torch.autograd.set_detect_anomaly(False)
    assert left is None, "a session was left on"
    assert not torch_left, "anomaly mode was left on"


@pytest.fixture
def watching(tmp_path):
    """`with watching(model, …) as run:` watches and takes every signal; no tap may fail."""
    watches = []

    def start(*watched):
        run = vivavoce.watch(*watched, budget=0.5, directory=tmp_path)
        watches.append(run)
        enter = run.start

        def start_all():
            enter()
            take_everything(run._session)
            return run

        run.start = start_all
        return run

    yield start
    for run in watches:
        if run._session is not None:
            assert run._session.faults == []
