"""The instruments: pure numerics, each tested against an independent oracle.

The files here are NumPy; what runs on a device sits in files of its own, imported only where a tensor is given. The
public instruments are imported when they are first asked for: `from vivavoce.measure import ConfusionMatrix`.
"""

from __future__ import annotations

from importlib import import_module

_HOMES: dict[str, str] = {  # public name: the module of `vivavoce.measure` that defines it
    "ConfusionMatrix": "confusion",
    "AveragedSpectrum": "spectrum_stream",
    "data_order": "spectrum_order",
    "find_cycles": "spectrum_cycles",
    "spectrogram": "spectrum_transform",
    "spectrum": "spectrum_transform",
    "Expression": "expression",
    "NoiseScale": "gradient_noise",
    "noise_scale": "gradient_noise",
    "smallest_relu_width": "links",
    "find_breaks": "jump",
    "certify": "jump",
    "fit_function": "approximation",
    "extreme_eigenvalues": "curvature",
    "LeastSquares": "sgd_theory",
    "growth_of_norms": "growth",
    "largest_exponent": "growth",
    "noise_level": "picture_noise",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
