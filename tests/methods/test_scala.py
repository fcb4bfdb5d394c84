"""SCALA is SplitFed with the pair of priors; the pair itself is worked out by hand where the server is tested."""

from __future__ import annotations

import sglr
from sglr.methods.scala import SCALA

SETTINGS = {"dataset": "digits", "clients": 3, "samples_per_client": 32, "epochs": 2, "model": "mlp", "threads": 1}


def test_it_is_splitfed_with_the_pooled_prior() -> None:
    scala = sglr.train("scala", **SETTINGS)
    assert scala.experiment.label_prior == "pooled"
    same = sglr.train("sfl", label_prior="pooled", batching=scala.experiment.batching, **SETTINGS)
    assert scala.summary["weights_sha256"] == same.summary["weights_sha256"]
    assert sglr.train(SCALA(), **SETTINGS).summary["weights_sha256"] == same.summary["weights_sha256"]


def test_the_pair_is_neither_of_its_halves() -> None:
    hashes = {
        sglr.train("sfl", label_prior=one, batching="proportional", **SETTINGS).summary["weights_sha256"]
        for one in ("ignore", "own")
    }
    assert sglr.train("scala", **SETTINGS).summary["weights_sha256"] not in hashes
