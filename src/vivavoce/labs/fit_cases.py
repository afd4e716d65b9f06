"""Known truth for question 9: families whose exact risk is known at every capacity and for every number of examples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.polynomial.chebyshev import chebvander
from numpy.typing import NDArray

from vivavoce.labs.figures import Floats
from vivavoce.measure.folds import stratified_folds
from vivavoce.measure.ridgeless import expected_risk, least_norm

FOLDS = 10
DEGREES = (*range(13), 16, 24, 40, 75)  # of a polynomial
HIGHEST = DEGREES[-1]
NOISE = 0.5  # standard deviation of the noise, beside coefficients of 0.4 to 1
CURVE_SHARES = (0.45, 0.55, 0.67, 0.82, 1.0)  # of the training rows: sizes above the number of features


@dataclass(frozen=True)
class Polynomial:
    """y = Σ c_k·T_k(x) + noise, with Chebyshev polynomials of unit mean square and x = cos θ, θ uniform.

    Over these x they are orthonormal, so that a fit's exact excess risk is the squared distance of the coefficients; and
    none of them is large at the ends, as polynomials over evenly spread x are.
    """

    coefficients: Floats  # (HIGHEST + 1,)
    x: Floats
    y: Floats

    def basis(self, degree: int) -> Floats:
        """The polynomials up to `degree` at the examples: (n, degree + 1)."""
        return orthonormal(self.x, degree)

    def excess(self, weights: Floats) -> float:
        """The exact excess risk of a fit of any degree."""
        wide = np.zeros(max(len(weights), len(self.coefficients)))
        wide[: len(weights)] = weights
        wide[: len(self.coefficients)] -= self.coefficients
        return float(wide @ wide)

    def fitted(self, degree: int) -> float:
        """The exact excess risk of least squares with all examples."""
        return self.excess(least_norm(self.basis(degree), self.y))

    def held_out(self, degree: int, fold: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """Squared errors of each example in and out of its fold's training rows: two arrays (n,)."""
        basis = self.basis(degree)
        inside, outside = np.zeros(len(self.y)), np.zeros(len(self.y))
        for number in range(FOLDS):
            test = fold == number
            squares = (self.y - basis @ least_norm(basis[~test], self.y[~test])) ** 2
            outside[test] = squares[test]
            inside[~test] += squares[~test] / (FOLDS - 1)
        return inside, outside


def orthonormal(x: Floats, degree: int) -> Floats:
    """Chebyshev polynomials of unit mean square over x = cos θ, θ uniform: (n, degree + 1)."""
    return np.asarray(chebvander(x, degree) * np.where(np.arange(degree + 1), np.sqrt(2), 1.0))


def polynomial(random: np.random.Generator, n: int) -> Polynomial:
    """Coefficients that fall off from a random degree on, so that the best capacity differs from case to case."""
    top = int(random.integers(3, 9))
    coefficients = np.zeros(HIGHEST + 1)
    coefficients[: top + 1] = random.choice([-1.0, 1.0], top + 1) * random.uniform(0.4, 1.0, top + 1)
    x = np.cos(random.uniform(0, np.pi, n))
    y = orthonormal(x, HIGHEST) @ coefficients + NOISE * random.standard_normal(n)
    return Polynomial(coefficients, x, y)


@dataclass(frozen=True)
class LinearCase:
    """Examples of a linear model with `used` of its features, and the exact expected risk for any number of examples."""

    x: Floats  # (n, used)
    y: Floats
    signal: float
    left: float  # variance that the features used leave, noise included

    def risk(self, n: int) -> float:
        """The exact expected squared test error with n examples."""
        return expected_risk(n, self.x.shape[1], self.signal, 0.0, self.left)

    def fall(self, factor: float = 2.0) -> float:
        """The share of the risk that `factor` times the examples would save."""
        n = len(self.y)
        return 1 - self.risk(round(factor * n)) / self.risk(n)

    def curve(self, random: np.random.Generator, repeats: int = 20) -> tuple[NDArray[np.int64], Floats]:
        """Sizes (k,) and cross-validated errors (k, repeats): what can be measured on the examples themselves."""
        n = len(self.y)
        sizes = np.unique([round(share * n * (FOLDS - 1) / FOLDS) for share in CURVE_SHARES])
        fold = stratified_folds(np.zeros(n, np.int64), FOLDS, random)
        errors = np.zeros((len(sizes), repeats))
        for repeat in range(repeats):
            test = fold == repeat % FOLDS
            train = random.permutation(np.flatnonzero(~test))
            for place, size in enumerate(sizes.tolist()):
                rows = train[:size]
                errors[place, repeat] = np.mean((self.y[test] - self.x[test] @ least_norm(self.x[rows], self.y[rows])) ** 2)  # fmt: skip
        return sizes, errors


def linear_case(random: np.random.Generator, helps: bool) -> LinearCase:
    """A case where twice the examples save at least a tenth of the error (`helps`), or at most a fiftieth."""
    n = int(random.integers(150, 400))
    used = round(n * (random.uniform(0.2, 0.32) if helps else random.uniform(0.005, 0.02)))
    hidden = float(random.choice([0.0, 0.5])) if not helps else 0.0  # signal of features that were not recorded
    noise = float(random.uniform(0.2, 1.0))
    beta = random.standard_normal(max(used, 1))
    beta /= np.linalg.norm(beta)
    x = random.standard_normal((n, len(beta)))
    left = noise + hidden
    y = x @ beta + np.sqrt(left) * random.standard_normal(n)
    return LinearCase(x, y, 1.0, left)
