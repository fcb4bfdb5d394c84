"""``sglr cuts``: a table and JSON of every cut, and a cut by its share of the operations."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tests.several_inputs import arrays


def test_every_cut_is_listed_with_marks(call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    shown = call("cuts", "cnn", "--samples", "16").out
    assert max(map(len, shown.splitlines())) <= 80
    assert ">   pool1" in shown
    assert "left of" in " ".join(shown.split())
    assert "server's" not in shown
    monkeypatch.setenv("COLUMNS", "120")
    assert "server's" in call("cuts", "cnn", "--input-shape", "1,28,28").out


def test_json_has_all_figures(call):
    found = json.loads(call("cuts", "cnn", "--samples", "16", "--rate", "20Mbit", "--rtt", "50ms", "--json").out)
    assert found["own_cut"] == "pool1"
    assert [cut["layer"] for cut in found["cuts"]][:3] == ["conv1", "relu1", "pool1"]
    assert found["samples"] == 16
    assert found["cheapest"] in [cut["layer"] for cut in found["cuts"]]
    assert all(-1 <= cut["leak"] <= 1 for cut in found["cuts"])
    without = json.loads(call("cuts", "cnn", "--input-shape", "1,8,8", "--json").out)
    assert without["leaks_least"] is None


def test_tokens_are_not_compared(call, tmp_path):
    """One input of tokens is not measured; of several, what tokens are called changes nothing."""
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "texts.npz", x=rng.integers(0, 5, (40, 3)), y=np.arange(40) % 2)
    texts = ["cuts", "tests.several_inputs:OneText", "--dataset", f"arrays:{tmp_path / 'texts.npz'}"]
    found = json.loads(call(*texts, "--json").out)
    assert found["samples"] == 0 and all(cut["leak"] is None for cut in found["cuts"])
    assert "numbers of tokens have no distances" in call(*texts).out
    inputs, targets = arrays(60)
    told = []
    for number in (1, 1000):
        path = tmp_path / f"{number}.npz"
        np.savez(path, y=targets, **{f"x.{name}": each for name, each in inputs.items()})
        words = ["cuts", "tests.several_inputs:Counted", "--dataset", f"arrays:{path}", "--samples", "32", "--json"]
        told.append([cut["leak"] for cut in json.loads(call(*words).out)["cuts"]])
        inputs["kinds"] = inputs["kinds"] * 1000
    assert told[0] == told[1] and None not in told[0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cuts", "cnn", "--rtt", "50"], "rtt"),
        (["cuts", "cnn", "--rate", "fast"], "rate"),
        (["cuts", "cnn", "--samples", "3"], "samples"),
        (["cuts", "cnn", "--depth", "-1"], "depth"),
        (["cuts", "nosuch"], "no such model"),
        (["train", "--cut", "140%", "--epochs", "1"], "no share"),
    ],
)
def test_what_makes_no_sense_is_refused(call, words, said):
    done = call(*words)
    assert done.code == 2
    assert said in done.err


def test_a_share_is_resolved_to_the_layer_s_name_in_settings_and_summary(call, tmp_path):
    run = tmp_path / "run"
    call("train", "--model", "mlp", "--cut", "40%", "--clients", "2", "--epochs", "1", "--out", str(run), "--quiet")
    summary = json.loads((run / "summary.json").read_text())
    assert summary["cut"] in ("fc1", "relu1")
    assert f'cut = "{summary["cut"]}"' in (run / "config.toml").read_text()
    planned = json.loads(
        call("plan", "--model", "mlp", "--cut", "40%", "--dataset", "digits", "--clients", "2", "--json").out
    )
    assert planned["cut"] == summary["cut"]
