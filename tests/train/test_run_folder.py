from __future__ import annotations

import pytest

from mien.config import SettingsError
from mien.train.run_folder import RunFolder, RunFolderError
from mien.train.tensor_file import TensorFileError

SETTINGS = {"method": {"name": "clp", "beta": 0.1}, "data": {"workers": 2}, "run": {"seed": 0, "epochs": 3}}


def begun(path):
    folder = RunFolder(path)
    with folder.writing(SETTINGS):
        return folder


def changed(section, key, value):
    return {**SETTINGS, section: {**SETTINGS[section], key: value}}


def test_a_new_or_empty_folder_is_usable(tmp_path):
    RunFolder(tmp_path / "new").require_usable(SETTINGS)
    RunFolder(tmp_path).require_usable(SETTINGS)


def test_a_folder_of_a_run_killed_before_its_settings_were_written_is_usable(tmp_path):
    for name in (".lock", ".settings.toml.part"):
        (tmp_path / name).touch()
        RunFolder(tmp_path).require_usable(SETTINGS)


def test_a_folder_with_a_run_of_the_same_settings_is_usable(tmp_path):
    begun(tmp_path).require_usable(SETTINGS)


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(RunFolderError, match="holds other files"):
        RunFolder(tmp_path).require_usable(SETTINGS)


def test_going_on_with_other_settings_names_the_keys_that_differ(tmp_path):
    folder = begun(tmp_path)
    with pytest.raises(SettingsError, match=r"method\.beta: 0\.1 there, 0\.2 now"):
        folder.require_usable(changed("method", "beta", 0.2))
    with pytest.raises(SettingsError, match=r"run\.epochs: 3 there, 4 now"):
        folder.require_usable(changed("run", "epochs", 4))


def test_how_the_work_is_done_may_change(tmp_path):
    begun(tmp_path).require_usable(changed("data", "workers", 8))


def test_two_do_not_write_to_one_run(tmp_path):
    with (
        RunFolder(tmp_path).writing(SETTINGS),
        pytest.raises(RunFolderError, match="another process is writing"),
        RunFolder(tmp_path).writing(SETTINGS),
    ):
        pass


def test_a_run_whose_checkpoints_are_all_damaged_says_so(tmp_path):
    folder = begun(tmp_path)
    folder.checkpoints.mkdir()
    (folder.checkpoints / "step-000000001.safetensors").write_bytes(b"\x80\x04junk....")
    with pytest.raises(TensorFileError, match=r"no checkpoint in .* can be read"):
        folder.newest_checkpoint()
