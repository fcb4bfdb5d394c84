"""What is deployed: every command of the compose file and the units is one that sglr understands, and all keeps to
the rules: no root, no secrets in images, a health check for each service."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from prometheus_client import Counter

from sglr.cli.main import app
from sglr.engines.remote.server.metrics import Metrics
from sglr.runs.config import Experiment
from sglr.sites.serve_options import ServeOptions
from sglr.system.extras import EXTRAS
from sglr.version import __version__

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "examples" / "deploy"
UNITS = sorted(DEPLOY.glob("*.service"))
CHART = ROOT / "deploy" / "helm" / "sglr"
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def parsed(words: list[str]) -> tuple[str, dict[str, Any]]:
    """Return a command and its options as the real command line reads them, without running it."""
    group = typer.main.get_command(app)
    context = group.make_context("sglr", list(words), resilient_parsing=False)
    rest = [*context._protected_args, *context.args]
    name, command, arguments = group.resolve_command(context, rest)
    inner = command.make_context(name, list(arguments), parent=context)
    return name, inner.params


def in_comments(text: str) -> Iterator[list[str]]:
    """Every command of sglr that comments tell to type."""
    for found in re.findall(
        r"^#\s+.*?\b(sglr (?:serve|join|token|status|revoke|doctor) .*?)(?:\s+#.*|>.*)?$", text, re.M
    ):
        yield shlex.split(found.replace("$i", "0"))[1:]


@pytest.mark.parametrize("service", SERVICES)
def test_the_commands_of_a_service_are_understood(service):
    name, given = parsed(list(map(str, SERVICES[service]["command"])))
    assert name == ("serve" if service == "server" else "join")
    health = SERVICES[service]["healthcheck"]["test"]
    assert health[:2] == ["CMD", "sglr"]
    assert parsed(health[2:])[0] == "status"
    if service != "server":
        assert given["address"] == parsed(SERVICES["server"]["command"])[1]["address"]


def test_clients_have_the_parts_of_the_run_that_is_served():
    experiment = Experiment.from_toml(DEPLOY / "run.toml")
    clients = [parsed(service["command"])[1] for name, service in SERVICES.items() if name != "server"]
    assert [client["partition"] for client in clients] == [f"{part}/3" for part in range(experiment.clients)]
    assert {client["dataset"] for client in clients} == {experiment.dataset}


def test_no_service_is_root_and_none_sees_anothers_secret_or_volume():
    assert re.search(r"^USER (?!0|root)\S+", DOCKERFILE, re.MULTILINE)
    secrets = [service["secrets"][0]["source"] for name, service in SERVICES.items() if name != "server"]
    volumes = [volume for service in SERVICES.values() for volume in service["volumes"] if not volume.startswith(".")]
    assert sorted(secrets) == sorted(COMPOSE["secrets"])
    assert len(volumes) == len(set(volumes)) == len(COMPOSE["volumes"])
    for service in SERVICES.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["restart"] == "on-failure"
        assert "privileged" not in service


def test_an_image_is_made_of_the_sources_and_of_nothing_else():
    ignored = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    let_in = {line[1:] for line in ignored if line.startswith("!")}
    copied = {
        name for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE) for name in line.split()[:-1]
    }
    assert ignored[0] == "*"
    assert let_in == copied
    assert all((ROOT / name).exists() for name in copied)
    assert not re.search(r"token|secret|identity|\.pem", DOCKERFILE.replace("no token", "").replace("secrets.", ""))


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_a_unit_starts_a_command_that_is_understood(unit):
    text = unit.read_text(encoding="utf-8")
    (start,) = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
    program, *words = shlex.split(start)
    assert program.endswith("/sglr")
    assert parsed(words)[0] in ("serve", "join")
    assert "--token" not in words, "a unit can be read by everyone"
    assert re.search(r"^User=(?!root)", text, re.MULTILINE)


@pytest.mark.parametrize("file", [ROOT / "compose.yaml", *UNITS], ids=lambda path: path.name)
def test_commands_in_comments_are_understood(file):
    commands = list(in_comments(file.read_text(encoding="utf-8")))
    assert commands
    for words in commands:
        parsed(words)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_a_unit_is_one_to_systemd(unit, tmp_path):
    # It looks for the program, which is somewhere else here.
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text(encoding="utf-8").replace("/opt/sglr/bin/sglr", sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_dockerfile_is_clean_to_hadolint():
    program = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if program is None:
        pytest.skip("needs hadolint")
    done = subprocess.run([program, ROOT / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


# The chart and the workflow


@pytest.mark.parametrize(("template", "command"), [("server.yaml", "serve"), ("sites.yaml", "join")])
def test_flags_of_the_chart_are_those_of_the_command(template, command):
    text = (CHART / "templates" / template).read_text(encoding="utf-8")
    words = re.findall(r"^\s+- (.*)$", text.partition("args:")[2].partition("ports:")[0], re.MULTILINE)
    flags = [flag for word in words for flag in re.findall(r"^--[a-z-]+", word)]
    group = typer.main.get_command(app)
    chosen = group.get_command(None, command)
    known = {flag for param in chosen.get_params(typer.Context(chosen)) for flag in param.opts}
    assert words[0] == command
    assert flags and set(flags) <= known


def test_a_server_takes_the_charts_address_for_prometheus():
    text = (CHART / "templates" / "server.yaml").read_text(encoding="utf-8")
    port = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))["server"]["prometheus"]
    (host,) = re.findall(r"--prometheus=(\S+):\{\{ \. \}\}", text)
    assert ServeOptions("0.0.0.0:7443", f"{host}:{port}").metrics == "127.0.0.1:9743"


def test_the_charts_run_and_image_are_of_this_version():
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    experiment = Experiment.from_flat(tomllib.loads(values["server"]["run"]))
    assert experiment == Experiment.from_toml(DEPLOY / "run.toml")
    assert chart["appVersion"] == __version__ == values["image"].rpartition(":")[2]


def test_no_pod_of_the_chart_is_root_or_may_write_outside_its_volumes():
    pods = [(CHART / "templates" / name).read_text(encoding="utf-8") for name in ("server.yaml", "sites.yaml")]
    assert all(pod.count('include "sglr.pod"') == pod.count('include "sglr.container"') == 1 for pod in pods)
    rules = (CHART / "templates" / "_pod.tpl").read_text(encoding="utf-8")
    for rule in ("runAsNonRoot: true", "readOnlyRootFilesystem: true", "drop: [ALL]", "ServiceAccountToken: false"):
        assert rule in rules


HELM = pytest.mark.skipif(shutil.which("helm") is None, reason="needs helm")


def rendered(*values: str) -> subprocess.CompletedProcess[str]:
    """Let helm render the chart with these values."""
    flags = [word for value in values for word in ("--set", value)]
    return subprocess.run(["helm", "template", "a", CHART, *flags], capture_output=True, text=True)


@HELM
def test_the_chart_is_clean_to_helm_and_makes_what_the_values_say():
    lint = subprocess.run(["helm", "lint", "--strict", CHART], capture_output=True, text=True)
    assert lint.returncode == 0, lint.stdout
    done = rendered("sites[0].name=x", "sites[0].claim=data", "sites[0].args={--data,/data/patients.csv}")
    objects = list(yaml.safe_load_all(done.stdout))
    jobs = {item["metadata"]["name"]: item["spec"]["template"]["spec"] for item in objects if item["kind"] == "Job"}
    assert jobs.keys() == {"a-server", "a-site-x"}
    assert parsed(jobs["a-server"]["containers"][0]["args"])[0] == "serve"
    name, given = parsed(jobs["a-site-x"]["containers"][0]["args"])
    assert (name, given["address"], str(given["data"])) == ("join", "a-server:7443", "/data/patients.csv")


@HELM
@pytest.mark.parametrize("values", [["sites[0].claim=data"], ["server.enabled=false", "sites[0].name=x"]])
def test_the_chart_refuses_a_site_without_a_name_or_a_server(values):
    done = rendered(*values)
    assert done.returncode != 0 and "sites: " in done.stderr and "sites[]." in done.stderr


def test_an_image_has_extras_that_there_are():
    (extras,) = re.findall(r"^ARG EXTRAS=(.*)$", DOCKERFILE, re.MULTILINE)
    assert "sites" in extras.split(",")
    assert set(extras.split(",")) <= EXTRAS.keys()


def test_the_workflow_covers_every_python_that_is_promised_and_makes_what_there_is():
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    promised = {line.rpartition(" ")[2] for line in project["classifiers"] if re.search(r":: 3\.\d+$", line)}
    jobs = workflow["jobs"]
    assert promised <= set(jobs["test"]["strategy"]["matrix"]["python"])
    assert set(jobs["publish"]["needs"]) == jobs.keys() - {"publish"}
    runs = " ".join(step.get("run", "") for job in jobs.values() for step in job["steps"])
    targets = set(
        re.findall(r"^([a-z-]+)(?: [a-z-]+)*:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert set(re.findall(r"\bmake ([a-z-]+)", runs)) <= targets | {"test-all"}


def test_the_citation_is_of_this_version():
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"] == __version__


# The operator's guide


def test_commands_of_the_guide_are_understood():
    guide = (ROOT / "docs" / "sites.md").read_text(encoding="utf-8")
    lines = "".join(re.findall(r"```sh\n(.*?)```", guide, re.DOTALL)).splitlines()
    commands = [line.partition(" > ")[0] for line in lines]
    assert {parsed(shlex.split(command)[1:])[0] for command in commands} == {
        *("schema", "serve", "join", "token", "revoke", "doctor", "status")
    }
    (settings,) = re.findall(r"```toml\n(.*?)```", guide, re.DOTALL)
    assert Experiment.from_flat(tomllib.loads(settings)).dataset == "sites"


def test_metrics_of_the_guide_are_those_there_are():
    guide = (ROOT / "docs" / "sites.md").read_text(encoding="utf-8")
    rows = [row.split("|") for row in guide.splitlines() if row.startswith("| `sglr_")]
    told = {
        name: set(re.findall("`([a-z]+)`", row[2])) for row in rows for name in re.findall("`(sglr_[a-z_]+)`", row[1])
    }
    metrics = Metrics()
    found = {
        f"{name}_total" if kind is Counter else name: set(metric._labelnames)
        for metric in metrics.registry._collector_to_names
        for name, kind in [(metric._name, type(metric))]
    }
    assert told == found
