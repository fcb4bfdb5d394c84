"""Answers at a site where its client's head is sure: those samples never leave it; the server answers the others."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import sglr
from sglr.cli.main import main
from sglr.core.errors import UsageError
from sglr.inference.evaluate import evaluate
from sglr.inference.network import TrainedNetwork, trained_network
from sglr.parties.defences import parse
from sglr.runs.folder import Run
from sglr.sites.client_weights import WeightSource
from sglr.sites.connect import SiteOptions
from sglr.sites.own_head import OwnHead

from .federation import Federation, local_twin
from .serving import Served, serving

INPUTS = torch.rand(150, 1, 8, 8, generator=torch.Generator().manual_seed(0))
PERSONAL = {"method": "splitgp", "epochs": 2, "compression": "int8"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose clients have heads and networks of their own, trained in one place."""
    return local_twin(PERSONAL, tmp_path_factory.mktemp("personal") / "run").path


@pytest.fixture(scope="module")
def served(run: Path) -> Iterator[Served]:
    with serving(run) as found:
        yield found


def with_weights_of(run: Path) -> SiteOptions:
    return SiteOptions(WeightSource(run=run), device="cpu")


def entropies(network: TrainedNetwork) -> Tensor:
    """Return how sure the client's head is of each sample."""
    return torch.special.entr(network.alone().outputs(INPUTS).softmax(-1)).sum(-1)


@pytest.mark.parametrize("batch", [1, 7, 40, 512])
def test_answers_are_those_of_the_joined_network_and_sure_samples_are_not_sent(
    served: Served, run: Path, tmp_path: Path, batch: int
) -> None:
    whole = trained_network(run, 1)
    most = float(entropies(whole).median())
    site = served.site(1, tmp_path / "site", with_weights_of(run))
    before = served.server.describe()["samples"]
    both = site.early_exit(most)
    found = both.outputs(INPUTS, batch)
    torch.testing.assert_close(found, whole.early_exit(most).outputs(INPUTS), rtol=1e-4, atol=1e-5)
    sure = int((entropies(whole) <= most).sum())
    assert served.server.describe()["samples"] - before == len(INPUTS) - sure
    assert both.whose == f"client 1; heads answered for {sure} of 150"
    assert site.whose == "client 1"


def test_nothing_leaves_the_site_where_the_head_answers_for_all(served: Served, run: Path, tmp_path: Path) -> None:
    whole = trained_network(run, 2)
    site = served.site(2, tmp_path / "site", with_weights_of(run))
    before = served.server.describe()["samples"]
    alone, sure = (each.outputs(INPUTS, 40) for each in (site.alone(), site.early_exit(5.0)))
    torch.testing.assert_close(alone, whole.alone().outputs(INPUTS), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(sure, alone)
    assert served.server.describe()["samples"] == before
    never = site.early_exit(0.0)
    torch.testing.assert_close(never.outputs(INPUTS), site.outputs(INPUTS), rtol=1e-4, atol=1e-5)
    assert never.whose == "client 2; heads answered for 0 of 150"


def test_a_head_answers_without_any_server(served: Served, run: Path, tmp_path: Path) -> None:
    with serving(run) as gone:
        site = gone.site(0, tmp_path / "site", with_weights_of(run)).alone()
    assert len(site.outputs(INPUTS)) == 150


def test_a_head_that_all_share_comes_from_the_server(tmp_path: Path) -> None:
    run = local_twin({"method": "cse-fsl", "h": 1, "epochs": 1}, tmp_path / "run").path
    with serving(run) as served:
        found = served.site(1, tmp_path / "site", SiteOptions(device="cpu")).alone().outputs(INPUTS)
    torch.testing.assert_close(found, trained_network(run, "shared").alone().outputs(INPUTS), rtol=1e-4, atol=1e-5)


def test_a_head_that_is_a_clients_own_is_in_its_file(tmp_path: Path) -> None:
    fitting = {"h": 1, "align_every": 1, "align_epochs": 2, "memory": 10}
    run = local_twin({"method": "fsl-sage", "epochs": 2, **fitting}, tmp_path / "run").path
    with serving(run) as served:
        with pytest.raises(UsageError, match="each client of this run has weights of its own"):
            served.site(1, tmp_path / "without", SiteOptions(device="cpu"))
        found = served.site(1, tmp_path / "site", with_weights_of(run)).alone().outputs(INPUTS)
    torch.testing.assert_close(found, trained_network(run, 1).alone().outputs(INPUTS), rtol=1e-4, atol=1e-5)


def test_a_decoder_is_no_head(tmp_path: Path) -> None:
    run = local_twin({"method": "locfedmix-sl", "epochs": 1}, tmp_path / "run").path
    with serving(run) as served:
        site = served.site(1, tmp_path / "site", with_weights_of(run))
        found = site.outputs(INPUTS)
        with pytest.raises(UsageError, match="clients of method locfedmix-sl have no heads"):
            site.alone()
    torch.testing.assert_close(found, trained_network(run, 1).outputs(INPUTS), rtol=1e-4, atol=1e-5)


def test_what_leaves_is_disguised_as_in_training_and_heads_see_what_is_not(tmp_path: Path) -> None:
    noise = "noise:sigma=0.5"
    run = local_twin({**PERSONAL, "compression": "none", "defence": noise}, tmp_path / "run").path
    whole, model = trained_network(run, 1), sglr.load_model(run, 1)
    most = float(entropies(whole).median())
    with serving(run) as served:
        found = served.site(1, tmp_path / "site", with_weights_of(run)).early_exit(most).outputs(INPUTS, 40)
    heads, sure = whole.alone().outputs(INPUTS), entropies(whole) <= most
    with torch.no_grad():
        disguised = parse(noise, Run.open(run).experiment.seed).scored(model[0](INPUTS)[None], (1,), 0)[0]
        wanted = torch.where(sure[:, None], heads, model[1](disguised))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_a_bad_sample_is_named_unless_the_head_answers_for_it(served: Served, run: Path, tmp_path: Path) -> None:
    site = served.site(0, tmp_path / "site", with_weights_of(run))
    bad = INPUTS.clone()
    bad[77] = torch.nan
    with pytest.raises(UsageError, match="data = sample 77: its smashed data are not finite"):
        site.early_exit(float(entropies(trained_network(run, 0)).median())).outputs(bad, 40)
    assert len(site.alone().outputs(bad)) == 150


def test_a_site_scores_its_own_exits(served: Served, run: Path, tmp_path: Path) -> None:
    labelled = INPUTS, torch.arange(150) % 10
    whole = trained_network(run, 1)
    most = float(entropies(whole).median())
    site = served.site(1, tmp_path / "site", with_weights_of(run))
    found = evaluate(site.early_exit(most), labelled, 40)
    wanted = evaluate(whole.early_exit(most), labelled)
    assert found["client"] == wanted["client"]
    assert found["loss"] == pytest.approx(wanted["loss"], rel=1e-4)
    assert found["confusion"] == wanted["confusion"]


def test_a_site_that_trained_has_its_head_in_its_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole way: train over TLS, serve, and ask by the commands."""
    federation = Federation(tmp_path, {**PERSONAL, "compression": "none"})
    trained = federation.train()
    assert not federation.problems
    folder = next(path.parent for path in tmp_path.rglob("segment.safetensors"))
    with serving(trained.path) as served:
        for words, told in (
            (["--head"], "heads answered for 360 of 360"),
            (["--head-entropy", "0"], "heads answered for 0 of 360"),
        ):
            command = ["evaluate", served.address, "--folder", str(folder), "--data", "digits", *words]
            assert main([*command, "--device", "cpu", "--json"]) == 0
            assert told in json.loads(capsys.readouterr().out)["client"]


def test_by_hand() -> None:
    """Two classes: entropies of (0, 0) and (0, ln 3) are ln 2 and 0.5623; the server says −1 and −2."""
    asked: list[Tensor] = []

    def ask(batches: Iterable[Tensor]) -> Iterator[Tensor]:
        asked.extend(batches)
        yield torch.full((1, 2), -1.0)
        yield torch.full((2, 2), -2.0)

    head = OwnHead(nn.Identity(), 0.6, torch.device("cpu"))
    first = torch.tensor([[0.0, 0.0], [0.0, 1.0986]])
    second, third = torch.tensor([[0.0, 50.0]]), torch.tensor([[0.0, 1.0986], [0.0, 0.1], [torch.nan, 0.0]])
    batches = [(0, first), (2, second), (3, third)]
    found = list(head.outputs(batches, lambda first, smashed, chosen: smashed[chosen] + first, ask))
    torch.testing.assert_close(
        torch.cat(asked), torch.tensor([[0.0, 0.0], [3.0, 3.1], [torch.nan, 3.0]]), equal_nan=True
    )
    wanted = [[[-1.0, -1.0], [0.0, 1.0986]], [[0.0, 50.0]], [[0.0, 1.0986], [-2.0, -2.0], [-2.0, -2.0]]]
    for one, numbers in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, torch.tensor(numbers))
    assert (head.alone, head.asked) == (3, 6)


def test_what_has_no_head_or_no_entropy_is_refused(served: Served, run: Path, tmp_path: Path) -> None:
    site = served.site(0, tmp_path / "site", with_weights_of(run))
    with pytest.raises(UsageError, match="head_entropy = -1: is no entropy"):
        site.early_exit(-1)
    plain = local_twin({"method": "psl", "epochs": 1}, tmp_path / "plain").path
    with serving(plain) as other:
        headless = other.site(0, tmp_path / "other", with_weights_of(plain))
    for refuse, field in ((headless.alone, "head = True"), (lambda: headless.early_exit(0.2), "head_entropy = 0.2")):
        with pytest.raises(UsageError, match=f"{field}: clients of method psl have no heads, and can't answer alone"):
            refuse()
