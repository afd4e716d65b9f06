import sys
from pathlib import Path

import pytest
import torch

import vivavoce

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def watched(tmp_path):
    torch.manual_seed(0)
    return vivavoce.watch(directory=tmp_path, budget=0.5)
