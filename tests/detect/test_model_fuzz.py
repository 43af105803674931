"""A hundred mutated model files: each loads as what it was or is refused by name; nothing hangs or runs."""

import random
import struct

import numpy as np
import pytest
import torch

from mien.detect.au_model import load_au_model
from mien.train.tensor_file import TensorFileError

NUM_FILES = 100


def _flip(content, chance):
    for _ in range(chance.choice((1, 1, 8, 200))):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)


def _flip_in_header(content, chance):
    (length,) = struct.unpack("<Q", content[:8])
    for _ in range(chance.choice((1, 3))):
        content[8 + chance.randrange(length)] = chance.randrange(256)


def _wrong_length(content, chance):
    content[:8] = struct.pack("<Q", chance.choice((0, 1, 2**32, 2**63, len(content) * 2)))


def _cut(content, chance):
    del content[chance.randrange(len(content)) :]


def _grow(content, chance):
    content += bytes(chance.randrange(256) for _ in range(chance.randrange(1, 300)))


def _digits(content, chance):
    """Numbers of the header replaced: shapes, offsets, sizes, widths."""
    (length,) = struct.unpack("<Q", content[:8])
    places = [k for k in range(8, 8 + length) if 48 <= content[k] <= 57]
    for place in chance.sample(places, min(3, len(places))):
        content[place] = 48 + chance.randrange(10)


MUTATIONS = (_flip, _flip_in_header, _wrong_length, _cut, _grow, _digits)


def test_mutated_files_are_refused_by_name_or_mean_the_same(model, model_path, tmp_path):
    refused = 0
    for number in range(NUM_FILES):
        content = bytearray(model_path.read_bytes())
        MUTATIONS[number % len(MUTATIONS)](content, random.Random(number))
        path = tmp_path / f"mutant{number}.safetensors"
        path.write_bytes(content)
        try:
            loaded = load_au_model(path)
        except TensorFileError as error:
            assert path.name in str(error), number
            refused += 1
        else:  # only what the format allows to differ, such as the order of keys
            assert loaded.digest == model.digest, number
            assert np.array_equal(loaded.threshold_A, model.threshold_A), number
    assert refused >= 0.95 * NUM_FILES


def test_a_pickle_under_our_name_runs_nothing(tmp_path):
    class Mischief:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save(Mischief(), tmp_path / "model.safetensors")
    with pytest.raises(TensorFileError, match=r"model\.safetensors is a pickle"):
        load_au_model(tmp_path / "model.safetensors")
    assert not (tmp_path / "ran").exists()
