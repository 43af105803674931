from __future__ import annotations

import pickle
import re
import resource

import pytest
import torch
from safetensors.torch import save_file

from mien.io import WriteError
from mien.train.tensor_file import TensorFileError, read_tensors, write_tensors

TENSORS = {
    "a": torch.arange(6, dtype=torch.float64).view(2, 3),
    "flag": torch.tensor(True),
    "last": torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last),
}


class Bomb:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code ran')",))


def test_what_is_written_is_read_back(tmp_path):
    write_tensors(tmp_path / "x.safetensors", TENSORS, {"step": 3, "nested": {"a": [1.5]}}, kind="thing")
    tensors, record = read_tensors(tmp_path / "x.safetensors", kind="thing")
    assert record == {"step": 3, "nested": {"a": [1.5]}}
    assert set(tensors) == set(TENSORS)
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    assert tensors["a"].dtype == torch.float64
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_pickle_is_refused_and_not_opened(tmp_path, protocol):
    path = tmp_path / "x.safetensors"
    path.write_bytes(pickle.dumps(Bomb(), protocol=protocol))
    with pytest.raises(TensorFileError, match=r"is a pickle.*was not opened; expected a mien checkpoint"):
        read_tensors(path, kind="mien checkpoint")


def test_other_files_are_named_for_what_they_are(tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"")
    with pytest.raises(TensorFileError, match="is empty; expected a thing"):
        read_tensors(path, kind="thing")
    path.write_bytes(b"not tensors at all")
    with pytest.raises(TensorFileError, match="is not a safetensors file"):
        read_tensors(path, kind="thing")
    save_file({"w": torch.zeros(2)}, path)
    with pytest.raises(TensorFileError, match="holds tensors, but no record of mien; expected a thing"):
        read_tensors(path, kind="thing")
    write_tensors(path, {}, {}, kind="other")
    with pytest.raises(TensorFileError, match="holds a other; expected a thing"):
        read_tensors(path, kind="thing")
    with pytest.raises(FileNotFoundError):
        read_tensors(tmp_path / "missing", kind="thing")


@pytest.mark.parametrize("part", [0.1, 0.5, 0.999])
def test_a_file_cut_short_is_refused(tmp_path, part):
    path = tmp_path / "x.safetensors"
    write_tensors(path, {"w": torch.zeros(1000)}, {}, kind="thing")
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(TensorFileError, match="damaged or cut short"):
        read_tensors(path, kind="thing")


def test_the_old_file_stands_when_the_disk_takes_no_more(tmp_path):
    """A limit on the file size stands in for a full disk: write() fails in the same way, half-way through."""
    path = tmp_path / "x.safetensors"
    write_tensors(path, {"w": torch.ones(10)}, {"step": 1}, kind="thing")
    before = path.read_bytes()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limit[1]))
    try:
        with pytest.raises(WriteError, match=f"cannot write {re.escape(str(path))}: "):
            write_tensors(path, {"w": torch.ones(100_000)}, {"step": 2}, kind="thing")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["x.safetensors"]
