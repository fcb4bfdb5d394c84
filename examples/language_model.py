"""Train a GPT-2 of random weights on Python's own documentation: three clients keep embedding, head and labels."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from pydoc_data.topics import topics

import sglr

CONFIG = {
    "model_type": "gpt2",
    "vocab_size": 257,  # bytes, and the padding
    "n_positions": 64,
    "n_embd": 48,
    "n_layer": 3,
    "n_head": 4,
    "pad_token_id": 0,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
CHARACTERS = 60_000


def main(folder: Path, epochs: int = 4) -> None:
    (folder / "gpt2").mkdir()
    (folder / "gpt2" / "config.json").write_text(json.dumps(CONFIG))
    (folder / "topics.txt").write_text("".join(topics[name] for name in sorted(topics))[:CHARACTERS])
    run = sglr.train(
        "sglr",
        model=f"hf:{folder / 'gpt2'}",
        pretrained=False,
        task="language",
        dataset=f"text:{folder / 'topics.txt'}",
        tokenizer="bytes",
        length=64,
        cut="layer.0",
        tail="layer.1",  # the head shares the embedding's weight, so both are the client's
        clients=3,
        batch_size=8,
        lr=3e-3,
        optimizer="adam",
        epochs=epochs,
        validation=64,
        out="runs/language-model",
    )
    told = [record["validation_perplexity"] for record in run.history]
    print(f"perplexity of {CONFIG['vocab_size']} tokens after each epoch: {', '.join(f'{each:.1f}' for each in told)}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        main(Path(place), *map(int, sys.argv[1:]))
