"""scripts/make_space.py: a Space, and the commands that try it and share it."""

import shlex
import subprocess
import sys

import pytest
from huggingface_hub import SpaceCard
from script_runner import load_script
from small_taggers import save

from hf_tagger.errors import HfTaggerError


def make_space(*arguments):
    load_script("make_space").main([*map(str, arguments)])


def test_it_tells_what_was_made_and_the_commands_that_try_and_share_it(tmp_path, capsys):
    model, folder = save(tmp_path / "run"), tmp_path / "my space"
    make_space(model, folder, "--title", "What is playing?")
    said, _, try_it, _, log_in, share_it = capsys.readouterr().out.splitlines()
    assert said == f"What is playing?: a Space with a copy of the model, 3 tags, in {folder}"
    assert shlex.split(try_it) == ["python", str(folder / "app.py")]
    assert (folder / "app.py").is_file()
    assert SpaceCard.load(folder / "README.md").data.title == "What is playing?"
    assert shlex.split(log_in) == ["hf", "auth", "login"]

    program, *arguments = shlex.split(share_it)
    assert (program, arguments) == ("hf", ["upload", "YOUR_NAME/YOUR_SPACE", str(folder), ".", "--repo-type", "space"])
    asked = [sys.executable, "-m", "huggingface_hub.cli.hf", *arguments, "--help"]  # options are read before it helps
    finished = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr


def test_mistakes_are_told_and_nothing_is_written(tmp_path):
    with pytest.raises(HfTaggerError, match="neither a folder nor a name that the Hub allows"):
        make_space(tmp_path / "no run", tmp_path / "space")
    model = save(tmp_path / "run")
    with pytest.raises(HfTaggerError, match="exists and is not an empty folder; nothing was written"):
        make_space(model, model)
    assert not (tmp_path / "space").exists()
    assert not (model / "app.py").exists()
