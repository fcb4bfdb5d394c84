"""Predict how a disease progresses, at five clinics, and compare it with models of all their data in one place."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.linear_model import RidgeCV
from sklearn.metrics import mean_absolute_error, r2_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

import sglr

SETTINGS: dict[str, Any] = {"task": "regression", "model": "mlp", "epochs": 10, "batch_size": 16, "lr": 1e-3}


def main() -> None:
    diabetes = load_diabetes()
    parts = train_test_split(diabetes.data, diabetes.target, test_size=0.25, random_state=1)
    known, held_out, progress, wanted = parts
    scaler = StandardScaler().fit(known)
    known, held_out = scaler.transform(known), scaler.transform(held_out)

    # On pooled data, as far as they may be pooled.
    for model in (RidgeCV(np.logspace(-1, 3, 9)), GradientBoostingRegressor(n_estimators=50, random_state=0)):
        found = model.fit(known, progress).predict(held_out)
        tell(type(model).__name__, r2_score(wanted, found), mean_absolute_error(wanted, found))

    # The loss is in standard units, which are found from the clients' data; scores are in the data's own.
    data = sglr.Dataset(
        "diabetes",
        sglr.Samples(known, progress),
        sglr.Samples(held_out, wanted),
        targets=sglr.Targets(("progression",), dtype="float32"),
    )
    central = train("the network, all data", "cl", data)
    split = train("five clinics", "sglr", data, clients=5)
    stay = train("five clinics, labels stay", "sglr", data, clients=5, tail="relu2")
    print(
        f"R² against the same network on all data: {split - central:+.3f}, with labels that stay {stay - central:+.3f}"
    )


def train(what: str, method: str, data: sglr.Dataset, **settings: Any) -> float:
    run = sglr.train(method, dataset=data, **SETTINGS, **settings)
    assert run.summary is not None
    scores = run.summary["test"]["scores"]
    tell(what, scores["r2"]["mean"], scores["mae"]["mean"])
    return float(scores["r2"]["mean"])


def tell(what: str, r2: float, error: float) -> None:
    print(f"{what:26} R² {r2:5.3f}   mean absolute error {error:4.1f}")


if __name__ == "__main__":
    main()
