"""Train on arrays, on a table, and on what each client has: data as they lie in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.datasets import load_wine
from sklearn.preprocessing import StandardScaler

import sglr

SETTINGS: dict[str, Any] = {"model": "mlp", "epochs": 10, "batch_size": 4, "lr": 5e-3}


def main() -> None:
    wine = load_wine(as_frame=True)
    inputs, labels = StandardScaler().fit_transform(wine.data), wine.target_names[wine.target]

    # Arrays: a fifth of the samples becomes the test part, each class in proportion.
    tell("arrays", sglr.train(dataset=(inputs, labels), clients=4, **SETTINGS))

    # A table: numbers are standardised, words become one input each.
    table = wine.data.assign(cultivar=labels)
    tell("a table", sglr.train(dataset=table, label="cultivar", clients=4, **SETTINGS))

    # One data set per client, of 20, 40 and 118 samples: each keeps what is its own.
    shares = np.split(np.random.default_rng(0).permutation(len(inputs)), [20, 60])
    owners = [(inputs[rows], labels[rows]) for rows in shares]
    tell("three owners", sglr.train(dataset=owners, **SETTINGS))


def tell(what: str, run: sglr.Run) -> None:
    assert run.summary is not None
    print(f"{what:14} {100 * run.summary['test']['accuracy']:5.1f} %   {run.path / 'report.html'}")


if __name__ == "__main__":
    main()
