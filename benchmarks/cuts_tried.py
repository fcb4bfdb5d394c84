"""Cuts of real networks, tried: a training step of the parts, and their output compared with the whole network's.

A cut works if the loss goes backward through both parts to every weight that it reaches in the whole network, and if
the parts give the output of the whole network bit for bit in evaluation mode. Weights are new, inputs are small.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cuts_tried_networks import CUTS, Network
from cuts_tried_page import write_page
from record import machine, write_result
from sglr.core.errors import UsageError
from sglr.cost.computation import segment_flops
from sglr.splitting import Split, crossing_of, split

NEVER = "not reached by gradients: "


def tried(network: Network, cut: str) -> dict[str, Any]:
    """Try one cut; return what became of it."""
    began = time.perf_counter()
    entry: dict[str, Any] = {"model": network.name, "input": [*network.shape], "cut": cut}
    torch.manual_seed(0)
    try:
        model = network.build().eval()
        example = network.example(2)
        parts = split(model, cut, example)
        entry |= figures(model, parts, example)
        problem = different(model, parts, network.example) or untrained(model, parts, example)
    except UsageError as error:
        problem = f"{error.problem}; {error.remedy}"
    except Exception as error:  # whatever a network raises is the result
        problem = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return entry | {"works": not problem, "problem": problem, "seconds": round(time.perf_counter() - began, 1)}


def figures(model: nn.Module, parts: Split, example: Tensor) -> dict[str, Any]:
    """Return what crosses, its bytes for one sample, and the client's share of the network's operations."""
    with torch.no_grad():
        smashed = parts.lower(example)
    crossing = crossing_of(parts.lower)
    inputs, dtype = tuple(example.shape[1:]), example.dtype
    client = segment_flops(parts.lower, inputs, dtype=dtype).forward
    whole = segment_flops(model, inputs, dtype=dtype).forward
    return {
        "values": 1 if crossing is None else len(crossing.learned),
        "beside": 0 if crossing is None else len(crossing.beside),
        "bytes_per_sample": smashed[0].numel() * smashed.element_size(),
        "client_share": round(client / whole, 3) if whole else None,
    }


def different(model: nn.Module, parts: Split, draw: Callable[[int], Tensor]) -> str:
    """Return what is wrong with the parts' output in evaluation mode."""
    for batch in (2, 3):
        inputs = draw(batch)
        with torch.no_grad():
            whole, both = model.eval()(inputs), parts.upper.eval()(parts.lower.eval()(inputs))
        whole = whole if isinstance(whole, Tensor) else next(iter(output_of(whole)))
        if not torch.equal(whole, both):
            return f"differs from the whole network by {float((whole - both).abs().max()):.1e}"
    return ""


def output_of(values: Any) -> list[Tensor]:
    """Return a network's output where it returns several values."""
    return [values[name] for name in ("logits", "out") if name in values] if hasattr(values, "keys") else [*values]


def untrained(model: nn.Module, parts: Split, example: Tensor) -> str:
    """Take a training step with the parts; return what of it is wrong."""
    parts.lower.train()
    parts.upper.train()
    weights = [*parts.lower.parameters(), *parts.upper.parameters()]
    trained = [weight for weight in weights if weight.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.01)
    smashed = parts.lower(example)
    arrived = smashed.detach().requires_grad_()
    output = parts.upper(arrived)
    output.float().square().mean().backward()
    smashed.backward(arrived.grad)
    optimizer.step()
    if not all(bool(torch.isfinite(weight).all()) for weight in trained):
        return "weights are not finite after a step"
    whole = model.train()(example)
    (whole if isinstance(whole, Tensor) else output_of(whole)[0]).float().square().mean().backward()
    wanted = {name for name, weight in model.named_parameters() if weight.grad is not None}
    named = [*parts.lower.named_parameters(), *parts.upper.named_parameters()]
    without = [name for name, weight in named if weight.grad is None and name.replace("segment.", "") in wanted]
    return f"{NEVER}{', '.join(without[:3])}" if without else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="networks whose name has this in it")
    parser.add_argument("--write", action="store_true", help="keep the result, and write the page's table")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    found = []
    for network, cut in CUTS:
        if arguments.only in network.name:
            found.append(tried(network, cut))
            said = "works" if found[-1]["works"] else found[-1]["problem"]
            print(f"{found[-1]['seconds']:6.1f} s  {network.name}  {cut}: {said}", flush=True)
    working = sum(entry["works"] for entry in found)
    print(f"{working} of {len(found)} cuts work")
    if arguments.write:
        result = {
            "machine": machine(),
            "command": "python benchmarks/cuts_tried.py --write",
            "working": working,
            "tried": len(found),
            "cuts": [{key: value for key, value in entry.items() if key != "seconds"} for entry in found],
        }
        write_result("cuts-tried", "cpu", result, keep=True)
        write_page(result, Path(__file__).parent.parent / "docs" / "results" / "real-models.md")


if __name__ == "__main__":
    main()
