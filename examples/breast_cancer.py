"""Tell benign from malignant tumours at three hospitals: AUROC with its interval, and a threshold."""

from __future__ import annotations

from typing import Any

import torch
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

import sglr

SETTINGS: dict[str, Any] = {"task": "binary", "positive_weight": "balanced", "model": "mlp", "epochs": 8, "lr": 1e-3}


def main() -> None:
    cancer = load_breast_cancer()
    # What is looked for is positive: the second class.
    known, held_out, labels, wanted = train_test_split(
        cancer.data, 1 - cancer.target, test_size=0.3, random_state=0, stratify=cancer.target
    )
    scaler = StandardScaler().fit(known)
    data = sglr.Dataset(
        "breast-cancer",
        part(scaler.transform(known), labels),
        part(scaler.transform(held_out), wanted),
        classes=("benign", "malignant"),
    )

    central = train("the network, all data", "cl", data)
    split = train("three hospitals", "sglr", data, clients=3)
    stay = train("labels stay", "sglr", data, clients=3, tail="relu2")
    print(f"against the same network on all data: {split - central:+.4f}, with labels that stay {stay - central:+.4f}")


def part(inputs: Any, labels: Any) -> sglr.Samples:
    return sglr.Samples(torch.as_tensor(inputs, dtype=torch.float32), torch.as_tensor(labels))


def train(what: str, method: str, data: sglr.Dataset, **settings: Any) -> float:
    run = sglr.train(method, dataset=data, **SETTINGS, **settings)
    assert run.summary is not None
    test = run.summary["test"]
    auroc, sites = test["scores"]["auroc"], ", ".join(f"{one:.3f}" for one in test["per_client"]["auroc"])
    print(f"{what:22} AUROC {auroc['mean']:.3f} ({auroc['low']:.3f} to {auroc['high']:.3f}; each: {sites})")
    recall, specificity = (test["scores"][name]["mean"] for name in ("recall", "specificity"))
    print(
        f"{'':22} called malignant from {test['threshold']:.2f} on: recall {recall:.3f}, specificity {specificity:.3f}"
    )
    return float(auroc["mean"])


if __name__ == "__main__":
    main()
