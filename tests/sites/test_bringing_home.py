"""After a run between sites, who has both parts has the network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import sglr
from sglr.core.errors import UsageError

from .federation import Federation, local_twin


def test_the_network_is_the_servers_checkpoint_and_a_clients_file(tmp_path: Path) -> None:
    settings = {"method": "sglr", "epochs": 1}
    run = Federation(tmp_path, settings).train()
    twin = local_twin(settings, tmp_path / "local")
    inputs = torch.rand(4, 1, 8, 8)
    files = sorted(tmp_path.rglob("segment.safetensors"))
    assert len(files) == 3
    wanted = {tuple(sglr.load_model(twin.path, client)(inputs).flatten().tolist()) for client in range(3)}
    found = {tuple(sglr.load_model(run.path, segment=file)(inputs).flatten().tolist()) for file in files}
    assert found == wanted
    with pytest.raises(UsageError, match="client's folder"):
        sglr.load_model(run.path)


@pytest.mark.slow
def test_where_weights_are_shared_the_server_has_all_of_it(tmp_path: Path) -> None:
    settings = {"method": "sfl", "epochs": 1}
    run, twin = Federation(tmp_path, settings).train(), local_twin(settings, tmp_path / "local")
    inputs = torch.rand(4, 1, 8, 8)
    assert torch.equal(sglr.load_model(run.path)(inputs), sglr.load_model(twin.path)(inputs))
