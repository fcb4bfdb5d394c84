"""The committed classes are those that the protocol's description generates."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from sglr.engines.remote.wire import messages_pb2

FOLDER = "sglr/engines/remote/wire"


@pytest.mark.skipif(find_spec("grpc_tools") is None, reason="grpcio-tools is not installed: pip install grpcio-tools")
def test_the_classes_are_generated_from_the_description(tmp_path: Path) -> None:
    source = Path(messages_pb2.__file__).parents[len(Path(FOLDER).parts)]
    protoc = [sys.executable, "-m", "grpc_tools.protoc", "-I", source, "--python_out", tmp_path, "--pyi_out", tmp_path]
    subprocess.run([*protoc, f"{FOLDER}/messages.proto"], cwd=source, check=True)
    generated = sorted((tmp_path / FOLDER).iterdir())
    assert [file.name for file in generated] == ["messages_pb2.py", "messages_pb2.pyi"]
    for file in generated:
        assert file.read_text() == (source / FOLDER / file.name).read_text()
