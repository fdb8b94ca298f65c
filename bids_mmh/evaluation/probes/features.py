"""Features of a frozen, randomly initialised 3D ResNet-18, and the distances of sites in them.

The network is untrained, so it favours no method. It is positively homogeneous (no biases, batch
normalisation at its initial statistics, background at 0): an image of half the contrast has half the features
and half the distances. So distances are read as ratios to those of the raw images, together with the standard
deviation of the brain.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import pdist

from bids_mmh.errors import BadDataError

if TYPE_CHECKING:
    from torch.nn import Module

FEATURES = 512
SEED = 0


@dataclass(frozen=True)
class FeatureDistances:
    """Euclidean distances of features.

    Attributes:
        inter_site: Mean pairwise distance of the sites' centroids; NaN for fewer than two sites.
        intra_site: Mean distance of the scans to the centroid of their site.
    """

    inter_site: float
    intra_site: float


def random_features(volumes: Iterable[NDArray[Any]], *, seed: int = SEED) -> NDArray[np.float32]:
    """Extract features by an untrained network.

    A 3D ResNet-18 (He et al. 2016, with its stride of 2 in the stem) without its last layer, He-initialised
    from ``seed``, in evaluation mode: its batch normalisations keep their initial statistics 0 and 1, so that
    the features of a scan do not depend on the other scans.

    Args:
        volumes: Scaled intensities in about [-1, 1], background -1, shape (x, y, z) each. They are shifted to
            a background of 0, so that the network's zero padding continues the background.
        seed: Random seed of the network; use one for all methods. The global random state is not changed.

    Returns:
        Features, shape (N, 512).

    Raises:
        BadDataError: If a volume is not three-dimensional or not finite.
    """
    import torch

    network = _random_network(seed)
    rows = []
    with torch.inference_mode():
        for volume in volumes:
            array = np.asarray(volume, dtype=np.float32)
            if array.ndim != 3 or not np.isfinite(array).all():
                raise BadDataError(
                    f"A volume of shape {array.shape} is not three-dimensional or not finite: check the scan."
                )
            rows.append(network(torch.from_numpy(array)[None, None] + 1)[0].numpy())
    return np.stack(rows) if rows else np.empty((0, FEATURES), np.float32)


@cache
def _random_network(seed: int) -> "Module":
    """Drawing its 33 million weights takes longer than a scan takes in it: made once a process."""
    import torch
    from monai.networks.nets.resnet import resnet18

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = resnet18(
            spatial_dims=3, n_input_channels=1, conv1_t_stride=2, feed_forward=False, bias_downsample=False
        )
    return network.eval()


def feature_distances(features: ArrayLike, sites: Sequence[str]) -> FeatureDistances:
    """Measure the distances between sites, and the spread within them.

    Args:
        features: Shape (scans, features).
        sites: The site of each scan.

    Returns:
        The distances.

    Raises:
        BadDataError: If the number of sites is not that of the scans, or there is no scan.

    Examples:
        >>> found = feature_distances([[0, 0], [0, 2], [3, 1]], ["A", "A", "B"])
        >>> found.inter_site, round(found.intra_site, 3)
        (3.0, 0.667)
    """
    rows, labels = np.asarray(features, dtype=np.float64), np.asarray(sites)
    if rows.ndim != 2 or len(rows) != len(labels) or len(rows) == 0:
        raise BadDataError(f"{len(labels)} sites do not label features of shape {rows.shape}.")
    names, index = np.unique(labels, return_inverse=True)
    centroids = np.stack([rows[labels == name].mean(axis=0) for name in names])
    between = pdist(centroids)
    return FeatureDistances(
        inter_site=float(between.mean()) if between.size else float("nan"),
        intra_site=float(np.linalg.norm(rows - centroids[index], axis=1).mean()),
    )


def tsne(features: ArrayLike, *, seed: int = SEED) -> NDArray[np.float64] | None:
    """Embed features in two dimensions by t-SNE (van der Maaten & Hinton 2008), initialised by PCA.

    Args:
        features: Shape (scans, features).
        seed: Random seed of the embedding.

    Returns:
        Shape (scans, 2), or None for fewer than four scans. The perplexity is 30, or a third of the number of
        scans if they are few. Distances between clusters of the map have no meaning: read them from
        :func:`feature_distances`.
    """
    from sklearn.manifold import TSNE

    rows = np.asarray(features, dtype=np.float32)
    if len(rows) < 4:
        return None
    perplexity = min(30.0, (len(rows) - 1) / 3)
    layout = TSNE(n_components=2, perplexity=perplexity, init="pca", random_state=seed)
    return np.asarray(layout.fit_transform(rows), dtype=np.float64)
