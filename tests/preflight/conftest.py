import gc

import pytest
import torch

from vivavoce.attach.session import current


@pytest.fixture(autouse=True)
def _calm():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)
    gc.collect()  # a compiled model that lives on would keep the next session from listening
    left = current()
    if left is not None:
        left.uninstall()
    assert left is None, "a session was left on"
    assert not torch.nn.modules.module._has_any_global_hook(), "a hook was left on"
    assert not torch.overrides._get_current_function_mode_stack(), "a mode was left on"
