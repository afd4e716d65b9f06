"""Whose lines are named: the user's."""

from pathlib import Path

import pytest
import torch

import vivavoce
from vivavoce.attach.sites import is_library

OWN = Path(vivavoce.__file__).parent


@pytest.mark.parametrize(
    ("file", "library"),
    [
        (str(OWN / "attach" / "session.py"), True),
        (str(OWN / "labs" / "denoise" / "train.py"), False),  # it trains as a user's script does
        (torch.__file__, True),
        ("/home/someone/site-packages/lightning/trainer.py", True),
        ("/home/someone/lightning/train.py", False),
        ("/home/someone/train.py", False),
    ],
)
def test_libraries(file, library):
    assert is_library(file) is library
