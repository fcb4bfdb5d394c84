"""The notebooks of examples/notebooks: each runs from its first cell to its last, in a kernel of its own."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "examples/notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_kept_without_outputs(notebook: Path) -> None:
    cells = nbformat.read(notebook, 4).cells
    assert [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")] == []
    assert cells[0].source.startswith("# ")


@pytest.mark.slow
@pytest.mark.first
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of the kernel's sockets
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # that the kernel is spoken to over this machine's TCP
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nbclient import NotebookClient

    source = os.pathsep.join(filter(None, (str(notebook.parents[2] / "src"), os.environ.get("PYTHONPATH", ""))))
    monkeypatch.setenv("PYTHONPATH", source)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    book = nbformat.read(notebook, 4)
    NotebookClient(book, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output for cell in book.cells for output in cell.get("outputs", ()) if "data" in output]
    assert any("text/html" in output["data"] and "</table>" in output["data"]["text/html"] for output in shown)
    assert any("image/png" in output["data"] for output in shown)
    if notebook.stem == "1_first_run":
        assert any("epoch 5/5" in output["data"]["text/plain"] for output in shown)  # the progress, kept
