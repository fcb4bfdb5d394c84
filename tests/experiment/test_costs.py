"""Users' stories: what a run's summary tells of computation and energy."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from torch import Tensor, nn

import sglr
from sglr.assembly.run_checkpoints import newest_checkpoint
from sglr.core.errors import Interrupted, UsageError
from sglr.core.events import StepDone
from sglr.runs.config import Experiment

TINY = {"clients": 4, "samples_per_client": 16, "epochs": 2, "model": "mlp", "threads": 1}
needs_codecarbon = pytest.mark.skipif(find_spec("codecarbon") is None, reason="needs codecarbon")


def test_every_run_tells_its_computation_and_modelled_energy(tmp_path: Path) -> None:
    summary = sglr.train("sglr", **TINY, participation=0.5, out=tmp_path / "run").summary
    assert summary is not None
    computation, energy = summary["computation"], summary["energy"]
    client, server = (sum(computation["per_sample"][side].values()) for side in ("client", "server"))
    samples = 2 * 2 * 16  # epochs, clients that took part, samples of each
    assert computation["total_flops"] == samples * (client + server)
    assert computation["client_flops"]["mean"] == samples * client / 4
    modelled = energy["modelled"]
    profile, traffic = modelled["profile"], summary["communication"]
    assert modelled["server_joules"] == computation["server_flops"] * profile["server_joules_per_flop"]
    sent = traffic["up_bytes"] * profile["joules_per_byte_up"] + traffic["down_bytes"] * profile["joules_per_byte_down"]
    assert modelled["communication_joules"] == pytest.approx(sent)
    assert energy["measured"] is None


def test_fl_computes_at_its_clients_what_cl_computes_in_one_place(tmp_path: Path) -> None:
    one, other = (sglr.train(method, **TINY, out=tmp_path / method).summary for method in ("fl", "cl"))
    assert one is not None
    assert other is not None
    assert one["computation"]["total_flops"] == other["computation"]["total_flops"]
    assert other["computation"]["client_flops"]["mean"] == 4 * one["computation"]["client_flops"]["mean"]
    assert other["energy"]["modelled"]["communication_joules"] == 0


def test_settings_of_energy_make_no_other_run_and_no_other_weights(tmp_path: Path) -> None:
    profile = tmp_path / "phones.toml"
    figures = ("client_joules_per_flop", "server_joules_per_flop", "joules_per_byte_up", "joules_per_byte_down")
    profile.write_text("".join(f"{key} = 1.0\n" for key in figures))
    settings = [TINY, {**TINY, "energy_profile": str(profile)}]
    plain, own = (Experiment.from_flat(dict(one)) for one in settings)
    assert plain.fingerprint() == own.fingerprint()
    found = [sglr.train("psl", **one, out=tmp_path / str(index)).summary for index, one in enumerate(settings)]
    assert found[0] is not None
    assert found[1] is not None
    assert found[0]["weights_sha256"] == found[1]["weights_sha256"]
    modelled, traffic = found[1]["energy"]["modelled"], found[1]["communication"]
    assert modelled["profile"]["name"] == "phones"
    bytes_and_flops = traffic["up_bytes"] + traffic["down_bytes"] + found[1]["computation"]["total_flops"]
    assert modelled["total_joules"] == pytest.approx(bytes_and_flops)


class Fastidious(nn.Module):
    """A user's layer that refuses pictures of one shade, as a count of operations shows it."""

    def forward(self, inputs: Tensor) -> Tensor:
        if bool((inputs.detach() == inputs.detach().flatten()[0]).all()):
            raise ValueError("a blank picture")
        return inputs.flatten(1)


def test_a_model_that_can_not_be_counted_is_trained_and_told(tmp_path: Path) -> None:
    settings = {**TINY, "model": nn.Sequential(Fastidious(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10))}
    summary = sglr.train("psl", **settings, cut=2, stacking="looped", out=tmp_path / "run").summary
    assert summary is not None
    assert "ValueError: a blank picture" in summary["computation"]["problem"]
    assert summary["energy"]["modelled"]["total_joules"] is None
    assert summary["energy"]["modelled"]["communication_joules"] > 0
    assert (tmp_path / "run" / "report.html").is_file()


def test_a_missing_extra_and_a_wrong_profile_are_told_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "codecarbon", None)
    with pytest.raises(UsageError, match=r"energy = true: needs the package codecarbon.*pip install 'sglr\[energy\]'"):
        sglr.train("psl", **TINY, energy=True, out=tmp_path / "run")
    with pytest.raises(UsageError, match="energy_profile = moon"):
        sglr.train("psl", **TINY, energy_profile="moon", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@needs_codecarbon
@pytest.mark.slow
def test_measured_energy_goes_on_where_a_stopped_run_goes_on(tmp_path: Path) -> None:
    seen: list[StepDone] = []

    def observe(event: object) -> None:
        if isinstance(event, StepDone):
            seen.append(event)

    with pytest.raises(Interrupted):
        sglr.train("psl", **TINY, energy=True, out=tmp_path / "run", observe=observe, stop=lambda: len(seen) >= 3)
    found = newest_checkpoint(sglr.Run(tmp_path / "run"))
    assert found is not None
    first = found[1]["energy"]
    assert first["seconds"] > 0
    summary = sglr.resume(tmp_path / "run").summary
    assert summary is not None
    measured = summary["energy"]["measured"]
    assert measured["seconds"] > first["seconds"]
    assert measured["seconds"] == pytest.approx(summary["seconds"], abs=0.5)
    assert measured["parts"]["ram"]["joules"] > first["parts"]["ram"]["joules"]
    assert measured["joules"] == pytest.approx(sum(part["joules"] for part in measured["parts"].values()))
    assert measured["unmeasured_seconds"] == 0
    json.dumps(summary)
