"""The model card, ``MODEL.md``: what the network does, how it was trained, how good it is, what leaks, how to load it.

Data are told by counts only: no sample, no path, no text of a sample.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sglr.core.errors import printable
from sglr.exporting.exporter import INPUTS, Loadable
from sglr.exporting.metadata import network_facts
from sglr.inference.network import TrainedNetwork
from sglr.report import numbers
from sglr.report.batch_words import batch_words
from sglr.report.leakage import attack_row, conditions, measure_rows, read_leakage
from sglr.report.score_style import headline, style, test_score
from sglr.runs.folder import Run
from sglr.storage.files import write_text
from sglr.version import __version__

if TYPE_CHECKING:
    from huggingface_hub import ModelCardData

    from sglr.exporting.export import ExportedFile

CARD = "MODEL.md"
"""The file's name."""

MOST_ROWS = 50
"""Classes and clients that are told one by one, at most."""

PIPELINES = {
    ("classification", 3): "image-classification",
    ("classification", 1): "tabular-classification",
    ("binary", 1): "tabular-classification",
    ("regression", 1): "tabular-regression",
    ("segmentation", 3): "image-segmentation",
    ("language", 1): "text-generation",
}
"""The hub's name of what a network does, by the task and the dimensions of an input."""

CITATION = """```bibtex
@article{pal2021sglr,
  title   = {Server-Side Local Gradient Averaging and Learning Rate Acceleration for Scalable Split Learning},
  author  = {Pal, Shraman and Uniyal, Mansi and Park, Jihong and Vepakomma, Praneeth and Raskar, Ramesh and
             Bennis, Mehdi and Jeon, Moongu and Choi, Jinho},
  journal = {arXiv preprint arXiv:2112.05929},
  year    = {2021}
}
```"""


def write_card(
    path: Path, network: TrainedNetwork, exporter: Loadable, form: str, files: Sequence[ExportedFile]
) -> None:
    """Write the card of an export."""
    facts, run = network_facts(network), network.run
    summary = run.summary or {}
    sections = {
        "What it does": _purpose(network, facts),
        "Files": _files(files),
        "How to load it": _loading(exporter, files),
        "Data": _data(run, facts, summary),
        "How it was trained": _training(facts, summary, network),
        "Metrics": _metrics(summary),
        "What leaks": _leakage(run, summary),
        "Limits and intended use": _limits(network, summary),
        "Versions": _versions(summary),
        "Citation": CITATION,
    }
    title = f"# {_plain(facts['model'])}, trained by {_plain(facts['method']['name'])} on {_plain(facts['dataset'])}"
    body = "\n\n".join([title, *(f"## {heading}\n\n{text}" for heading, text in sections.items())])
    write_text(path, f"---\n{_header(network, facts, summary, form).to_yaml()}\n---\n\n{body}\n", durable=False)


def _header(network: TrainedNetwork, facts: Mapping[str, Any], summary: Mapping[str, Any], form: str) -> ModelCardData:
    """Return the header that the hub reads."""
    from huggingface_hub import EvalResult, ModelCardData

    test, task = summary.get("test") or {}, facts["task"]["name"]
    pipeline = PIPELINES.get((task, len(network.record.input_shape)))
    kind = "text-classification" if pipeline and network.record.encoding.get("kind") == "text" else pipeline
    pipeline = kind if task == "classification" else pipeline
    results = [
        EvalResult(pipeline or task, facts["dataset"], facts["dataset"], name, score["mean"], dataset_split="test")
        for name, score in (test.get("scores") or {}).items()
        if score["mean"] is not None
    ]
    return ModelCardData(
        library_name="sglr",
        model_name=facts["model"] if results else None,
        pipeline_tag=pipeline,
        tags=["split-learning", "sglr", facts["method"]["name"], form],
        eval_results=results or None,
    )


def _purpose(network: TrainedNetwork, facts: Mapping[str, Any]) -> str:
    record, targets = network.record, network.targets
    shape = " x ".join(map(str, record.input_shape))
    cut = (
        "Clients held the whole network."
        if facts["cut"] is None
        else f"Clients held the layers up to `{facts['cut']}`, a server those behind it"
        + ("." if facts["tail"] is None else f" up to `{facts['tail']}`; the rest stayed with the clients.")
    )
    return (
        f"The task is {facts['task']['name']}: targets are {targets.describe()}. It reads inputs of shape {shape} "
        f"({record.dtype}), with the batch as first dimension. {cut} The lower layers here: {network.whose}."
    )


def _files(files: Iterable[ExportedFile]) -> str:
    rows = [
        (
            f"`{file.name}`",
            file.metadata["segment"]
            + ("" if file.metadata["client"] is None else f" (client {file.metadata['client']})"),
            f"{file.metadata['input']['what']} to {file.metadata['output']['what']}",
            numbers.size(file.bytes),
            f"{file.compared.difference:.1e}",
        )
        for file in files
    ]
    after = (
        "Each file was run in its format's own runtime and compared with the trained network; the last column is the "
        "largest difference of an output. What is needed to make inputs (`preprocessing`) and to read outputs "
        "(`targets`) is in the metadata of each file and in `export.json`."
    )
    return f"{_table(('file', 'part', 'from and to', 'size', 'difference'), rows)}\n\n{after}"


def _loading(exporter: Loadable, files: Sequence[ExportedFile]) -> str:
    first = next((file for file in files if file.metadata["segment"] == "joined"), files[0])
    several = first.metadata.get(INPUTS)
    before = f"`inputs` is an array of {_array(first.metadata['input'], first.metadata['input']['shape'][1:])}:"
    if several:
        named = ", ".join(f"`{each['name']}` {_array(each, each['shape'])}" for each in several)
        before = f"`inputs` is a list of arrays, in this order: {named}:"
    most = "" if exporter.most_batch is None else f"\n\nA call takes at most {exporter.most_batch} samples."
    code = exporter.loading(first.name, several=True) if several else exporter.loading(first.name)
    return f"{before}\n\n```python\n{code}```{most}"


def _array(about: Mapping[str, Any], shape: Sequence[int]) -> str:
    return f"{about['dtype']}, [{', '.join(['batch', *map(str, shape)])}]"


def _data(run: Run, facts: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    lines = [f"{_plain(facts['dataset'])}, divided among {facts['clients']:,} clients ({run.experiment.partition})."]
    by_class = (summary.get("test") or {}).get("per_class") or []
    counted = [(_plain(row["name"]), f"{row['support']:,}") for row in by_class if "support" in row]
    if counted:
        total = sum(row["support"] for row in by_class if "support" in row)
        lines[0] += f" Test samples: {total:,}."
        if len(counted) <= MOST_ROWS:
            lines.append(_table(("class", "test samples"), counted))
    return "\n\n".join([*lines, "Inputs stayed with the clients. No sample is in this folder."])


def _training(facts: Mapping[str, Any], summary: Mapping[str, Any], network: TrainedNetwork) -> str:
    experiment = network.run.experiment
    told = {
        "method": _with_options(facts["method"]),
        "clients": f"{experiment.clients:,}",
        "epochs": f"{summary.get('epochs_done', len(network.run.history)):,} of {experiment.epochs:,}",
        "samples": batch_words(experiment.flat()),
        "optimizer": f"{experiment.optimizer}, learning rate {experiment.lr:g}",
        "compression at the cut": experiment.compression,
        "defences": experiment.defence,
        "seed": str(experiment.seed),
        "weights (SHA-256)": summary.get("weights_sha256") or "the run is not finished",
    }
    return _table(("setting", "value"), [(name, _plain(value)) for name, value in told.items()])


def _with_options(method: Mapping[str, Any]) -> str:
    options = ", ".join(f"{name}={value}" for name, value in method.items() if name != "name")
    return f"{method['name']} ({options})" if options else str(method["name"])


def _metrics(summary: Mapping[str, Any]) -> str:
    test = summary.get("test")
    if not test:
        return "The run is not finished, and its network was not tested."
    main = headline(test)
    names = list(test.get("scores") or {main.name: None})
    rows = []
    for name in names:
        kind, score = main if name == main.name else style(name, unit=main.unit), test_score(test, name)
        spread = kind.spread(score["std_over_clients"]) or numbers.NONE
        rows.append((kind.title, kind.write(score["mean"]), spread, kind.interval(score["low"], score["high"])))
    each = (test.get("per_client") or {}).get(main.name) or []
    by_client = [(str(client), main.write(value)) for client, value in enumerate(each)]
    shown = 1 < len(by_client) <= MOST_ROWS
    parts = [
        f"On test samples, with the weights of epoch {test.get('epoch', numbers.NONE)}; means over clients:",
        _table(("score", "mean", "spread over clients", "95 % interval"), rows),
        *([_table(("client", main.title), by_client)] if shown else []),
    ]
    return "\n\n".join(parts)


def _leakage(run: Run, summary: Mapping[str, Any]) -> str:
    record = read_leakage(run.path)
    parts = ["Activations that cross the cut can tell of inputs, and gradients of labels."]
    measures = measure_rows(record.get("leakage", {}))
    if measures:
        rows = [(row["name"], row["figure"], row["interval"], row["baseline"], row["meaning"]) for row in measures]
        parts.append(_table(("measure", "figure", "95 % interval", "seeing nothing", "how to read it"), rows))
        parts.append(conditions(record.get("conditions", {})))
    attacks = [attack_row(attack) for attack in record.get("attacks", [])]
    if attacks:
        rows = [(row["attack"], row["attacker"], row["measure"], row["score"], row["baseline"]) for row in attacks]
        parts.append(_table(("attack", "by the", "score is", "score", "seeing nothing"), rows))
    if not measures and not attacks:
        parts[0] += " How much was not measured for this network (`sglr leak` does)."
    statement = (summary.get("defences") or {}).get("statement")
    return "\n\n".join([*parts, *([_plain(statement)] if statement else [])])


def _limits(network: TrainedNetwork, summary: Mapping[str, Any]) -> str:
    test = summary.get("test") or {}
    each = [value for value in (test.get("per_client") or {}).get(test.get("headline")) or [] if value is not None]
    kind = headline(test)
    spread = (
        f"- Clients differ: from {kind.write(kind.worst(each))} to {kind.write(kind.best(each))}."
        if len(each) > 1
        else "- No spread over clients was measured."
    )
    lines = [
        "- For inputs made as `preprocessing` tells, from sources like those that it was trained on; other inputs get "
        "an answer too, without a warning.",
        "- How good it is on data of other sources, and for single groups of people, was not measured.",
        spread,
        "- Scores are those of the network as trained; probabilities were not calibrated by sglr.",
    ]
    if len(network.segments) > 1:
        lines.append(
            "- The joined network is the mean of all clients' outputs; scores above are means of single clients'."
        )
    return "\n".join(lines)


def _versions(summary: Mapping[str, Any]) -> str:
    trained = {name: text for name, text in (summary.get("versions") or {}).items() if name != "platform"}
    told = ", ".join(f"{name} {text}" for name, text in trained.items()) or "not known"
    return f"Trained with {_plain(told)}; exported with sglr {__version__}."


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _plain(text: object) -> str:
    """Return a text of the run's folder as one that Markdown shows as it is, in one line."""
    shown = printable(" ".join(str(text).split()))
    return "".join(f"\\{letter}" if letter in "\\|`*_<>[]#" else letter for letter in shown)
