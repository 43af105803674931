"""The command line answers at once and says what is wrong in one line."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mien import __version__
from mien.cli import VERBS, main

HELP = """
import contextlib, io, sys
from mien.cli import main
for words in {commands}:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        main([*words, "--help"])
    loaded = {heavy} & set(sys.modules)
    assert not loaded, (words, loaded)
    assert " ".join(["usage: mien", *words]) in said.getvalue(), said.getvalue()
    print(said.getvalue())
"""


def test_help_lists_every_verb_and_every_verb_has_help_without_anything_heavy():
    for commands, heavy in (
        ([[], ["detect"]], {"torch", "numpy", "av", "cv2", "pandas", "pyarrow"}),
        ([[verb] for verb in VERBS], {"torch"}),
    ):
        code = HELP.format(commands=commands, heavy=heavy)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert all(verb in done.stdout for verb in VERBS)


def test_version_is_the_package_s(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert __version__ in capsys.readouterr().out


def test_an_unknown_verb_is_wrong_usage():
    command = [sys.executable, "-m", "mien", "prepair"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "invalid choice: 'prepair'" in done.stderr


def test_nothing_needs_torchvision():
    code = "import sys; sys.modules['torchvision'] = None\n"
    code += "import mien.methods.clp, mien.commands.pretrain, mien.train.loop"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["detect", "x.mp4", "--model", "m", "--out", "FILE"],
            "FILE is a file, expected a folder: move it away",
        ),
        (["prepare", "x.mp4", "--out", "FILE/store"], "FILE is a file, expected a folder: move it away"),
        (["inspect", "store", "--out", "LINK"], "LINK is a link to nothing, expected a folder: move it away"),
        (["pretrain", "clp-demo", "--store", "s", "--out", "FILE"], "FILE is a file, expected a folder"),
        (
            ["embed", "x", "--encoder", "e", "--out", "FOLDER"],
            "FOLDER is a folder, expected a file: give a name",
        ),
        (["embed", "x", "--encoder", "e", "--out", "FILE/t.csv"], "FILE is a file, expected a folder"),
    ],
)
def test_an_out_that_cannot_be_is_refused_before_any_work(tmp_path, capsys, arguments, says):
    file, folder, link = tmp_path / "file", tmp_path / "folder", tmp_path / "link"
    file.touch()
    folder.mkdir()
    link.symlink_to(tmp_path / "nothing")

    def placed(words):
        return words.replace("FILE", str(file)).replace("FOLDER", str(folder)).replace("LINK", str(link))

    assert main([placed(word) for word in arguments]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"mien {arguments[0]}: --out ")
    assert placed(says) in said
