"""Labels inferred from cut gradients: what they reveal to someone who does not see the labels.

Three attacks on gradients ``[n, ...]`` of one sample each: by their norm, by their direction, and by clusters of their
directions. Each is answered with its accuracy and that of guessing the most frequent label, over the same samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from sglr.core.errors import UsageError
from sglr.core.random import key
from sglr.privacy.measures.estimate import Estimate, share_estimate
from sglr.privacy.measures.roc import auc_estimate
from sglr.privacy.measures.samples import as_rows, require_as_many

LEAST = 10


@dataclass(frozen=True)
class LabelInference:
    """How often an attack names the right label.

    Parameters
    ----------
    accuracy
        The share of samples whose label it names.
    baseline
        The share of the most frequent label, which one gets right without any gradient.
    """

    accuracy: Estimate
    baseline: Estimate


def by_norm(gradients: Tensor, labels: Tensor, *, positive: int | None = None) -> LabelInference:
    """Call gradients of large norm positive (Li et al., arXiv 2102.08504, for two classes).

    A network predicts the rare class less well, so its gradients are larger. The attacker knows how many samples
    are positive, as shares of classes are rarely secret, and takes the largest; :func:`norm_auc` needs no such number.

    Parameters
    ----------
    gradients, labels
        ``[n, ...]`` and ``[n]``.
    positive
        The label whose gradients are the larger ones, against all others; the rarer of two if None.

    Raises
    ------
    UsageError
        If there are more than two classes and ``positive`` is None, or samples are unfit.
    """
    rows = _checked(gradients, labels)
    truth = labels == _positive(labels, positive)
    guessed = torch.zeros_like(truth)
    guessed[_norms(rows).topk(int(truth.sum())).indices] = True
    return _inference(guessed, truth, "gradients' norms, the share of positive samples known")


def norm_auc(gradients: Tensor, labels: Tensor, *, positive: int | None = None) -> Estimate:
    """Return the leak AUC of Li et al.: how often a positive sample's gradient is larger than a negative one's.

    0.5 is no leak. It needs no threshold. The interval is that of Hanley and McNeil (1982). Parameters and errors are
    those of :func:`by_norm`.
    """
    rows = _checked(gradients, labels)
    truth = labels == _positive(labels, positive)
    norms = _norms(rows)
    return auc_estimate(norms[truth], norms[~truth], "gradients' norms")


def by_direction(gradients: Tensor, labels: Tensor, *, seed: int) -> LabelInference:
    """Give each sample the label of the known sample whose gradient has the most similar direction.

    The attacker knows one sample of every class, drawn at random; these are not counted.

    Parameters
    ----------
    gradients, labels
        ``[n, ...]`` and ``[n]``.
    seed
        Seed of which samples are known.

    Raises
    ------
    UsageError
        If no class has a second sample, or samples are unfit.
    """
    rows = F.normalize(_checked(gradients, labels), dim=1)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(key(seed, "known samples")))
    order = order.to(labels.device)
    classes = torch.unique(labels)
    known = torch.stack([order[labels[order] == each][0] for each in classes])
    others = torch.ones(len(rows), dtype=torch.bool, device=labels.device)
    others[known] = False
    if not bool(others.any()):
        raise UsageError("labels", f"{len(classes)} classes", "each has one sample only, which is known", "give more")
    nearest = (rows[others] @ rows[known].T).argmax(1)
    return _inference(classes[nearest], labels[others], "gradients' directions, one known sample per class")


def by_clusters(gradients: Tensor, labels: Tensor, *, seed: int) -> LabelInference:
    """Cluster directions of gradients by k-means, as many clusters as classes.

    Clusters are given labels by the best one-to-one matching with the truth (Hungarian method), which is what an
    attacker reaches that learns afterwards which cluster is which.

    Parameters
    ----------
    gradients, labels
        ``[n, ...]`` and ``[n]``.
    seed
        Seed of k-means.

    Raises
    ------
    UsageError
        If samples are unfit.
    """
    from scipy.optimize import linear_sum_assignment
    from sklearn.cluster import KMeans

    rows = F.normalize(_checked(gradients, labels), dim=1)
    classes, truth = torch.unique(labels, return_inverse=True)
    # Equal directions beyond number would make fewer clusters than k-means was asked for.
    number = min(len(classes), len(torch.unique(rows, dim=0)))
    fitted = KMeans(number, n_init=4, random_state=key(seed, "clusters") % 2**32).fit(rows.cpu().numpy())
    clusters = torch.from_numpy(fitted.labels_).to(truth)
    shared = torch.zeros(number, len(classes), dtype=torch.long, device=truth.device)
    shared.index_put_((clusters, truth), torch.ones_like(truth), accumulate=True)
    found, named = (torch.from_numpy(each) for each in linear_sum_assignment(shared.cpu().numpy(), maximize=True))
    names = torch.empty(number, dtype=torch.long)
    names[found] = named
    return _inference(names.to(truth)[clusters], truth, "clusters of gradients' directions, matched with the truth")


def _checked(gradients: Tensor, labels: Tensor) -> Tensor:
    """Return gradients as rows in double precision, in which norms neither overflow nor vanish."""
    rows = as_rows("gradients", gradients, least=LEAST)
    require_as_many("labels", labels, "gradients", rows)
    if labels.dim() != 1 or labels.is_floating_point():
        raise UsageError("labels", tuple(labels.shape), "not one whole number per sample", "give labels [n]")
    if len(torch.unique(labels)) < 2:
        raise UsageError("labels", int(labels[0]), "all samples have this label", "give samples of two classes or more")
    return rows.double()


def _positive(labels: Tensor, positive: int | None) -> int:
    classes, counts = torch.unique(labels, return_counts=True)
    if positive is None and len(classes) > 2:
        problem = f"there are {len(classes)} classes, and norms tell two apart"
        raise UsageError("positive", None, problem, "name the label that is told from all others")
    if positive is not None and positive not in classes.tolist():
        raise UsageError("positive", positive, "no sample has this label", f"known: {classes.tolist()}")
    return int(classes[counts.argmin()]) if positive is None else positive


def _norms(rows: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(rows, dim=1)
    return norms


def _inference(guessed: Tensor, truth: Tensor, how: str) -> LabelInference:
    hits, most = int((guessed == truth).sum()), int(torch.unique(truth, return_counts=True)[1].max())
    name = f"label inference by {how}"
    return LabelInference(
        share_estimate(hits, len(truth), name), share_estimate(most, len(truth), "the most frequent label")
    )
