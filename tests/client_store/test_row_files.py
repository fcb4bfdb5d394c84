"""Rows on disk: whatever happens in between, a checkpoint that is kept gives back every row as it was then."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sglr.client_store import row_files
from sglr.client_store.store import ClientStore
from sglr.core.errors import DamagedCheckpoint, NotRead, NotWritten
from sglr.storage.checkpoint import write_checkpoint

CLIENTS = 8
KEPT = 3


class Store:
    """A population on disk with the checkpoints that a run would keep, and what each of them must give back."""

    def __init__(self) -> None:
        self.folder = Path(mkdtemp())
        self.checkpoints = self.folder / "checkpoints"
        self.checkpoints.mkdir()
        self.held: dict[int, float] = {}
        self.kept: list[tuple[Path, dict[str, Tensor], dict[int, float]]] = []
        self.number = 0
        self.open()

    def open(self) -> None:
        """Begin as a new process does."""
        self.population = ClientStore()
        self.population.keep_in(self.folder / "clients", self.checkpoints)

    def put(self, clients: list[int], value: float) -> None:
        rows = torch.tensor([[value, float(client)] for client in clients])
        self.population.put(clients, {"weights.w": rows, "optimizer.w.step": rows[:, 0].clone()})
        self.held |= dict.fromkeys(clients, value)

    def save(self) -> None:
        self.number += 1
        tensors = self.population.state()
        path = self.checkpoints / f"step-{self.number:09d}.safetensors"
        write_checkpoint(path, {f"clients.{name}": tensor for name, tensor in tensors.items()}, {})
        self.kept.append((path, tensors, dict(self.held)))
        for old, *_ in self.kept[:-KEPT]:
            old.unlink()
        self.kept = self.kept[-KEPT:]

    def go_back(self, back: int) -> None:
        """Go back to one of the kept checkpoints; newer ones are of steps that will be taken again."""
        back %= len(self.kept)
        for path, *_ in self.kept[len(self.kept) - back :]:
            path.unlink()
        self.kept = self.kept[: len(self.kept) - back]
        _, tensors, held = self.kept[-1]
        self.population.restore(tensors)
        self.held = dict(held)

    def check(self) -> None:
        assert self.population.clients == sorted(self.held)
        found: dict[int, float] = {}
        for clients, tensors in self.population.get(sorted(self.held)):
            assert torch.equal(tensors["weights.w"][:, 1], torch.tensor(clients, dtype=torch.float32))
            assert torch.equal(tensors["weights.w"][:, 0], tensors["optimizer.w.step"])
            found |= dict(zip(clients, tensors["weights.w"][:, 0].tolist(), strict=True))
        assert found == self.held

    def files(self) -> list[Path]:
        return sorted((self.folder / "clients").glob("*"))


@pytest.fixture
def store() -> Store:
    return Store()


DEEDS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.lists(st.integers(0, CLIENTS - 1), min_size=1, max_size=4, unique=True)),
        st.tuples(st.just("save"), st.none()),
        st.tuples(st.just("back"), st.integers(0, KEPT - 1)),
        st.tuples(st.just("die"), st.sampled_from(["before", "partial", "orphan"])),
    ),
    max_size=30,
)


@pytest.mark.slow
@given(deeds=DEEDS)
@settings(max_examples=60, deadline=None)
def test_every_kept_checkpoint_gives_back_what_was_there(deeds) -> None:
    """Rounds, going back, and processes that die at any moment of writing, in any order."""
    store = Store()
    store.save()
    for number, (what, how) in enumerate(deeds, 1):
        if what == "put":
            store.put(how, float(number))
        elif what == "save":
            store.save()
        elif what == "back":
            store.go_back(how)
        else:
            die(store, how)
        store.check()
    for back in (0, 1, 1):  # all that are left
        if back < len(store.kept):
            store.open()
            store.go_back(back)
            store.check()
    shutil.rmtree(store.folder)


def die(store: Store, when: str) -> None:
    """Lose the process: before it wrote, with half a file, or with rows on disk that no checkpoint names."""
    if when == "orphan":
        store.population.state()
    elif when == "partial":
        (store.folder / "clients").mkdir(exist_ok=True)
        (store.folder / "clients" / ".rows-000000099.safetensors.partial").write_bytes(b"half")
    store.open()
    store.go_back(0)


def test_disk_use_stays_in_proportion_to_the_rows(store: Store) -> None:
    rng = np.random.default_rng(0)
    everyone = 400
    store.put(list(range(everyone)), 0.0)
    rows = []
    for number in range(1, 200):
        store.put(rng.choice(everyone, 10, replace=False).tolist(), float(number))
        store.save()
        rows.append(sum(int(file[1]) for file in store.population.state()["population.files"].tolist()))
    store.check()
    assert max(rows) <= 2.2 * everyone
    written = sum(path.stat().st_size for path in store.files())
    each = 12  # two weights and a count of steps
    heads = 200 * len(store.files())
    assert written - heads <= 2.5 * everyone * each


def test_many_small_files_become_one(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_files, "MANY", 5)
    for client in range(40):
        store.put([client], 1.0)
        store.save()
    assert len(store.files()) <= 5 + 1 + KEPT + 5
    store.check()


def test_what_changed_goes_to_disk_early_when_it_is_much(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sglr.client_store.store.HOST_BYTES", 30)
    for client in range(9):
        store.put([client], float(client))
    assert len(store.files()) == 3
    store.check()
    store.save()
    store.open()
    store.go_back(0)
    store.check()


@pytest.mark.parametrize("damage", ["missing", "torn", "flipped"])
def test_a_damaged_file_is_named_and_checkpoints_that_need_it_are_refused(store: Store, damage: str) -> None:
    store.put([0, 1], 1.0)
    store.save()
    store.put([1], 2.0)
    store.save()
    newest = store.files()[-1]
    content = newest.read_bytes()
    if damage == "missing":
        newest.unlink()
    else:
        newest.write_bytes(content[:-3] if damage == "torn" else content[:-1] + bytes([content[-1] ^ 1]))
    store.open()
    with pytest.raises(DamagedCheckpoint, match=newest.name):
        store.go_back(0)
        store.check()
    with pytest.raises(DamagedCheckpoint, match=newest.name):  # it is known by now
        store.population.restore(store.kept[-1][1])
    store.go_back(1)
    store.check()


def test_a_file_that_cannot_be_read_just_now_is_not_held_against_a_checkpoint(store: Store) -> None:
    store.put([0, 1], 1.0)
    store.save()
    store.put([1], 2.0)
    store.save()
    newest = store.files()[-1]
    aside = newest.rename(newest.with_suffix(".aside"))
    newest.symlink_to(newest)
    store.open()
    with pytest.raises(NotRead, match=f"{newest.name}: cannot be read"):
        store.go_back(0)
    newest.unlink()
    aside.rename(newest)
    store.go_back(0)
    store.check()


def test_nothing_goes_while_a_checkpoint_cannot_be_read(store: Store) -> None:
    for value in range(KEPT + 3):
        store.put([0, 1], float(value))
        store.save()
    *_, path = sorted(store.checkpoints.glob("*.safetensors"))
    before = store.files()
    content = path.read_bytes()
    path.unlink()
    path.symlink_to(path)
    store.put([0, 1], 9.0)
    store.population.state()
    assert {*before} <= {*store.files()}
    path.unlink()
    path.write_bytes(content)
    store.go_back(0)
    store.check()


def test_a_full_disk_loses_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put([0, 1], 1.0)
    store.save()
    store.put([1, 2], 2.0)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(row_files, "_save", full)
        with pytest.raises(NotWritten, match=r"rows-.*could not be written \(No space left on device\)"):
            store.population.state()
    store.check()
    store.save()
    store.check()
    assert not [path for path in store.files() if path.name.startswith(".")]


def test_numbers_that_are_none_show_in_the_checkpoint(store: Store) -> None:
    store.put([0], 1.0)
    assert bool(torch.isfinite(store.population.state()["population.largest"]))
    store.put([0], float("nan"))
    assert not bool(torch.isfinite(store.population.state()["population.largest"]))


def test_in_host_memory_a_checkpoint_holds_all_rows_and_either_kind_takes_them_up(store: Store) -> None:
    host = ClientStore()
    host.put([3, 5], {"weights.w": torch.tensor([[1.0], [2.0]])})
    host.put([4], {"weights.w": torch.tensor([[3.0]]), "optimizer.w.step": torch.tensor([7.0])})
    saved = host.state()
    for other in (ClientStore(), store.population):
        other.restore(saved)
        found = {clients[0]: tensors for clients, tensors in other.get([3]) for _ in clients}
        assert found[3]["weights.w"].tolist() == [[1.0]]
        assert next(iter(other.get([4])))[1]["optimizer.w.step"].tolist() == [7.0]
    with pytest.raises(DamagedCheckpoint, match="run's folder, which was not given"):
        ClientStore().restore(store.population.state())
