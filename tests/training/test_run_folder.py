from types import SimpleNamespace

import pytest

from hf_tagger.energy import EMISSIONS_FILE
from hf_tagger.errors import RunFolderError
from hf_tagger.hub.shared_files import _MODEL, _REPORTS
from hf_tagger.training import run_folder
from hf_tagger.training.run_folder import last_checkpoint, start_run


def arguments(folder, overwrite=False, resume=None, process=0):
    return SimpleNamespace(
        output_dir=str(folder), overwrite_output_dir=overwrite, resume_from_checkpoint=resume, process_index=process
    )


def open_run_folder(options, source=None):
    return run_folder.open_run_folder(options, SimpleNamespace(model_name_or_path=source))


def write_checkpoint(folder, step, state='{"global_step": 1}', weights=True):
    checkpoint = folder / f"checkpoint-{step}"
    checkpoint.mkdir(parents=True)
    if weights:
        (checkpoint / "model.safetensors").write_bytes(b"weights")
    if state is not None:
        (checkpoint / "trainer_state.json").write_text(state)
    return str(checkpoint)


def test_a_new_folder_is_made(tmp_path):
    assert open_run_folder(arguments(tmp_path / "a" / "b")) is None
    assert (tmp_path / "a" / "b").is_dir()


def test_a_folder_that_holds_a_run_is_refused_unless_told(tmp_path):
    write_checkpoint(tmp_path, 10)
    (tmp_path / "metrics.json").write_text("{}")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunFolderError, match=r"already holds a run \(checkpoint-10, metrics.json\).*--overwrite"):
        open_run_folder(arguments(tmp_path))
    assert open_run_folder(arguments(tmp_path, overwrite=True)) is None
    assert (tmp_path / "metrics.json").exists()  # nothing is lost before everything has been checked
    start_run({"seed": 1}, arguments(tmp_path, overwrite=True))
    # Nothing but a run's own files is deleted.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "recipe.yaml"]


def test_nothing_that_tells_of_deleted_weights_stays(tmp_path):
    """What a push shares, and what the card sums up."""
    names = [name for name in (*_MODEL, *_REPORTS) if "*" not in name] + [EMISSIONS_FILE, "short_clips.png"]
    for name in names:
        (tmp_path / name).write_text("{}")
    start_run({"seed": 1}, arguments(tmp_path, overwrite=True))
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"]
    assert "short_clips.json" in names


def test_the_folder_of_the_model_to_continue_from_is_not_overwritten(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(RunFolderError, match="would be overwritten"):
        open_run_folder(arguments(tmp_path, overwrite=True), source=str(tmp_path))


def test_a_folder_with_other_things_in_it_may_be_used(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    assert open_run_folder(arguments(tmp_path)) is None


def test_an_output_dir_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(RunFolderError, match="is a file"):
        open_run_folder(arguments(tmp_path / "run"))


def test_resuming_takes_the_newest_whole_checkpoint(tmp_path):
    older = write_checkpoint(tmp_path, 90)
    newest = write_checkpoint(tmp_path, 100)
    assert open_run_folder(arguments(tmp_path, resume="last")) == newest
    (tmp_path / "checkpoint-100" / "trainer_state.json").write_text('{"global_st')
    assert open_run_folder(arguments(tmp_path, resume="last")) == older


@pytest.mark.parametrize(("state", "weights"), [(None, True), ("", True), ('{"a": 1}', False)])
def test_a_checkpoint_that_was_cut_off_is_not_used(tmp_path, state, weights):
    write_checkpoint(tmp_path, 5, state, weights)
    assert last_checkpoint(tmp_path) is None
    with pytest.raises(RunFolderError, match="no whole checkpoint"):
        open_run_folder(arguments(tmp_path, resume=str(tmp_path / "checkpoint-5")))


def test_resuming_before_the_first_checkpoint_starts_at_the_beginning(tmp_path, caplog):
    (tmp_path / "recipe.yaml").write_text("seed: 1\n")
    assert open_run_folder(arguments(tmp_path, resume="last")) is None
    assert "starts at the beginning" in caplog.text


def test_resuming_and_overwriting_at_once_is_refused(tmp_path):
    with pytest.raises(RunFolderError, match="keep one of them"):
        open_run_folder(arguments(tmp_path, overwrite=True, resume="last"))


def test_other_processes_neither_refuse_nor_delete(tmp_path):
    write_checkpoint(tmp_path, 10)
    assert open_run_folder(arguments(tmp_path, process=1)) is None
    assert open_run_folder(arguments(tmp_path, overwrite=True, process=1)) is None
    assert (tmp_path / "checkpoint-10").exists()


def test_resuming_a_finished_run_without_checkpoints_is_refused(tmp_path):
    (tmp_path / "metrics.json").write_text("{}")
    with pytest.raises(RunFolderError, match="nothing to resume"):
        open_run_folder(arguments(tmp_path, resume="last"))


def test_resuming_with_another_recipe_is_said_and_with_other_data_refused(tmp_path, caplog):
    recipe = {"dataset_name": "gtzan", "num_train_epochs": 3.0}
    start_run(recipe, arguments(tmp_path))
    start_run(recipe, arguments(tmp_path, resume="last"))
    assert caplog.text == ""
    start_run(recipe | {"num_train_epochs": 5.0}, arguments(tmp_path, resume="last"))
    assert "num_train_epochs 3.0 → 5.0" in caplog.text
    assert "num_train_epochs: 5.0" in (tmp_path / "recipe.yaml").read_text()
    with pytest.raises(RunFolderError, match="dataset_name 'gtzan' → 'fma'"):
        start_run(recipe | {"dataset_name": "fma"}, arguments(tmp_path, resume="last"))
    assert "gtzan" in (tmp_path / "recipe.yaml").read_text()


def test_resuming_with_the_labels_in_another_order_is_refused(tmp_path):
    start_run({"label_columns": ["guitar", "voice"]}, arguments(tmp_path))
    with pytest.raises(RunFolderError, match="label_columns"):
        start_run({"label_columns": ["voice", "guitar"]}, arguments(tmp_path, resume="last"))
