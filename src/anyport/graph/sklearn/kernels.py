"""Models made of kernels against their training rows: Gaussian processes, kernel ridge, label propagation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anyport.errors import Impossible
from anyport.graph.build import Builder
from anyport.graph.sklearn import Answers, Features, distances
from anyport.graph.sklearn import arithmetic as m
from anyport.graph.sklearn.erf import erf

if TYPE_CHECKING:
    from numpy.typing import NDArray


def covariance(b: Builder, kernel: Any, value: str, points: NDArray[Any]) -> str:
    """k(x, p) of one of sklearn.gaussian_process.kernels, [N, m] (or broadcast to it)."""
    import numpy as np

    name = type(kernel).__name__
    if name in ("Sum", "Product"):
        parts = [covariance(b, k, value, points) for k in (kernel.k1, kernel.k2)]
        return b.add("Add" if name == "Sum" else "Mul", parts)
    if name == "Exponentiation":
        return distances.power_of(b, covariance(b, kernel.kernel, value, points), float(kernel.exponent))
    if name in ("ConstantKernel", "WhiteKernel"):
        level = float(kernel.constant_value) if name == "ConstantKernel" else 0.0
        return m.repeated(b, value, np.full(len(points), level))
    if name == "DotProduct":
        return m.affine(b, value, points.T, float(kernel.sigma_0) ** 2)
    if name == "PairwiseKernel":
        params = {"gamma": kernel.gamma, **(kernel.pairwise_kernels_kwargs or {})}
        return distances.kernel(b, value, points, kernel.metric, params)
    if name in ("RBF", "Matern"):
        scale = np.squeeze(kernel.length_scale).astype(float)
        value, points = m.divide(b, value, scale), points / scale
        if name == "RBF" or kernel.nu == np.inf:
            return b.add("Exp", [m.scale(b, distances.squared(b, value, points), -0.5)])
        return matern(b, float(kernel.nu), distances.euclidean(b, value, points))
    if name == "RationalQuadratic":
        share = m.divide(b, distances.squared(b, value, points), 2.0 * kernel.alpha * kernel.length_scale**2)
        return b.add("Pow", [m.shift(b, share, 1.0), b.constant(-float(kernel.alpha))])
    if name == "ExpSineSquared":
        wave = b.add("Sin", [m.scale(b, distances.euclidean(b, value, points), np.pi / kernel.periodicity)])
        return b.add("Exp", [m.scale(b, m.square(b, m.divide(b, wave, float(kernel.length_scale))), -2.0)])
    raise Impossible(f"the Gaussian process kernel {name} has no converter")


def matern(b: Builder, nu: float, distance: str) -> str:
    if nu not in (0.5, 1.5, 2.5):
        raise Impossible(f"a Matérn kernel with nu={nu} needs a Bessel function, which ONNX does not have")
    if nu == 0.5:
        return b.add("Exp", [b.add("Neg", [distance])])
    far = m.scale(b, distance, (2.0 * nu) ** 0.5)
    front = m.shift(b, far, 1.0)
    if nu == 2.5:
        front = b.add("Add", [front, m.divide(b, m.square(b, far), 3.0)])
    return b.add("Mul", [front, b.add("Exp", [b.add("Neg", [far])])])


def process_regressor(b: Builder, estimator: Any, x: Features) -> Answers:
    """GaussianProcessRegressor's posterior mean."""
    import numpy as np

    if not hasattr(estimator, "X_train_"):
        raise Impossible("an unfitted GaussianProcessRegressor answers from its prior")
    known = covariance(b, estimator.kernel_, x.tensor(), distances.remembered(estimator.X_train_))
    alpha = np.asarray(estimator.alpha_)
    mean = m.affine(b, known, alpha.reshape(len(alpha), -1))
    mean = m.shift(b, m.scale(b, mean, estimator._y_train_std), estimator._y_train_mean)
    return Answers(prediction=m.flat(b, mean) if alpha.ndim == 1 or alpha.shape[1] == 1 else mean)


def process_binary(b: Builder, estimator: Any, x: Features) -> Answers:
    """Laplace's approximation; the probability is Williams & Barber's sum of five error functions."""
    import numpy as np
    from scipy.linalg import solve_triangular
    from sklearn.gaussian_process._gpc import COEFS, LAMBDAS

    value = x.tensor()
    points = distances.remembered(estimator.X_train_)
    known = covariance(b, estimator.kernel_, value, points)
    mean = b.add("MatMul", [known, b.constant((estimator.y_train_ - estimator.pi_).reshape(-1, 1))])
    half = solve_triangular(estimator.L_, np.diag(estimator.W_sr_), lower=True)
    spread = b.add("MatMul", [known, b.constant(half.T)])
    variance = b.add("Sub", [own_variance(b, estimator.kernel_, value), m.total(b, m.square(b, spread))])

    alpha = b.add("Div", [b.constant(1.0), m.scale(b, variance, 2.0)])
    gamma = m.scale(b, mean, LAMBDAS.T)
    inside = b.add("Sqrt", [b.add("Div", [alpha, m.shift(b, alpha, LAMBDAS.T**2)])])
    # sqrt(pi / alpha) / (2 sqrt(2 pi variance)) is 1/2
    integrals = m.scale(b, erf(b, b.add("Mul", [gamma, inside])), 0.5)
    share = m.shift(b, m.total(b, m.scale(b, integrals, COEFS.T), keep=False), 0.5 * float(COEFS.sum()))
    return Answers(prediction=m.above(b, m.flat(b, mean)), probability=m.halves(b, share))


def own_variance(b: Builder, kernel: Any, value: str) -> str:
    """k(x, x), [N, 1]."""
    name = type(kernel).__name__
    if name in ("Sum", "Product"):
        parts = [own_variance(b, k, value) for k in (kernel.k1, kernel.k2)]
        return b.add("Add" if name == "Sum" else "Mul", parts)
    if name == "Exponentiation":
        return distances.power_of(b, own_variance(b, kernel.kernel, value), float(kernel.exponent))
    if name == "DotProduct":
        return m.shift(b, m.total(b, m.square(b, value)), float(kernel.sigma_0) ** 2)
    if name == "PairwiseKernel" and kernel.metric not in ("rbf", "laplacian"):
        raise Impossible(f"the variance of PairwiseKernel(metric={kernel.metric!r}) has no converter")
    level = {"ConstantKernel": "constant_value", "WhiteKernel": "noise_level"}.get(name)
    return m.repeated(b, value, [float(getattr(kernel, level)) if level else 1.0])


def process_classifier(b: Builder, estimator: Any, x: Features) -> Answers:
    from anyport.graph.sklearn import convert

    inner = convert(b, estimator.base_estimator_, x)
    if estimator.n_classes_ > 2 and estimator.multi_class == "one_vs_one":
        return Answers(prediction=inner.prediction)  # the original refuses predict_proba here
    return Answers(prediction=inner.prediction, probability=inner.probability)


def ridge(b: Builder, estimator: Any, x: Features) -> Answers:
    """KernelRidge."""
    import numpy as np

    dual = np.asarray(estimator.dual_coef_)
    points = distances.remembered(estimator.X_fit_)
    if estimator.kernel == "precomputed":
        known = x.tensor()
    elif callable(estimator.kernel):
        raise Impossible("the kernel is the user's own function")
    else:
        params = {"gamma": estimator.gamma, "degree": estimator.degree, "coef0": estimator.coef0}
        known = distances.kernel(b, x.tensor(), points, estimator.kernel, params)
    answer = m.affine(b, known, dual.reshape(len(dual), -1))
    return Answers(prediction=m.flat(b, answer) if dual.ndim == 1 else answer)


def propagation(b: Builder, estimator: Any, x: Features) -> Answers:
    """LabelPropagation and LabelSpreading."""
    from anyport.graph.sklearn.neighbours import nearest

    labels = estimator.label_distributions_
    if estimator.kernel == "knn":
        index = nearest(b, estimator.nn_fit, x, estimator.n_neighbors)[1]
        mass = m.total(b, m.choose(b, labels, index), keep=False)
    elif estimator.kernel == "rbf":
        points = distances.remembered(estimator.X_)
        known = distances.kernel(b, x.tensor(), points, "rbf", {"gamma": estimator.gamma})
        mass = b.add("MatMul", [known, b.constant(labels)])
    else:
        raise Impossible("the kernel is the user's own function")
    share = b.add("Div", [mass, m.total(b, mass)])
    return Answers(prediction=m.argmax(b, share), probability=share)


CONVERTERS = {
    "GaussianProcessRegressor": process_regressor,
    "GaussianProcessClassifier": process_classifier,
    "_BinaryGaussianProcessClassifierLaplace": process_binary,
    "KernelRidge": ridge,
    **dict.fromkeys(("LabelPropagation", "LabelSpreading"), propagation),
}
