"""Expressions without bound are refused in one line, wherever they are read: typed, in a file, in Python."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import sglr
from sglr.cli.main import main
from sglr.compression import error_feedback as compression
from sglr.core.errors import UsageError
from sglr.core.model import build_model
from sglr.core.optim import OptimizerSpec
from sglr.leakage.attack_clients import choose_attack
from sglr.parties import defences
from sglr.studies.method_specs import Variant

LONG = {
    "minus signs": "sgd:momentum=" + "-" * 200_000 + "1",
    "brackets": "adam:betas=" + "(" * 200_000,
    "a name": "x" * 200_000,
    "options": "int8:" + "a=b," * 50_000,
    "parts": "+".join(["clip:norm=1"] * 20_000),
}
SHORTER = ["sgd:momentum=" + "-" * 900 + "1", "sgd:momentum=" + "(" * 900, "adam:betas=" + "[" * 450 + "]" * 450]
QUICK = ("optimizer", "partition", "name")
"""What is read as a specification, as the name of a part, and as it is."""
SETTINGS = ["optimizer", "model", "method", "compression", "defence", "leakage", "partition", "engine", "cut", "name"]


@pytest.mark.parametrize(
    "setting", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in SETTINGS]
)
def test_on_the_command_line_and_in_a_file(setting: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "run.toml"
    for text in LONG.values():
        config.write_text(f'{setting} = "{text}"\n')
        for command in (["train", f"--{setting}={text}"], ["train", "--config", str(config)]):
            started = time.monotonic()
            assert main([*command, "--out", str(tmp_path / "run")]) == 2
            told = capsys.readouterr().err
            assert "longer than 1000 characters" in told or "no such" in told, told[:300]
            assert len(told) < 3000
            assert time.monotonic() - started < 30
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("text", SHORTER)
def test_those_of_allowed_length_are_refused_as_well(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", f"--optimizer={text}", "--out", str(tmp_path / "run")]) == 2
    assert "optimizer = " in capsys.readouterr().err


@pytest.mark.parametrize(
    "read",
    [
        OptimizerSpec.parse,
        compression.parse,
        defences.parse,
        choose_attack,
        Variant.of,
        lambda text: build_model(text, (4,), 2),
        lambda text: sglr.train(optimizer=text),
    ],
)
def test_every_reader_refuses_them(read) -> None:
    for text in LONG.values():
        with pytest.raises(UsageError) as found:
            read(text)
        assert len(str(found.value)) < 3000


@pytest.mark.parametrize("content", ["a = " + "[" * 100_000, "seed = 1" + "0" * 5000, 'method = "' + "\\u0041" * 9])
def test_a_file_without_end_is_no_toml(content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.toml"
    path.write_text(content)
    for command in (["train", "--config"], ["train", "--energy-profile"], ["serve", "--schema"], ["sweep"]):
        assert main([*command, str(path), "--out", str(tmp_path / "run")]) == 2
        assert "TOML" in capsys.readouterr().err
