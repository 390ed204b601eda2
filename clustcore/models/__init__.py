"""The models: what is known of each, and where its class lives. Listing them imports nothing."""

from __future__ import annotations

from clustcore.registry import ModelEntry

MODELS = {
    "alrdc": ModelEntry(
        "clustcore.models.alrdc:ALRDC",
        title="ALRDC",
        about="ALRDC: an autoencoder whose code is clustered by mutual information.",
        source="Yang et al., Adversarial Learning for Robust Deep Clustering, NeurIPS 2020; "
        "github.com/xdxuyang/ALRDC",
    ),
    "drc": ModelEntry(
        "clustcore.models.drc:DRC",
        title="DRC",
        about="DRC: contrasts the cluster assignments of two views of an image. Fits colour too.",
        source="Zhong et al., Deep Robust Clustering by Contrastive Learning, arXiv 2008.03030",
        stages=("features", "alone", "taught", "relabelled", "selflabel", "surest"),
        # as the recipes have it: see clustcore.experiments.recipes
        taught={"alone": 0, "taught": 4, "weight_t": 10.0},
        parts="Of the loss: af, the contrast of samples; ap, the contrast of clusters; cr, the "
        "balance of cluster sizes; apart, how well images are told apart; surest, the labels that "
        "the surest images give; share, how many these are.",
    ),
    "dec": ModelEntry(
        "clustcore.models.dec:DEC",
        title="DEC",
        about="DEC: an autoencoder, then clusters that sharpen themselves. The quickest.",
        source="Xie et al., Unsupervised Deep Embedding for Clustering Analysis, ICML 2016; "
        "Guo et al., IDEC, IJCAI 2017; Guo et al., DEC-DA, ACML 2018",
    ),
    "wrapped": ModelEntry(
        "clustcore.models.base:Wrapped",
        title="A module of one's own",
        source="a module of one's own",
        trains=False,
    ),
}
