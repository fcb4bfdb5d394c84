"""What a server states is bounded by what a site has before anything of that size is read or made."""

from __future__ import annotations

import dataclasses
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sglr.core.errors import UsageError
from sglr.core.task import Targets
from sglr.data.partitioners.resample import Resample
from sglr.data.tables.schema import Schema
from sglr.engines.remote.run_description import RunDescription
from sglr.runs.config import Experiment
from sglr.sites.bounds import MOST_ENLARGED, refuse_enlargement, refuse_model_beyond_memory
from sglr.sites.doctor import values_per_step
from sglr.sites.own_data import Source, WantedData, load_own
from sglr.system.machine import memory_of, refuse_beyond_memory

AB = Targets.of_classes(("a", "b"))
PLENTY = 1 << 50  # bytes


def pictures(folder: Path, number: int = 30, size: int = 8, names: str = "ab") -> Path:
    rng = np.random.default_rng(0)
    for name in names:
        (folder / name).mkdir(parents=True)
        for place in range(number):
            values = rng.integers(0, 255, (size, size), dtype=np.uint8)
            Image.fromarray(values).save(folder / name / f"{place}.png")
    return folder


def wanted(*shape: int, classes: tuple[str, ...] = ("a", "b"), **settings: Any) -> WantedData:
    return WantedData(2, shape, Targets.of_classes(classes), settings)


def test_pictures_are_not_enlarged_out_of_proportion(tmp_path: Path) -> None:
    root = pictures(tmp_path, 2)
    refuse_enlargement(root, 8 * MOST_ENLARGED)
    with pytest.raises(UsageError, match=r"input_shape = 8192 x 8192: the largest picture of .* has 8 pixels a side"):
        load_own(Source(root), wanted(1, 8192, 8192), [0])
    Image.new("L", (256, 1)).save(tmp_path / "b" / "one large.png")
    refuse_enlargement(root, 8192)


def test_a_size_of_the_sites_own_choice_is_bounded_by_its_memory(tmp_path: Path) -> None:
    source = Source(pictures(tmp_path, 2), parameters={"image_size": 1 << 22})
    with pytest.raises(UsageError, match=r"image_size = 4194304: 4 pictures of 4194304 x 4194304 pixels would need"):
        load_own(source, wanted(1, 1 << 22, 1 << 22), [0])


def test_a_named_data_set_is_not_resized_beyond_memory() -> None:
    source = Source(dataset="digits", share=(0, 2))
    with pytest.raises(UsageError, match=r"image_size = 1048576: .* images of 1048576 x 1048576 pixels would need"):
        load_own(source, wanted(1, 1 << 20, 1 << 20, image_size=1 << 20), [0])


def test_names_of_classes_lead_to_no_other_folder(tmp_path: Path) -> None:
    root = pictures(tmp_path / "shared")
    secret = pictures(tmp_path / "secret", names="x") / "x"
    classes = ("a", "b", "../../secret/x", "../secret/x", str(secret), ".", "a/../b")
    own = load_own(Source(root), wanted(1, 8, 8, classes=classes), [0])[0]
    found = {int(label) for part in (own.train, *own.held.values()) for label in part.targets}
    assert found == {0, 1}


def test_categories_without_number_are_refused_before_inputs_are_made(tmp_path: Path) -> None:
    rows = 20_000
    column = {"name": "town", "type": "category", "categories": [f"{number:x}" for number in range(100_000)]}
    schema = {"kind": "table", "label": {"name": "y", "classes": ["no", "yes"]}, "columns": [column]}
    table = tmp_path / "own.csv"
    table.write_text("town,y\n" + "".join(f"{row % 7},{'yes' if row % 2 else 'no'}\n" for row in range(rows)))
    run = WantedData(2, (100_000,), Targets.of_classes(("no", "yes")), {}, schema)
    before = resource.getrlimit(resource.RLIMIT_AS)
    assert Schema.from_json(schema)  # in linear time
    resource.setrlimit(resource.RLIMIT_AS, (before[0] if 0 < before[0] < PLENTY else 30 << 30, before[1]))
    try:
        with pytest.raises(
            UsageError, match=r"column = town: 20000 rows of .* with 100000 inputs each would need 40.0"
        ):
            load_own(Source(table), run, [0])
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.slow
def test_a_model_for_stated_inputs_is_bounded_by_the_memory() -> None:
    told = RunDescription("run", {}, 2, (1, 1 << 13, 1 << 13), AB, (3,), "segment")
    for model, much in (("mlp", (1, 1 << 13, 1 << 13)), ("cnn", (1, 1 << 18, 1 << 18))):
        stated = dataclasses.replace(told, input_shape=much)
        with pytest.raises(UsageError, match=f"model {model} for 2 classes would need"):
            refuse_model_beyond_memory(Experiment.from_flat({"model": model}), stated)
    refuse_model_beyond_memory(Experiment.from_flat({"model": "mlp"}), dataclasses.replace(told, input_shape=(1, 8, 8)))


@pytest.mark.parametrize(("batch", "values"), [(8, 24), ("8", None), (-8, None), (10**400, None), (None, None)])
def test_the_doctor_reckons_with_no_batch_that_can_not_be(batch: Any, values: int | None) -> None:
    told = RunDescription("run", {"batch_size": batch}, 2, (4,), AB, (3,), "segment")
    assert values_per_step(told) == values


@pytest.mark.parametrize(
    ("batching", "values"), [("global", 24), ("global:20", 30), ("proportional:1", 3), ("os:system", 24), (7, 24)]
)
def test_the_doctor_reckons_with_a_share_of_the_samples_of_a_step(batching: Any, values: int) -> None:
    told = RunDescription("run", {"batch_size": 8, "batching": batching}, 2, (4,), AB, (3,), "segment")
    assert values_per_step(told) == values


def test_clients_without_number_draw_no_samples() -> None:
    class Many:
        def __len__(self) -> int:
            return 10**9

    with pytest.raises(UsageError, match="draws = 1000000000: 100000 clients that draw"):
        Resample(10**9).partition(Many(), 10**5, 0)  # type: ignore[arg-type]


def test_memory_is_what_a_limit_leaves() -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    import torch

    cpu = torch.device("cpu")
    try:
        resource.setrlimit(resource.RLIMIT_AS, (64 << 30, before[1]))
        assert memory_of(cpu) < 64 << 30
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    with pytest.raises(UsageError, match=r"x = 1: it would need 1,000,.* GB"):
        refuse_beyond_memory(10**400, "x", 1, "it", "give less")


CHILD = """
import json, resource, sys
from pathlib import Path
from sglr.core.errors import SglrError
from sglr.core.task import Targets
from sglr.engines.remote.run_description import RunDescription
from sglr.sites.own_data import Source
from sglr.sites.build_client import SiteConfig, make_trainers

own = SiteConfig(Source(Path(sys.argv[1])), device="cpu")
told, extremes = json.loads(sys.stdin.read())
make_trainers(RunDescription.decode(json.dumps(told).encode()), [0], own)
pages = int(Path("/proc/self/statm").read_text().split()[0])
most = pages * resource.getpagesize() + (1 << 30)
resource.setrlimit(resource.RLIMIT_AS, (most, most))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for name, values in extremes.items():
    for value in values:
        changed = {**told, name: value} if name in told else {**told, "settings": {**told["settings"], name: value}}
        try:
            make_trainers(RunDescription.decode(json.dumps(changed).encode()), [0], own)
        except SglrError as error:
            print(name, str(value)[:20], str(error)[:200])
        else:
            print(name, str(value)[:20], "taken")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""

HUGE = [2**63, 10**30, float("nan"), "9" * 4000]
SETTINGS = (
    *("batch_size", "samples_per_client", "validation", "test_samples", "clip_norm", "seed", "cut", "optimizer"),
    *("defence", "compression", "pixel_range"),
)
EXTREMES: dict[str, list[Any]] = {
    "input_shape": [[1, 8192, 8192], [3, 4096, 4096], [1 << 26], [1] * 8, [8192, 8192, 1]],
    "cut_shape": [[1, 8192, 8192], [1 << 26]],
    "clients": [10**5, 10**6, 10**30],
    "targets": [
        {"names": [f"{n}" for n in range(5_000)], "shape": [], "dtype": "int64", "classes": 5_000},
        {"names": [""] * 5_000, "shape": [], "dtype": "int64", "classes": 5_000},
        {"names": [], "shape": [1 << 13, 1 << 13], "dtype": "int64", "classes": 1 << 20},
        {"names": [], "shape": [1 << 26], "dtype": "float32", "classes": 0},
    ],
    "encoding": [{"kind": "table", "columns": ["x" * 1000] * 1000}],
    **dict.fromkeys(SETTINGS, HUGE),
}


@pytest.mark.slow
def test_whatever_is_stated_costs_no_memory_and_ends_in_plain_words(tmp_path: Path) -> None:
    """A child process that may use 1 GiB more than a client has after it began; 60 pictures of 8 x 8."""
    from .handmade import honest

    root = pictures(tmp_path / "own")
    told = json.loads(dataclasses.replace(honest({"model": "mlp", "cut": None}), targets=AB).encode())
    given = json.dumps([told, EXTREMES])
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(root)], input=given, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    *lines, grown = done.stdout.splitlines()
    assert len(lines) == sum(map(len, EXTREMES.values()))
    assert "the largest picture of" in lines[0]
    assert int(grown) < 200 << 20
