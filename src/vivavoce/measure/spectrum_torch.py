"""The spectrum of a tensor, on the device where it lies."""

from __future__ import annotations

import torch


def transformed(
    signal: torch.Tensor, rate: float, window: str
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Frequencies, coefficients, amplitudes and phases, each (n // 2 + 1,), of a real signal (n,).

    Raises ValueError for another shape and for fewer than two samples. NaN is not looked for: that would wait for
    the device; it comes out as NaN.
    """
    if signal.ndim != 1 or signal.is_complex() or len(signal) < 2:
        raise ValueError(f"a signal of real numbers (n,), n ≥ 2, is expected, got {signal.dtype} {tuple(signal.shape)}")
    values = signal if signal.dtype in (torch.float32, torch.float64) else signal.to(torch.float64)
    n = len(values)
    weights = torch.ones_like(values)
    if window == "hann":
        weights = torch.hann_window(n, periodic=True, dtype=values.dtype, device=values.device)
    coefficients = torch.fft.rfft(values * weights)
    sides = torch.full((n // 2 + 1,), 2.0, dtype=values.dtype, device=values.device)
    sides[0] = 1.0
    if n % 2 == 0:
        sides[-1] = 1.0
    frequencies = torch.fft.rfftfreq(n, 1 / rate, dtype=values.dtype, device=values.device)
    return frequencies, coefficients, coefficients.abs() * sides / weights.sum(), coefficients.angle()
