"""Figures that others published, as they printed them: DRC's six benchmarks.

These are quotations, the only figures that are typed in anywhere; what was measured here is written
by the command that measured it. NMI, ACC and ARI, the best run where a paper gives several. None
stands for what is not known to be published. Protocols differ: PICA's, which DRC and CC follow too,
trains and judges on train and test merged; SCAN trains on the one and is judged on the other.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figures:
    """How good a clustering is said to be, each in [0, 1]."""

    nmi: float | None
    acc: float | None
    ari: float | None


@dataclass(frozen=True)
class Method:
    """A method, and where its figures stand."""

    name: str
    paper: str
    figures: dict[str, Figures]  # by data set
    mean_acc: dict[str, float]  # by data set, the mean of several runs, where that is known


# benchmark, and the name under which it is published
BENCHMARKS = {
    "cifar10": "CIFAR-10",
    "cifar100-20": "CIFAR-100-20",
    "stl10": "STL-10",
    "imagenet-10": "ImageNet-10",
    "imagenet-dogs": "ImageNet-Dogs-15",
    "tiny-imagenet": "Tiny-ImageNet",
}
_GCC = "Zhong et al., Graph Contrastive Clustering, ICCV 2021"
_TABLE = f"as quoted by {_GCC}"


def _method(
    name: str,
    paper: str,
    *figures: tuple[float | None, float | None, float | None] | None,
    mean_acc: dict[str, float] | None = None,
) -> Method:
    """One line of a table: (NMI, ACC, ARI) of each benchmark in turn, None where there is none."""
    found = {
        data: Figures(*values)
        for data, values in zip(BENCHMARKS, figures, strict=True)
        if values is not None
    }
    return Method(name, paper, found, mean_acc or {})


_METHODS = (
    _method(
        "k-means",
        f"MacQueen, Some Methods for Classification and Analysis, 1967; {_TABLE}",
        (0.087, 0.229, 0.049),
        (0.084, 0.130, 0.028),
        (0.125, 0.192, 0.061),
        (0.119, 0.241, 0.057),
        (0.055, 0.105, 0.020),
        (0.065, 0.025, 0.005),
    ),
    _method(
        "AE",
        f"Bengio et al., Greedy Layer-Wise Training of Deep Networks, NIPS 2006; {_TABLE}",
        (0.239, 0.314, 0.169),
        (0.100, 0.165, 0.048),
        (0.250, 0.303, 0.161),
        (0.210, 0.317, 0.152),
        (0.104, 0.185, 0.073),
        (0.131, 0.041, 0.007),
    ),
    _method(
        "DEC",
        f"Xie et al., Unsupervised Deep Embedding for Clustering Analysis, ICML 2016; {_TABLE}",
        (0.257, 0.301, 0.161),
        (0.136, 0.185, 0.050),
        (0.276, 0.359, 0.186),
        (0.282, 0.381, 0.203),
        (0.122, 0.195, 0.079),
        (0.115, 0.037, 0.007),
    ),
    _method(
        "DCCM",
        f"Wu et al., Deep Comprehensive Correlation Mining, ICCV 2019; {_TABLE}",
        (0.496, 0.623, 0.408),
        (0.285, 0.327, 0.173),
        (0.376, 0.482, 0.262),
        (0.608, 0.710, 0.555),
        (0.321, 0.383, 0.182),
        (0.224, 0.108, 0.038),
    ),
    _method(
        "PICA",
        f"Huang et al., Partition Confidence Maximisation, CVPR 2020; {_TABLE}",
        (0.591, 0.696, 0.512),
        (0.310, 0.337, 0.171),
        (0.611, 0.713, 0.531),
        (0.802, 0.870, 0.761),
        (0.352, 0.352, 0.201),
        (0.277, 0.098, 0.040),
    ),
    _method(
        "DRC",
        "Zhong et al., Deep Robust Clustering by Contrastive Learning, arXiv 2008.03030; "
        f"{_TABLE}; the mean from its own abstract",
        (0.621, 0.727, 0.547),
        (0.356, 0.367, 0.208),
        (0.644, 0.747, 0.569),
        (0.830, 0.884, 0.798),
        (0.384, 0.389, 0.233),
        (0.321, 0.139, 0.056),
        mean_acc={"cifar10": 0.716},
    ),
    _method(
        "CC",
        "Li et al., Contrastive Clustering, AAAI 2021",
        (None, 0.790, None),
        None,
        (None, 0.850, None),
        None,
        None,
        None,
    ),
    _method(
        "GCC",
        _GCC,
        (0.764, 0.856, 0.728),
        (0.472, 0.472, 0.305),
        (0.684, 0.788, 0.631),
        (0.842, 0.901, 0.822),
        (0.490, 0.526, 0.362),
        (0.347, 0.138, 0.075),
    ),
    _method(
        "SCAN",
        "Van Gansbeke et al., SCAN: Learning to Classify Images without Labels, ECCV 2020",
        (None, 0.883, None),
        None,
        (None, 0.809, None),
        None,
        None,
        None,
    ),
    _method(
        "ProPos",
        "Huang et al., Prototype Scattering and Positive Sampling, TPAMI 2022",
        (None, 0.943, None),
        None,
        (None, 0.867, None),
        None,
        None,
        None,
    ),
)
METHODS = {method.name: method for method in _METHODS}
BESIDE = ("DRC", "PICA", "CC", "GCC", "SCAN", "ProPos")  # stand beside what is measured here
