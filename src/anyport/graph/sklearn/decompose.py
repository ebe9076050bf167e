"""Projections and feature maps of the whole row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from anyport.errors import Impossible
from anyport.graph.build import Builder
from anyport.graph.sklearn import Features, distances
from anyport.graph.sklearn import arithmetic as m
from anyport.graph.sklearn.frame import Frame, graph_frame, lift

Project = Callable[[Builder, Any, str], str]
"""[N, d] → [N, k]."""


def projecting(project: Project) -> Callable[[Builder, Any, Features], Frame]:
    """A converter that computes all features at once, in the graph."""

    def convert(b: Builder, t: Any, x: Features) -> Frame:
        features = lift(x)
        value = project(b, t, features.tensor())
        return graph_frame(b, value, outputs(t, features.width), dtype=features.float_dtype(), like=features)

    return convert


def outputs(t: Any, width: int) -> int:
    """How many features come out."""
    import warnings

    import numpy as np

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = t.transform(np.full((2, width), 0.5, dtype=np.float64))  # SparsePCA flattens a single row
    return int(made.shape[1])


def pca(b: Builder, t: Any, value: str) -> str:
    """(x - mean) @ components, over the components' deviation where whitened."""
    import numpy as np

    components = t.components_.T.astype(np.float64)
    made = m.affine(b, value, components, -np.asarray(t.mean_, np.float64) @ components)
    if not t.whiten:
        return made
    scale = np.sqrt(t.explained_variance_)
    return m.divide(b, made, np.maximum(scale, np.finfo(scale.dtype).eps).reshape(1, -1))


def linear(b: Builder, t: Any, value: str) -> str:
    """x @ components."""
    return m.affine(b, value, m.dense(t.components_).T)


def ica(b: Builder, t: Any, value: str) -> str:
    """(x - mean) @ unmixing."""
    if t.whiten:
        value = m.shift(b, value, -t.mean_.reshape(1, -1))
    return m.affine(b, value, t.components_.T)


def factors(b: Builder, t: Any, value: str) -> str:
    """FactorAnalysis: the expected latent variables."""
    import numpy as np

    weighted = t.components_ / t.noise_variance_
    inner = np.linalg.inv(np.eye(len(t.components_)) + weighted @ t.components_.T)
    return m.affine(b, m.shift(b, value, -t.mean_.reshape(1, -1)), weighted.T @ inner)


def sparse_pca(b: Builder, t: Any, value: str) -> str:
    """SparsePCA: a ridge regression on the components, whose answer is linear in x."""
    import numpy as np

    c = t.components_.astype(np.float64)
    inner = np.linalg.inv(c @ c.T + t.ridge_alpha * np.eye(len(c)))
    return m.affine(b, m.shift(b, value, -t.mean_.reshape(1, -1)), c.T @ inner)


def threshold_code(b: Builder, t: Any, value: str) -> str:
    """Dictionary learning with transform_algorithm='threshold': soft-thresholded products with the atoms."""
    if t.transform_algorithm != "threshold":
        raise Impossible(
            f"{type(t).__name__} solves an optimisation problem for each row ({t.transform_algorithm}); "
            "only transform_algorithm='threshold' is arithmetic"
        )
    dictionary = t.components_ if hasattr(t, "components_") else t.dictionary
    alpha = t.transform_alpha if t.transform_alpha is not None else getattr(t, "alpha", 1.0)
    product = m.affine(b, value, dictionary.T)
    size = b.add("Max", [m.shift(b, b.add("Abs", [product]), -float(alpha)), b.constant(0.0)])
    made = b.add("Mul", [b.add("Sign", [product]), size])
    if t.positive_code:
        made = b.add("Max", [made, b.constant(0.0)])
    if not t.split_sign:
        return made
    zero = b.constant(0.0)
    return m.beside(b, [b.add("Max", [made, zero]), b.add("Neg", [b.add("Min", [made, zero])])])


def boltzmann(b: Builder, t: Any, value: str) -> str:
    """BernoulliRBM: the hidden units' probabilities."""
    return b.add("Sigmoid", [m.affine(b, value, t.components_.T, t.intercept_hidden_)])


def pooled(b: Builder, t: Any, value: str) -> str:
    """FeatureAgglomeration: the mean of each group."""
    import numpy as np

    if t.pooling_func is not np.mean:
        raise Impossible(f"FeatureAgglomeration pooling with {getattr(t.pooling_func, '__name__', t.pooling_func)}")
    groups = np.unique(t.labels_)
    member = (t.labels_[:, None] == groups).astype(np.float64)
    return m.divide(b, m.affine(b, value, member), member.sum(axis=0).reshape(1, -1))


def kernel_pca(b: Builder, t: Any, value: str) -> str:
    """KernelPCA, on rows or (kernel='precomputed') on kernel values."""
    params = {"gamma": t.gamma_, "degree": t.degree, "coef0": t.coef0} | (t.kernel_params or {})
    if t.kernel != "precomputed":
        value = distances.kernel(b, value, distances.remembered(t.X_fit_), t.kernel, params)
    return _on_kernel(b, t, value)


def _on_kernel(b: Builder, t: Any, value: str) -> str:
    import numpy as np

    some = np.flatnonzero(t.eigenvalues_)
    scaled = np.zeros_like(t.eigenvectors_)
    scaled[:, some] = t.eigenvectors_[:, some] / np.sqrt(t.eigenvalues_[some])
    return m.affine(b, centered(b, t._centerer, value), scaled)


def centered(b: Builder, t: Any, value: str) -> str:
    """KernelCenterer."""
    mean = m.divide(b, m.total(b, value), float(len(t.K_fit_rows_)))
    value = m.shift(b, value, -t.K_fit_rows_.reshape(1, -1))
    return m.shift(b, b.add("Sub", [value, mean]), float(t.K_fit_all_))


def isomap(b: Builder, t: Any, value: str) -> str:
    """Isomap: shortest ways through the nearest training rows, then their kernel PCA."""
    nearest = t.nbrs_
    if t.n_neighbors is None or t.kernel_pca_.kernel != "precomputed":
        raise Impossible("Isomap by radius")
    points = distances.remembered(nearest._fit_X)
    rank, node, power = distances.ranked(b, value, points, nearest.effective_metric_, nearest.effective_metric_params_)
    found = b.add_many(
        "TopK", [rank, b.constant([int(t.n_neighbors)], "int64")], outputs=2, axis=1, largest=0, sorted=1
    )
    far = distances.distance_of(b, found[0], node, power)
    ways = b.add("Gather", [b.constant(t.dist_matrix_), found[1]], axis=0)
    last = b.constant([2], "int64")
    ways = b.add(
        "ReduceMin", [b.add("Add", [ways, b.add("Unsqueeze", [far, last])]), b.constant([1], "int64")], keepdims=0
    )
    return _on_kernel(b, t.kernel_pca_, m.scale(b, m.square(b, ways), -0.5))


def nystroem(b: Builder, t: Any, value: str) -> str:
    """Nystroem: the kernel with its basis rows, normalised."""
    made = distances.kernel(b, value, m.dense(t.components_), t.kernel, t._get_kernel_params())
    return m.affine(b, made, t.normalization_.T)


def fourier(b: Builder, t: Any, value: str) -> str:
    """RBFSampler: random Fourier features."""
    return m.scale(b, _cosine(b, t, value), (2.0 / t.n_components) ** 0.5)


def skewed(b: Builder, t: Any, value: str) -> str:
    """SkewedChi2Sampler."""
    import numpy as np

    value = b.add("Log", [m.shift(b, value, float(t.skewedness))])
    return m.scale(b, _cosine(b, t, value), float(np.sqrt(2.0) / np.sqrt(t.n_components)))


def _cosine(b: Builder, t: Any, value: str) -> str:
    return b.add("Cos", [m.affine(b, value, t.random_weights_, t.random_offset_)])


def additive(b: Builder, t: Any, value: str) -> str:
    """AdditiveChi2Sampler: sampled Fourier features of the chi-squared kernel; zeros stay."""
    import math

    step = t.sample_interval or {1: 0.8, 2: 0.5, 3: 0.4}[t.sample_steps]
    zero = b.add("Equal", [value, b.constant(0.0)])
    safe = b.add("Where", [zero, b.constant(1.0), value])
    logs = m.scale(b, b.add("Log", [safe]), step)
    parts = [b.add("Sqrt", [m.scale(b, safe, step)])]
    for j in range(1, t.sample_steps):
        factor = b.add("Sqrt", [m.divide(b, m.scale(b, m.scale(b, safe, 2.0), step), math.cosh(math.pi * j * step))])
        turn = m.scale(b, logs, float(j))
        parts += [b.add("Mul", [factor, b.add(op, [turn])]) for op in ("Cos", "Sin")]
    return m.beside(b, [b.add("Where", [zero, b.constant(0.0), part]) for part in parts])


def discriminant(b: Builder, t: Any, value: str) -> str:
    """LinearDiscriminantAnalysis, where it is a transformer."""
    if t.solver == "lsqr":
        raise Impossible("LinearDiscriminantAnalysis with solver lsqr transforms nothing")
    if t.solver == "svd":
        value = m.shift(b, value, -t.xbar_.reshape(1, -1))
    return m.affine(b, value, t.scalings_[:, : t._max_components])


def least_squares(b: Builder, t: Any, value: str) -> str:
    """PLSRegression, PLSCanonical, CCA and PLSSVD, where they are transformers."""
    value = m.divide(b, m.shift(b, value, -t._x_mean.reshape(1, -1)), t._x_std.reshape(1, -1))
    return m.affine(b, value, t.x_rotations_ if hasattr(t, "x_rotations_") else t.x_weights_)


def to_centers(b: Builder, t: Any, value: str) -> str:
    """KMeans and its kin, where they are transformers: distances to the centres."""
    centers = t.cluster_centers_ if hasattr(t, "cluster_centers_") else t.subcluster_centers_
    return distances.euclidean(b, value, m.dense(centers).astype("float64"))


CONVERTERS = {
    name: projecting(project)
    for name, project in {
        "PCA": pca, "IncrementalPCA": pca, "TruncatedSVD": linear, "FastICA": ica, "FactorAnalysis": factors,
        "SparsePCA": sparse_pca, "MiniBatchSparsePCA": sparse_pca, "KernelPCA": kernel_pca, "KernelCenterer": centered,
        "GaussianRandomProjection": linear, "SparseRandomProjection": linear, "NeighborhoodComponentsAnalysis": linear,
        "DictionaryLearning": threshold_code, "MiniBatchDictionaryLearning": threshold_code,
        "SparseCoder": threshold_code, "BernoulliRBM": boltzmann, "FeatureAgglomeration": pooled, "Isomap": isomap,
        "Nystroem": nystroem, "RBFSampler": fourier, "SkewedChi2Sampler": skewed, "AdditiveChi2Sampler": additive,
        "PLSSVD": least_squares,
    }.items()
}  # fmt: skip

TRANSFORMS = {
    name: projecting(project)
    for name, project in {
        "LinearDiscriminantAnalysis": discriminant, "PLSRegression": least_squares, "PLSCanonical": least_squares,
        "CCA": least_squares, "KMeans": to_centers, "MiniBatchKMeans": to_centers, "BisectingKMeans": to_centers,
        "Birch": to_centers,
    }.items()
}  # fmt: skip
"""Predictors that transform when they stand in the middle of a pipeline."""
