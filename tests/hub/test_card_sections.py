"""Parts of a card that are written after training."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from test_card import make_summary

from hf_tagger.errors import HfTaggerError
from hf_tagger.hub.card import build_model_card
from hf_tagger.hub.card_sections import check_section, set_section


@pytest.fixture
def run(tmp_path):
    build_model_card(make_summary()).save(tmp_path / "README.md")
    return tmp_path


@pytest.mark.parametrize(("name", "title"), [("short_clips", "### Short clips"), ("robustness", "### Spoiled")])
def test_a_part_is_replaced_and_nothing_else_moves(run, name, title):
    before = (run / "README.md").read_text(encoding="utf-8")
    set_section(run, name, "| 1 s | 0.5 |\n")
    set_section(run, name, r"| 2 s | 0.75 \1 é |")
    after = (run / "README.md").read_text(encoding="utf-8")
    assert "0.5 |" not in after
    own = after.split(title)[1].split("\n## ")[0].split("\n### ")[0]
    assert "\n| 2 s | 0.75 \\1 é |\n" in own
    assert "Not measured yet" not in own
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    assert before.split(begin)[0] == after.split(begin)[0]
    assert before.split(end)[1] == after.split(end)[1]


def test_cards_without_a_place_are_refused_with_what_to_write(run):
    (run / "README.md").write_text("# My own card\n")
    with pytest.raises(HfTaggerError, match=r"no places for it.*\n<!-- robustness -->\n<!-- end of robustness -->"):
        check_section(run, "robustness")
    (run / "README.md").unlink()
    with pytest.raises(HfTaggerError, match=r"takes the folder of a finished run"):
        set_section(run, "short_clips", "text")
