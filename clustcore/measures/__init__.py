"""What a clustering is worth, clean and under attack, and the static figures of it.

For figures, labels are read in this folder alone.
"""

from __future__ import annotations

from clustcore.measures.clustering import (
    ClusterTable,
    ari,
    cluster_accuracy,
    cluster_table,
    clusters_used,
    contingency,
    margin,
    matching,
    nmi,
    sample_rows,
    scores,
)
from clustcore.measures.intervals import median_smallest, share, wilson
from clustcore.measures.robustness import (
    Band,
    Bands,
    SecurityCurve,
    bands,
    fragile_clusters,
    fragile_samples,
    labels_at,
    migration,
    moved_at,
    security_curve,
    share_band,
    survival,
    worst_case,
)

__all__ = [
    "Band",
    "Bands",
    "ClusterTable",
    "SecurityCurve",
    "ari",
    "bands",
    "cluster_accuracy",
    "cluster_table",
    "clusters_used",
    "contingency",
    "fragile_clusters",
    "fragile_samples",
    "labels_at",
    "margin",
    "matching",
    "median_smallest",
    "migration",
    "moved_at",
    "nmi",
    "sample_rows",
    "scores",
    "security_curve",
    "share",
    "share_band",
    "survival",
    "wilson",
    "worst_case",
]
