"""Stories of ``sglr train``, ``resume`` and ``show``, on the embedded data."""

from __future__ import annotations

import json
import signal
import tomllib

import numpy as np
import pytest
from PIL import Image

from sglr.cli.show import changed
from sglr.runs.config import Experiment
from sglr.runs.folder import Run


def test_train_prints_json_alone_and_a_line_per_epoch(start, tiny, tmp_path):
    process = start("train", *tiny, "--method", "sglr", "--phi", "1", "--epochs", "2", "--out", "run", "--json")
    out, err = process.communicate()
    assert process.returncode == 0
    assert json.loads(out) == Run.open(tmp_path / "run").summary
    assert [line.split()[:2] for line in err.splitlines()] == [["epoch", "1/2"], ["epoch", "2/2"]]
    assert all(len(line) <= 80 for line in err.splitlines())


@pytest.mark.charts
def test_a_quiet_training_prints_its_result_and_what_to_do_next(call, tiny, tmp_path):
    answer = call("train", *tiny, "--quiet", "--out", tmp_path / "run")
    assert answer.code == 0
    assert answer.err == ""
    assert "test accuracy" in answer.out
    assert f"next    sglr show {tmp_path / 'run'}\n" in answer.out
    assert (tmp_path / "run" / "report.html").is_file()


def test_flags_win_over_the_file_and_both_over_defaults(call, tiny, tmp_path):
    (tmp_path / "e.toml").write_text('method = "psl"\nlr = 0.01\nseed = 3\n')
    call("train", *tiny, "--config", tmp_path / "e.toml", "--seed", "4", "--out", tmp_path / "run")
    settings = tomllib.loads((tmp_path / "run" / "config.toml").read_text())
    assert (settings["method"], settings["lr"], settings["seed"], settings["batch_size"]) == ("psl", 0.01, 4, 8)


def test_parameters_of_all_parts_can_be_given(call, tmp_path):
    words = "--method sglr --alpha 0 --average class --partition dirichlet --concentration 5 --clients 3 --epochs 1"
    answer = call("train", *words.split(), "--image-size", "12", "--batch-size", "4", "--out", tmp_path / "run")
    assert answer.code == 0, answer.err
    experiment = Run.open(tmp_path / "run").experiment
    assert experiment.method_parameters["alpha"] == 0
    assert experiment.method_parameters["average"] == "class"
    assert experiment.partition_parameters == {"concentration": 5.0}
    assert experiment.dataset_parameters["image_size"] == 12


BAD = {
    "method": (["--method", "sglrr"], "did you mean 'sglr'?"),
    "dataset": (["--dataset", "digit"], "did you mean 'digits'?"),
    "model": (["--model", "resnet"], "did you mean 'resnet16'?"),
    "partition": (["--partition", "dirichelt"], "did you mean 'dirichlet'?"),
    "engine": (["--engine", "locale"], "did you mean 'local'?"),
    "phi": (["--phi", "1.5"], "is outside [0, 1]"),
    "alpha": (["--alpha", "-1"], "alpha = -1"),
    "clients": (["--clients", "0"], "greater than or equal to 1"),
    "clients ": (["--clients", "5000"], "clients = 5000"),
    "batch_size": (["--batch-size", "0"], "greater than or equal to 1"),
    "lr": (["--lr", "fast"], "valid number"),
    "schedule": (["--schedule", "linear"], "known: constant, cosine, plateau, step"),
    "schedule ": (["--schedule", "plateau:patiense=3"], "did you mean 'patience'?"),
    "warmup": (["--epochs", "2", "--warmup", "3"], "is longer than the training (epochs = 2)"),
    "accumulate": (["--method", "sflv2", "--accumulate", "2"], "updated for one client after another"),
    "accumulate ": (["--method", "gas", "--accumulate", "2"], "updated for one client after another"),
    "compile": (["--method", "gas", "--compile"], "steps on batches of many sizes"),
    "buffer": (["--method", "gas", "--buffer", "-1"], "give uploads, or 0 for half"),
    "label_prior": (["--method", "gas", "--label-prior", "pooled"], "takes no step on all clients together"),
    "tail": (["--method", "gas", "--tail", "relu2", "--model", "mlp"], "the method reads labels"),
    "method ": (["--method", "gas", "--buffer", "1000000000000"], "GB) between steps, of"),
    "monitor": (
        ["--monitor", "acuracy"],
        "did you mean 'accuracy'? known: accuracy, balanced_accuracy, macro_f1, loss",
    ),
    "monitor ": (["--monitor", "loss", "--validation", "0"], "there are no validation samples"),
    "early_stopping": (["--early-stopping", "3", "--validation", "0"], "give --validation, or leave it out"),
    "early_stopping ": (["--early-stopping", "0"], "greater than or equal to 1"),
    "schedule  ": (["--schedule", "plateau", "--validation", "0"], "there are no validation samples"),
    "device": (["--device", "tpu"], "give auto, cpu or cuda"),
    "optimizer": (["--optimizer", "adamm"], "optimizer = adamm"),
    "config": (["--config", "missing.toml"], "there is no such file"),
    "alpha ": (["--method", "psl", "--alpha", "1"], "method psl has no such parameter"),
    "label_column": (["--label-column", "y"], "label_column = y"),
    "folder": (["--dataset", "folder:nowhere"], "nowhere"),
    "cut": (["--cut", "nowhere"], "cut = nowhere"),
    "model ": (["--model", "no_such_module:build"], "no module 'no_such_module'"),
    "average": (["--method", "sglr", "--average", "median"], "known: class, position"),
}


@pytest.mark.parametrize("field", BAD)
def test_bad_input_is_told_before_any_work(call, tiny, tmp_path, monkeypatch, field):
    words, told = BAD[field]
    monkeypatch.chdir(tmp_path)
    answer = call("train", *tiny, *words, "--out", "run")
    assert answer.code == 2
    assert answer.out == ""
    assert answer.err.count("\n") == 1
    assert answer.err.startswith(f"error: {field.strip()} = ")
    assert told in answer.err
    assert not (tmp_path / "run").exists()


def test_a_config_that_is_not_toml_or_has_unknown_keys_is_refused(call, tmp_path):
    file = tmp_path / "e.toml"
    file.write_text("method = sglr")
    assert "is not TOML" in call("train", "--config", file).err
    file.write_text("epoch = 3")
    answer = call("train", "--config", file)
    assert (answer.code, "did you mean epochs?" in answer.err) == (2, True)


def test_an_unwritable_or_occupied_folder_is_refused(call, tiny, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("")
    for out in ("file", "file/below", "full"):
        answer = call("train", *tiny, "--out", tmp_path / out)
        assert answer.code == 2
        assert answer.err.startswith("error: out = ")


def test_a_folder_with_another_run_is_refused(call, tiny, run_folder):
    words = ("train", *tiny, "--epochs", "3", "--out", run_folder)
    again, other = call(*words), call(*words, "--seed", "1")
    assert (again.code, other.code) == (2, 2)
    assert f"sglr resume {run_folder}" in again.err
    assert "another configuration (seed is 0 there, 1 here)" in other.err


def test_divergence_ends_with_code_1_and_names_the_step(call, tiny, tmp_path):
    words = ("--optimizer", "sgd", "--lr", "1e30", "--epochs", "3", "--out", tmp_path / "run")
    answer = call("train", *tiny, *words, "--quiet")
    assert answer.code == 1
    assert answer.err.count("\n") == 1
    assert "the loss stopped being a number in epoch" in answer.err


def test_resume_leaves_a_finished_run_alone_and_refuses_what_is_none(call, run_folder, tmp_path):
    before = (run_folder / "summary.json").read_bytes()
    answer = call("resume", run_folder, "--json")
    assert answer.code == 0
    assert json.loads(answer.out) == json.loads(before)
    assert answer.err == f"{run_folder} is finished; nothing to do\n"
    assert (run_folder / "summary.json").read_bytes() == before
    assert call("resume", tmp_path).code == 2


def test_resume_tells_of_a_damaged_checkpoint_and_goes_back(call, run_folder):
    weights = json.loads((run_folder / "summary.json").read_text())["weights_sha256"]
    (run_folder / "summary.json").unlink()
    newest = Run.open(run_folder).checkpoints[-1]
    newest.write_bytes(newest.read_bytes()[:-8])
    answer = call("resume", run_folder, "--json")
    assert answer.code == 0
    assert str(newest) in answer.err.splitlines()[0]
    assert "going back to the checkpoint before it" in answer.err.splitlines()[0]
    assert json.loads(answer.out)["weights_sha256"] == weights


@pytest.mark.slow
def test_ctrl_c_saves_a_checkpoint_and_resume_ends_with_the_same_weights(start, call, tmp_path):
    words = ("--clients", "4", "--samples-per-client", "64", "--epochs", "40", "--model", "mlp", "--eval-every", "40")
    process = start("train", *words, "--out", "run")
    assert process.stderr is not None
    assert any(line.startswith("epoch") for line in process.stderr)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 1
    assert out == ""
    assert "stopping after this step" in err
    assert err.splitlines()[-1].endswith("continue with: sglr resume run")
    resumed = json.loads(call("resume", tmp_path / "run", "--json").out)
    whole = json.loads(call("train", *words, "--out", tmp_path / "whole", "--json").out)
    assert resumed["weights_sha256"] == whole["weights_sha256"]


def test_show_describes_a_run(call, run_folder):
    answer = call("show", run_folder)
    assert answer.code == 0
    assert "3 of 3 epochs" in answer.out
    assert "test accuracy" in answer.out
    assert f"report  {run_folder / 'report.html'}" in answer.out
    described = json.loads(call("show", run_folder, "--json").out)
    assert described["status"] == "done"
    assert [record["epoch"] for record in described["history"]] == [1, 2, 3]
    (run_folder / "summary.json").unlink()
    unfinished = call("show", run_folder)
    assert f"next    sglr resume {run_folder}" in unfinished.out


def test_show_opens_with_results_and_with_settings_that_differ(call, run_folder):
    answer = call("show", run_folder).out
    order = [
        answer.index(word) for word in ("results: sglr", "test accuracy", "training: 3 of 3", "settings that differ")
    ]
    assert order == sorted(order)
    assert "majority class 10." in answer
    settings = answer[order[-1] :]
    assert all(f" {name} " in settings for name in ("model", "clients", "epochs", "samples_per_client"))
    assert not any(f" {name} " in settings for name in ("batch_size", "optimizer", "alpha", "seed"))
    everything = call("show", run_folder, "--all").out
    assert all(f" {name} " in everything for name in ("batch_size", "optimizer", "alpha", "seed"))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"method": "psl"}, {"method"}),
        ({"method": "psl", "label_prior": "auto"}, {"method", "label_prior"}),
        ({"method": "gpsl"}, {"method"}),
        ({"method": "gpsl", "batching": "local"}, {"method", "batching"}),
        ({"method": "<Own>", "lr": 0.5}, {"method", "lr"}),
        ({}, set()),
    ],
)
def test_settings_that_a_method_implies_are_no_changes(given, told):
    assert set(changed(Experiment.from_flat(given).flat())) == told


def test_an_accuracy_that_is_the_majoritys_share_is_warned_of(call, tmp_path):
    noise = np.random.default_rng(0).normal(size=(200, 2))
    rows = [f"{one:.4f},{other:.4f},{'yes' if row < 10 else 'no'}" for row, (one, other) in enumerate(noise)]
    (tmp_path / "rare.csv").write_text("\n".join(["a,b,label", *rows]))
    words = ("--dataset", f"table:{tmp_path / 'rare.csv'}", "--model", "mlp", "--clients", "2", "--epochs", "3")
    answer = call("train", *words, "--lr", "0.01", "--quiet", "--out", tmp_path / "run")
    assert answer.code == 0
    assert "test accuracy  95.0 %" in answer.out
    assert "(majority class 95.0 %)" in answer.out
    assert "warning test accuracy 95.0 % does not exceed" in answer.out
    test = json.loads((tmp_path / "run" / "summary.json").read_text())["test"]
    assert test["balanced_accuracy"] == 0.5
    assert [(one["name"], one["support"], one["recall"]) for one in test["per_class"]] == [("no", 38, 1), ("yes", 2, 0)]
    assert test["confusion"] == [[76, 0], [4, 0]]


@pytest.mark.parametrize(("file", "text"), [("summary.json", "[]"), ("summary.json", "{"), ("config.toml", "=")])
def test_show_tells_a_broken_folder(call, run_folder, file, text):
    (run_folder / file).write_text(text)
    answer = call("show", run_folder)
    assert answer.code == 2
    assert answer.err.count("\n") == 1


def test_show_refuses_a_folder_that_is_no_run(call, tmp_path):
    answer = call("show", tmp_path / "nowhere")
    assert (answer.code, answer.err.count("\n")) == (2, 1)


def test_what_was_loaded_is_told_before_the_first_epoch(call, tmp_path, tiny):
    answer = call("train", *tiny, "--cut", "relu1", "--out", tmp_path / "run")
    lines = answer.err.splitlines()
    assert lines[:4] == [
        "data    digits: 64 samples to train on, 143 for validation, 360 for test",
        lines[1],
        "model   mlp, inputs 1 x 8 x 8, cut behind relu1",
        "clients 4 with 16 samples each",
    ]
    assert lines[1].startswith("classes ")
    assert lines[4].startswith("epoch 1/1")
    assert max(map(len, lines)) < 80
    quiet = call("train", *tiny, "--quiet", "--out", tmp_path / "quiet")
    assert (quiet.code, quiet.err) == (0, "")


def test_what_looks_wrong_with_the_data_is_warned_of_once(call, tmp_path, tiny):
    pictures = tmp_path / "pictures"
    for name, grey in (("dark", 0), ("light", 255)):
        (pictures / name).mkdir(parents=True)
        for number in range(60):
            picture = Image.new("L", (8, 8), 100)
            picture.putpixel((0, 0), grey)
            picture.save(pictures / name / f"{number}.png")
    (pictures / "dark" / "0.png").write_bytes(b"")
    words = ("--dataset", f"folder:{pictures}", "--on-bad", "skip", *tiny)
    told = "warning: 1 of 120 pictures can't be read and were skipped: dark/0.png (it is empty)"
    assert call("train", *words, "--out", tmp_path / "run").err.count(told) == 1
    compared = call("compare", "--methods", "psl,sfl", *words, "--out", tmp_path / "compared")
    assert (compared.code, compared.err.count(told)) == (0, 1)
    assert compared.err.index("data    folder:") < compared.err.index(told) < compared.err.index("[1/2]")
    grid = tmp_path / "grid.toml"
    grid.write_text('[grid]\nmethod = ["psl", "sfl"]\n')
    swept = call("sweep", grid, *words, "--jobs", 1, "--out", tmp_path / "swept")
    assert (swept.code, swept.err.count(told)) == (0, 1)
    refused = call("train", "--dataset", f"folder:{pictures}", *tiny, "--out", tmp_path / "refused")
    assert (refused.code, (tmp_path / "refused").exists()) == (2, False)
    assert "replace or remove it, or give --on-bad skip" in refused.err
