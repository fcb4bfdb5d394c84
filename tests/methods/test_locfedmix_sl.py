"""LocFedMix-SL: a step by hand, of the server, the client and its decoder."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import sglr
from sglr.core.errors import UsageError
from sglr.core.random import generator
from sglr.methods.locfedmix_sl import LocFedMixSL
from sglr.methods.mix2sfl import Mix2SFL
from sglr.splitting.decoders import build_decoder

RATE = 0.5
DECODER = np.array([[0.5, -0.25], [0.125, 1.0]])


def decoder() -> nn.Linear:
    layer = nn.Linear(2, 2, bias=False)
    layer.weight = nn.Parameter(torch.tensor(DECODER, dtype=torch.float32))
    return layer


@pytest.mark.parametrize("sizes", [(2, 2, 2), (2, 3, 1)], ids=str)
@pytest.mark.parametrize("stacking", ["stacked", "looped"])
@pytest.mark.parametrize("weight", [0.0, 0.75])
def test_clients_step_on_what_they_are_told_and_on_their_decoders_loss(
    problem, context, close, sizes, stacking: str, weight: float
) -> None:
    p = problem(sizes, same=True)  # so that the order of a batch's samples does not matter
    p.w_c = [p.w_c[0]] * 3
    trainer = p.build(LocFedMixSL(0.4, weight), rate=RATE, stacking=stacking, head=decoder()).build()
    told = Mix2SFL(0.4, phi=0.0)
    server = p.server()
    at = replace(context(rate=RATE), rng=generator(0, "step", 0, 0, 0))
    cut = told.exchange(server, p.uplink(), at).gradients.double().numpy()
    trainer.run()
    close(trainer.server.segment.weight, server.segment.weight.detach().numpy())
    segments = []
    found = trainer.engine.collect((0, 1, 2))
    for i, size in enumerate(sizes):
        s = p.x[i] @ p.w_c[i].T
        apart = s @ DECODER.T - p.x[i]
        by_decoded = weight * 2 * apart / apart.size
        close(found["head.weight"][i], DECODER - RATE * by_decoded.T @ s)
        by_smashed = cut[i, :size] + by_decoded @ DECODER
        segments.append(p.w_c[i] - RATE * by_smashed.T @ p.x[i])
    mean = sum(share * own for share, own in zip(p.shares, segments, strict=True))
    close(trainer.shared["lower.weight"], mean)
    assert set(trainer.shared) == {"lower.weight"}


@pytest.mark.parametrize(
    ("cut", "inputs"), [((4, 3, 3), (1, 7, 5)), ((6,), (9,)), ((5,), (3, 8, 8)), ((2, 4, 4, 4), (1, 8, 8, 8))]
)
def test_a_decoder_leads_from_smashed_data_to_inputs(cut: tuple[int, ...], inputs: tuple[int, ...]) -> None:
    assert build_decoder(cut, inputs, 0)(torch.randn(2, *cut)).shape == (2, *inputs)


def run(out: Any, **settings: Any) -> Any:
    chosen = {"dataset": "digits", "clients": 3, "samples_per_client": 60, "epochs": 3, "threads": 1, **settings}
    return sglr.train(settings.pop("method", LocFedMixSL()), out=out, **chosen)


def test_a_run_learns_to_decode_and_its_network_is_read_again(tmp_path) -> None:
    done = run(tmp_path / "run")
    assert done.summary["test"]["accuracy"] > 0.2
    assert len(done.predict(np.zeros((2, 1, 8, 8), dtype=np.float32))) == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tail": "relu2"}, "^tail = relu2"),
        ({"head": "linear"}, "^head = linear: clients of method locfedmix-sl have no head"),
    ],
)
def test_refuses_what_contradicts_it(tmp_path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        sglr.train("locfedmix-sl", dataset="digits", clients=3, epochs=1, out=tmp_path / "run", **settings)


@pytest.mark.parametrize(
    ("options", "field"),
    [({"beta": -1.0}, "beta"), ({"reconstruction": -1.0}, "reconstruction"), ({"reconstruction": float("inf")}, "rec")],
)
def test_refuses_parameters_that_make_no_sense(options, field: str) -> None:
    with pytest.raises(UsageError, match=f"^{field}"):
        LocFedMixSL(**options)
