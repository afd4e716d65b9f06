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
    "LinearRule": "rules_linear",
    "MonotoneRule": "rules_order",
    "SymmetryRule": "rules_order",
    "ImplicationRule": "rules_linear",
    "comparison": "rules_linear",
    "conservation": "rules_linear",
    "rule_violations": "rules",
    "rule_penalty": "rules",
    "check_rule": "rules",
    "project_onto_rules": "rules",
    "dykstra": "rules_projection",
    "contradiction": "rules_evidence",
    "parse_rule": "rules_text",
    "ModeCoverage": "modes",
    "mode_coverage": "modes",
    "frechet_distance": "frechet",
    "kernel_distance": "frechet",
    "SampleQuality": "neighbours",
    "sample_quality": "neighbours",
    "score_separation": "rivalry",
    "relative_diversity": "rivalry",
    "energy_distance": "rivalry",
    "slope_norms": "slopes",
    "corrected_t": "paired",
    "paired_bootstrap": "paired",
    "gap_bootstrap": "paired",
    "holm": "paired",
    "extrapolate": "learning_curve",
    "fit_power_law": "learning_curve",
    "expected_risk": "ridgeless",
    "stratified_folds": "folds",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
