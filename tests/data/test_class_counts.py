from __future__ import annotations

import io

import numpy as np
import pytest

from sglr.data.class_counts import classes_per_client, plot_classes_per_client
from sglr.data.federate import federate
from sglr.data.load import load_dataset
from sglr.data.partitioners.iid import Iid


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


def test_numbers_are_legible_on_their_cells() -> None:
    figure = plot_classes_per_client(np.arange(1, 25).reshape(2, 12), [str(number) for number in range(12)])
    (image,) = figure.axes[0].images
    values = image.get_array()
    for text in figure.axes[0].texts:
        column, row = map(int, text.get_position())
        red, green, blue, alpha = image.cmap(image.norm(values[row, column]))
        assert alpha == 1
        shares = [one / 12.92 if one <= 0.03928 else ((one + 0.055) / 1.055) ** 2.4 for one in (red, green, blue)]
        cell = 0.2126 * shares[0] + 0.7152 * shares[1] + 0.0722 * shares[2]
        own = {"#000000": 0.0, "#ffffff": 1.0}[str(text.get_color())]
        assert (max(cell, own) + 0.05) / (min(cell, own) + 0.05) >= 4.5
