"""A user's story: tables with three outcomes and missing values, from a schema to the report; labels stay."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sglr.cli.main import main

from .test_serve import free_address

OUTCOMES = ("died", "sepsis", "readmitted")


def hospital(path: Path, seed: int, rows: int = 120) -> Path:
    """Write a table in which older patients fare worse, with gaps among features and outcomes."""
    rng = np.random.default_rng(seed)
    age, pressure = rng.normal(60, 15, rows).round(), rng.normal(120, 20, rows).round()
    worse = [rng.random(rows) < 1 / (1 + np.exp(-(age - 60) / 5 - shift)) for shift in (-1, 0, 1)]
    frame = pd.DataFrame({"age": age, "pressure": pressure, "sex": rng.choice(["f", "m"], rows)})
    frame["died"] = np.where(worse[0], "yes", "no")
    frame["sepsis"], frame["readmitted"] = worse[1].astype(object) * 1, worse[2] * 1
    frame.loc[:4, "pressure"], frame.loc[7, "sepsis"] = np.nan, None
    frame.sample(frac=1, axis=1, random_state=seed).to_csv(path, index=False)
    return path


@pytest.mark.slow
def test_three_hospitals_learn_three_outcomes_that_stay_with_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = [hospital(tmp_path / f"hospital{number}.csv", number) for number in range(3)]
    assert main(["schema", str(tables[0]), "--label-column", ",".join(OUTCOMES), "--missing", "mean"]) == 0
    (tmp_path / "schema.toml").write_text(capsys.readouterr().out)
    address, run, tokens = free_address(), tmp_path / "run", tmp_path / "tokens"
    flags = (
        f"--task multilabel --dataset sites --schema {tmp_path / 'schema.toml'} --model mlp --clients 3 "
        f"--epochs 6 --lr 0.01 --tail relu2 --listen {address} --address {address} --out {run} --tokens {tokens} "
        "--json --quiet --device cpu"
    )
    sglr = [sys.executable, "-m", "sglr"]
    server = subprocess.Popen(
        [*sglr, "serve", *flags.split()], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    sites: list[subprocess.Popen[str]] = []
    try:
        for number, table in enumerate(tables):
            token = _waited_for(tokens / f"client-{number}.token", server)
            own = ["--data", str(table), "--out", str(tmp_path / f"site{number}"), "--keep-labels", "--device", "cpu"]
            sites.append(subprocess.Popen([*sglr, "join", address, "--token", token, *own], text=True))
        printed, errors = server.communicate(timeout=240)
        assert server.returncode == 0, errors
        assert [site.wait(60) for site in sites] == [0, 0, 0]
    finally:
        for process in (server, *sites):
            process.kill()
    test = json.loads(printed)["test"]
    assert len(test["per_client"]["auroc"]) == 3
    assert min(test["per_client"]["auroc"]) > 0.7
    assert test["scores"]["auroc"]["mean"] == test["auroc"]
    assert (run / "report.html").is_file()


def _waited_for(file: Path, server: subprocess.Popen[str]) -> str:
    until = time.monotonic() + 120
    while not file.is_file():
        assert server.poll() is None, server.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.1)
    return file.read_text().strip()
