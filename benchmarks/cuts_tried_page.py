"""The page with the table of cuts that were tried; what others write on it, behind a mark, stays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sglr.report.numbers import percent, size

END = "<!-- behind this line nothing is written by a program -->"


def write_page(result: Mapping[str, Any], path: Path) -> None:
    """Write the page."""
    rest = path.read_text(encoding="utf-8").partition(END)[2] if path.exists() else "\n"
    path.write_text(page(result) + END + rest, encoding="utf-8")


def page(result: Mapping[str, Any]) -> str:
    """Return the page's text."""
    failed = [cut for cut in result["cuts"] if not cut["works"]]
    told = {"networks": len({cut["model"] for cut in result["cuts"]}), **result["machine"], **result}
    return "\n".join(
        [TOP.format(**told), *_reasons(failed), *HEADINGS, *map(_row, result["cuts"]), BOTTOM.format(**told)]
    )


TOP = """# Real networks, cut

**{working} of {tried} cuts of {networks} networks work**: networks of torchvision, timm, MONAI and transformers,
each cut where its owner may want it, between layers, inside of blocks and where skip connections cross.
[Where to cut](../cutting.md) tells how.

A cut *works* if a training step goes forward through both parts, and backward to every weight that it reaches in the
whole network, and if the parts give its output **bit for bit** in evaluation mode, for batches of 2 and of 3. Weights
are new and inputs small, so that this says nothing of accuracy.
"""
HEADINGS = (
    "| network | input | cut behind | tensors | one sample | client's FLOP | |",
    "|---|---|---|---:|---:|---:|---|",
)
BOTTOM = """
*Tensors* cross the cut, *one sample* is their size without compression, *client's FLOP* its share of the operations
of a forward pass.

```sh
{command}
```

{processor}, torch {torch}, {date}; all figures are in `benchmarks/results/cuts-tried-cpu.json`.

"""


def _reasons(failed: list[Mapping[str, Any]]) -> list[str]:
    if not failed:
        return []
    told = [f"- `{cut['model']}` behind `{cut['cut']}`: {cut['problem']}." for cut in failed]
    return ["What does not work, and what is said of it:", "", *told, ""]


def _row(cut: Mapping[str, Any]) -> str:
    shape = "×".join(map(str, cut["input"]))
    tensors = cut["values"] + cut["beside"] if "values" in cut else ""
    amount = size(cut["bytes_per_sample"]) if "bytes_per_sample" in cut else ""
    share = percent(cut["client_share"], 0) if cut.get("client_share") is not None else ""
    works = "works" if cut["works"] else "refused"
    return f"| `{cut['model']}` | {shape} | `{cut['cut']}` | {tensors} | {amount} | {share} | {works} |"
