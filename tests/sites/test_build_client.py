"""What a server says never chooses code, files or devices; and where a client keeps what it has."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sglr.assembly.build import build
from sglr.core.errors import UsageError
from sglr.core.task import Targets
from sglr.engines.remote.run_description import RunDescription
from sglr.engines.remote.segment_hash import segment_hash, shape_at_cut
from sglr.engines.remote.trust.authority import Authority
from sglr.runs.config import Experiment
from sglr.sites.build_client import SiteConfig, make_trainers, own_experiment, own_segments
from sglr.sites.join import SITES, folders
from sglr.sites.own_data import Source

SETTINGS = {"clients": 3, "model": "mlp", "samples_per_client": 17, "batch_size": 4, "device": "cpu"}
OWN = SiteConfig(Source(dataset="digits"), device="cpu")


def description(**changes: Any) -> RunDescription:
    """Return what an honest server of these settings tells, with some of them changed."""
    experiment = Experiment.from_flat(SETTINGS)
    first = build(experiment).lower(0)
    cut = shape_at_cut(first, (1, 8, 8))
    told = {**experiment.flat(), **changes}
    return RunDescription(
        "run", told, 3, (1, 8, 8), Targets.of_classes(tuple("0123456789")), cut, segment_hash(first, (1, 8, 8), cut)
    )


def test_a_client_has_its_segment_and_data_of_the_simulation():
    built = build(Experiment.from_flat(SETTINGS))
    for client, trainer in zip((0, 2), make_trainers(description(), [0, 2], OWN), strict=True):
        assert torch.equal(trainer.job.train.inputs, built.data.train.inputs[built.data.indices[client]])
        expected = built.lower(client).state_dict()
        assert all(torch.equal(value, expected[name]) for name, value in trainer.job.segment.state_dict().items())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model": "os:system"}, "code that this site has not chosen; look at that code, then give --model os:system"),
        ({"task": "os:system"}, "code that this site has not chosen; look at that code, then give --task os:system"),
        ({"task": "nonsense"}, "code that this site has not chosen"),
        ({"model": None}, "code that this site has not chosen"),
        ({"method": "os:system"}, "the server names a method that is not installed here"),
        ({"partition": "x:y"}, "the server names a partition that is not installed here"),
        ({"optimizer": "os.system"}, "optimizer = os.system"),
        ({"loss": "exec"}, "loss = exec"),
        ({"compression": "pickle"}, "compression = pickle"),
        ({"batch_size": "many"}, "batch_size = many"),
        ({"cut": "nowhere"}, "cut = nowhere"),
    ],
)
def test_what_is_told_is_checked_and_chooses_no_code(changes, told):
    with pytest.raises(UsageError) as raised:
        make_trainers(description(**changes), [0], OWN)
    assert told in str(raised.value)


def test_what_is_this_sites_own_affair_is_not_taken_from_the_server():
    told = description(
        data_dir="/etc", device="cuda", threads=999, energy=True, energy_profile="/etc/passwd", dataset="folder:/etc"
    )
    experiment = own_experiment(told, None)
    assert (experiment.data_dir, experiment.threads, experiment.energy) == (None, None, False)
    assert (experiment.device, experiment.dataset) == ("auto", "sites")


def test_other_code_than_the_servers_is_refused():
    with pytest.raises(UsageError, match="differs from the server's; its cut has shape"):
        own_segments(description(), own_experiment(description(model="cnn"), None))
    honest = description()
    told = RunDescription(**{**vars(honest), "segment": "0" * 64})
    with pytest.raises(UsageError, match="differs from the server's; use the same code"):
        own_segments(told, own_experiment(told, None))


def test_networks_of_installed_libraries_are_no_code_of_the_server_s():
    assert own_experiment(description(model="torchvision:resnet18"), None).model == "torchvision:resnet18"
    with pytest.raises(UsageError, match="code that this site has not chosen"):
        own_experiment(description(model="torchvision.models:resnet18"), None)


def test_a_model_of_ones_own_is_the_one_that_the_site_names(tmp_path, monkeypatch):
    (tmp_path / "site_model.py").write_text(
        "from torch import nn\n\n\ndef make(input_shape, classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.Linear(5, classes))\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    told = description(model="server_model:make", cut=2)
    experiment = own_experiment(told, "site_model:make")
    assert experiment.model == "site_model:make"
    with pytest.raises(UsageError, match="differs from the server's"):
        own_segments(told, experiment)


def test_a_task_of_ones_own_is_the_one_that_the_site_names(tmp_path, monkeypatch):
    (tmp_path / "site_task.py").write_text(
        "from sglr.tasks.classification import Classification\n\n\nclass Mine(Classification):\n    pass\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    told = description(task="server_task:Mine")
    with pytest.raises(UsageError, match="then give --task server_task:Mine"):
        make_trainers(told, [0], OWN)
    (trainer,) = make_trainers(told, [0], replace(OWN, task="site_task:Mine"))
    assert type(trainer.job.task).__name__ == "Mine"
    with pytest.raises(UsageError, match="these are numbers of classes"):
        make_trainers(description(task="regression", loss="mse"), [0], OWN)


def test_a_batch_of_one_sample_joins_the_one_before_if_the_server_says_so():
    for least, counts in ((1, [4, 4, 4, 4, 1]), (2, [4, 4, 4, 5])):
        told = RunDescription(**{**vars(description()), "least_batch": least})
        (trainer,) = make_trainers(told, [0], OWN)
        steps = trainer.batches.own.steps
        assert [len(trainer.batches.places(0, step)) for step in range(steps)] == counts


def test_a_site_with_one_sample_is_refused_where_a_batch_needs_two(tmp_path):
    (tmp_path / "0").mkdir()
    for number in range(2):  # one of them for the test
        pixels = np.arange(64, dtype=np.uint8).reshape(8, 8) + number
        Image.fromarray(pixels).save(tmp_path / "0" / f"{number}.png")
    own = SiteConfig(Source(path=tmp_path), device="cpu")
    honest = description(dataset="sites", validation=0)
    assert len(make_trainers(honest, [0], own)) == 1
    with pytest.raises(UsageError, match=r"data = 1 sample: the run's model can't train .*; add another sample"):
        make_trainers(RunDescription(**{**vars(honest), "least_batch": 2}), [0], own)


# Folders


def test_a_folder_is_found_by_the_token_or_by_its_place(tmp_path):
    authority = Authority.open(tmp_path / "trust")
    first, second, anew = (authority.issue_token(client, timedelta(hours=1)) for client in (0, 1, 1))
    named = folders([first, second], None)
    assert named == folders([first, second], None)
    assert {path.parent for path in named} == {SITES}
    assert len({*named, *folders([anew], None)}) == 3
    assert folders([first], tmp_path / "out") == [tmp_path / "out"]
    # A new token for the same client finds the snapshots of the one before.
    assert folders([first, anew], tmp_path / "out") == folders([first, second], tmp_path / "out")


def test_neither_a_token_nor_an_identity(tmp_path):
    for out in (None, tmp_path):
        with pytest.raises(UsageError):
            folders([], out)
