"""The commands, end to end in this process: what they print and what they leave."""

from __future__ import annotations

import inspect
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from threading import Thread

import click
import numpy as np
import pytest
from PIL import Image

import segexport
from segexport import cli, scenes
from segexport.bundle import Bundle
from segexport.cli.options import Argument
from tests.support.checkpoints import SIZE, write_checkpoint
from tests.support.cli import RunCli, assert_refused


@pytest.mark.bundle
def test_build_selftest_predict(checkpoint: Path, tmp_path: Path, run_cli: RunCli) -> None:
    out = tmp_path / "bundle"
    arguments = ("--model", checkpoint, "--engine", "auto", "--precision", "fp32", "--size", "64x96", "--out", out)
    built = run_cli("build", *arguments, "--verbose")
    assert built.code == 0, built.err
    for says in (
        "openvino",
        "preferred to onnxruntime",
        "uint8 [1, 64, 96, 3] RGB",
        "fold-decode-head",
        "MB at peak",
    ):
        assert says in built.out
    assert {p.name for p in out.iterdir()} == {"model.onnx", "engine.onnx", "segexport.json", "SHA256SUMS", "golden"}
    assert run_cli("selftest", out).out.startswith("passed: 100.0000%")

    picture = tmp_path / "street.jpg"
    Image.fromarray(scenes.scene(4, (120, 160))[0]).save(picture)
    predicted = run_cli("predict", out, picture, "-o", tmp_path / "out")
    assert predicted.code == 0, predicted.err
    with Image.open(tmp_path / "out" / "street_mask.png") as mask, segexport.open(out) as net:
        assert (mask.mode, mask.size) == ("P", (160, 120)), "class ids with a palette, in the image's own size"
        np.testing.assert_array_equal(np.asarray(mask), net.run(picture).mask)
    with Image.open(tmp_path / "out" / "street_overlay.png") as overlay:
        assert (overlay.mode, overlay.size) == ("RGB", (160, 120))


@pytest.mark.bundle
def test_overwrite_and_from_bundle(bundle: Bundle, tmp_path: Path, run_cli: RunCli) -> None:
    out = tmp_path / "copy"
    assert run_cli("build", "--from-bundle", bundle.folder, "--engine", "onnxruntime", "--out", out).code == 0
    again = ("build", "--from-bundle", bundle.folder, "--engine", "openvino", "--out", out)
    assert run_cli(*again).code == 2
    assert segexport.open(out).bundle.manifest.engine.name == "onnxruntime"
    assert run_cli(*again, "--overwrite").code == 0
    assert segexport.open(out).bundle.manifest.engine.name == "openvino"
    assert [p.name for p in tmp_path.iterdir()] == ["copy"]
    assert (out / "model.onnx").read_bytes() == bundle.model.read_bytes()


@pytest.mark.bundle
def test_a_classifier_writes_its_best_classes(classifier: Path, tmp_path: Path, run_cli: RunCli) -> None:
    out = tmp_path / "classifier"
    built = run_cli("build", "-m", classifier, "--engine", "onnxruntime", "-o", out)
    assert built.code == 0, built.err
    Image.fromarray(scenes.scene(4, SIZE)[0]).save(tmp_path / "a.png")
    assert run_cli("predict", out, tmp_path / "a.png", "-o", tmp_path).code == 0
    rows = json.loads((tmp_path / "a_classes.json").read_text())
    assert len(rows) == 5
    assert rows[0]["name"] == f"class {rows[0]['id']}"
    assert rows[0]["score"] >= rows[1]["score"] > 0


def test_engines_lists_every_engine(run_cli: RunCli) -> None:
    found = run_cli("engines")
    assert found.code == 0
    for name in ("onnxruntime", "openvino", "pytorch"):
        assert name in found.out


def test_the_version(run_cli: RunCli) -> None:
    assert run_cli("--version").out.strip() == segexport.__version__


def test_the_overview_says_what_each_command_does_and_is_what_no_arguments_show(run_cli: RunCli) -> None:
    overview = run_cli("--help").out
    assert {name: what for name, (_, what) in cli.COMMANDS.items()} == dict(
        line.split(maxsplit=1) for line in overview.partition("Commands:\n")[2].splitlines()
    )
    alone = run_cli()
    assert alone.out + alone.err == overview


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_help_begins_as_the_docstring_does_and_explains_every_parameter(name: str, run_cli: RunCli) -> None:
    command = cli.app.get_command(click.Context(cli.app), name)
    assert command is not None
    found = run_cli(name, "--help")
    assert found.code == 0, found.err
    _, begins, *lists = ("".join(part.split()) for part in found.out.split("\n\n"))  # lines break at hyphens, too
    assert begins == "".join((inspect.getdoc(command.callback) or "").partition("\n\n")[0].split())
    explained = {part.partition(":")[0]: part for part in lists}
    for parameter in command.params:
        assert isinstance(parameter, (click.Option, Argument))
        assert parameter.help
        there = explained["Options" if isinstance(parameter, click.Option) else "Arguments"]
        assert "".join(parameter.help.split()) in there


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("bnech",), "No such command 'bnech'. Did you mean 'bench'?"),
        (("xyz",), "No such command 'xyz'."),
        (("build", "--modle", "b0"), "--model"),
        (("calibrate", "--out", "x"), "Missing option '--data'."),
        (("predict", "bundle", "--out", "x"), "Missing argument 'IMAGES...'."),
        (("build", "--precision", "fp8"), "'fp8' is not one of 'fp32', 'bf16', 'fp16', 'int8', 'auto'."),
        (("bench", "--limit", "few"), "Invalid value for '--limit': 'few' is not a valid integer."),
        (("bench", "--limit", "0"), "Invalid value for '--limit': 0 is not in the range x>=1."),
        (("demo", "--seconds", "1"), "Invalid value for '--seconds': 1.0 is not in the range x>=5."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_mistake_is_named_with_what_would_be_right(arguments: tuple[str, ...], said: str, run_cli: RunCli) -> None:
    found = run_cli(*arguments)
    assert (found.code, found.out) == (2, "")
    assert said in found.err.splitlines()[-1]


def test_ctrl_c_ends_with_130(data: Path, tmp_path: Path, run_cli: RunCli) -> None:
    names = tmp_path / "names"
    os.mkfifo(names)

    def stop() -> None:
        with names.open("w"):  # opened as soon as the command reads
            os.kill(os.getpid(), signal.SIGINT)

    Thread(target=stop, daemon=True).start()
    stopped = run_cli("doctor", data, "--classes", names)
    assert (stopped.code, stopped.out, stopped.err) == (130, "", "stopped\n")


def test_bash_completes_commands_options_and_values() -> None:
    script = """
eval "$(segexport --show-completion)"
complete_last() {
    COMP_WORDS=(segexport "$@") COMP_CWORD=$# COMPREPLY=()
    _segexport_completion segexport
    echo "${COMPREPLY[@]}"
}
complete_last be
complete_last build --calib
complete_last build --engine openv
"""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = ["bash", "--norc", "-c", script]
    environment = {**os.environ, "PATH": path, "SHELL": "/bin/bash"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() == ["bench", "--calibration", "openvino"], done.stderr


def test_completion_is_installed_once_for_the_shell_at_hand(
    tmp_path: Path, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SHELL", "/usr/bin/zsh")
    (tmp_path / ".zshrc").write_text("alias x=y")
    for _ in range(2):
        installed = run_cli("--install-completion")
        assert installed.code == 0, installed.err
    assert installed.out.startswith(f"zsh completion installed in {tmp_path / '.zfunc' / '_segexport'}")
    assert (tmp_path / ".zfunc" / "_segexport").read_text().startswith("#compdef segexport")
    lines = (tmp_path / ".zshrc").read_text().splitlines()
    assert lines == ["alias x=y", "fpath+=~/.zfunc; autoload -Uz compinit; compinit"]
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    assert_refused(run_cli("--install-completion"), "the shell 'tcsh' has no completion: set SHELL to one of bash, zsh")


@pytest.mark.bundle
def test_an_image_that_is_not_rgb_warns_once(bundle: Bundle, tmp_path: Path, run_cli: RunCli) -> None:
    for name in ("a", "b"):
        Image.fromarray(scenes.scene(4, SIZE)[0]).convert("L").save(tmp_path / f"{name}.png")
    found = run_cli("predict", bundle.folder, tmp_path / "a.png", tmp_path / "b.png", "-o", tmp_path / "out")
    assert found.code == 0, found.err
    assert found.err.count("warning:") == 1


def test_debug_shows_where_an_error_came_from(tmp_path: Path, run_cli: RunCli) -> None:
    with pytest.raises(segexport.errors.BundleCorrupt):
        run_cli("--debug", "selftest", tmp_path)


def test_the_core_imports_without_torch() -> None:
    """Every module but the trainer's and PyTorch's own is read without torch, transformers or an engine."""
    script = """
import sys
for name in ("torch", "transformers", "onnxruntime", "openvino", "datasets", "onnxscript"):
    sys.modules[name] = None
import importlib, pkgutil
import segexport
for module in pkgutil.walk_packages(segexport.__path__, "segexport."):
    importlib.import_module(module.name)
"""
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--model", "no/such/folder"),
        ("--model", "CHECKPOINT", "--size", "31x64"),
        ("--model", "CHECKPOINT", "--size", "wide"),
        ("--model", "CHECKPOINT", "--output", "topk"),
        ("--model", "CHECKPOINT", "--precision", "int8"),
        ("--model", "CHECKPOINT", "--ignore-unused", "nothing"),
        ("--model", "CHECKPOINT", "--engine", "onnxruntime-cuda"),
        ("--model", "b9/b9/b9"),
    ],
    ids=lambda arguments: " ".join(arguments[-2:]),
)
def test_nothing_heavy_is_imported_for_what_is_refused(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """What the command line and the checkpoint's own files tell costs no engine and no graph library."""
    folder = write_checkpoint(tmp_path / "checkpoint")
    engine = () if "--engine" in arguments else ("--engine", "onnxruntime")
    told = [str(folder) if one == "CHECKPOINT" else one for one in arguments]
    script = """
import sys
from segexport import cli
try:
    cli.main()
except SystemExit as exit_:
    heavy = {"onnx", "onnx_ir", "onnxruntime", "openvino", "tensorrt_rtx", "torch", "transformers"} & set(sys.modules)
    print(exit_.code, sorted(heavy))
"""
    command = [sys.executable, "-c", script, "build", *told, *engine, "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "2 []\n", done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("error: ")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "commands"),
    [
        (("--help",), 0, []),
        (("bnech",), 2, []),
        (("selftest", "--help"), 0, ["use"]),
        (("build", "--model", "b0", "--batch", "x"), 2, ["build", "tune"]),
        (("build", "--model", "b0", "--precision", "int8"), 2, ["build", "tune"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_help_and_refused_options_import_next_to_nothing(
    arguments: tuple[str, ...], code: int, commands: list[str]
) -> None:
    """No other command's module, nothing that draws tables, and no arrays."""
    script = """
import sys
from segexport import cli
try:
    cli.main()
except SystemExit as exit_:
    ours = {f"segexport.cli.{module}" for module, _ in cli.COMMANDS.values()}
    dear = {"rich", "numpy", "pydantic", "typer"}
    print(exit_.code, sorted((ours | dear) & set(sys.modules)), file=sys.stderr)
"""
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == f"{code} {[f'segexport.cli.{name}' for name in commands]}"
