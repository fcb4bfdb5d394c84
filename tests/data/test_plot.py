from __future__ import annotations

import io

import numpy as np
import pytest

from sglr.data.federate import federate
from sglr.data.load import load_dataset
from sglr.data.partitioners.iid import Iid
from sglr.data.plot import classes_per_client, plot_classes_per_client


def test_counts_add_up_to_the_samples_of_each_client_and_class() -> None:
    data = federate(load_dataset("digits", None), Iid(), 7, 0)
    table = classes_per_client(data)
    assert table.shape == (7, 10)
    assert tuple(table.sum(axis=1)) == data.sizes
    assert np.array_equal(table.sum(axis=0), np.bincount(data.train.targets.numpy()))


@pytest.mark.parametrize(("clients", "classes"), [(1, 2), (4, 10), (100, 10), (100, 100)])
def test_drawing_is_transparent_names_fit_and_cells_are_numbered_where_there_is_room(
    clients: int, classes: int
) -> None:
    counts = np.arange(clients * classes).reshape(clients, classes)
    figure = plot_classes_per_client(counts, [f"class {number}" for number in range(classes)])
    axes = figure.axes[0]
    assert len(axes.get_xticks()) <= 30
    assert len(axes.get_yticks()) <= 30
    numbers = {text.get_text() for text in axes.texts}
    assert numbers == ({str(n) for n in range(1, clients * classes)} if clients < 25 else set())
    file = io.StringIO()
    figure.savefig(file, format="svg")
    assert "#808080" in file.getvalue()
    assert figure.patch.get_alpha() == 0
