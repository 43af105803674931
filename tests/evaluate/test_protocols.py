"""Protocols: the field's lists, their hashes, and that nobody can be made to be on both sides."""

import json
from pathlib import Path

import numpy as np
import pytest

from mien.datasets.base import PICTURE, LabelledFrames
from mien.evaluate.protocols import (
    Protocol,
    ProtocolError,
    frame_list_digest,
    load_protocol,
    protocol_for,
    share_of_subjects,
)


def _frames(subjects, split=None):
    N = len(subjects)
    return LabelledFrames(
        action_units=(1,),
        path_N=np.array([f"{k}.jpg" for k in range(N)]),
        frame_N=np.full(N, PICTURE),
        seconds_N=np.full(N, np.nan),
        subject_N=np.array(subjects),
        occurrence_NA=np.zeros((N, 1), np.float32),
        split_N=None if split is None else np.array(split),
    )


@pytest.mark.parametrize(
    ("name", "sizes", "total"), [("bp4d-3fold", (14, 14, 13), 41), ("disfa-3fold", (9, 9, 9), 27)]
)
def test_the_fields_lists_are_whole(name, sizes, total):
    protocol = load_protocol(name)
    assert tuple(len(subjects) for subjects in protocol.parts.values()) == sizes
    assert len({subject for subjects in protocol.parts.values() for subject in subjects}) == total


@pytest.mark.parametrize("name", ["bp4d-3fold", "disfa-3fold"])
def test_every_subject_is_tested_once_by_models_that_never_saw_it(name):
    protocol = load_protocol(name)
    subject_N = np.repeat([s for part in protocol.parts.values() for s in part], 3)
    folds = protocol.folds(subject_N)
    tested = np.concatenate([fold.test for fold in folds])
    assert sorted(tested) == list(range(len(subject_N)))
    for fold in folds:
        assert not set(subject_N[fold.train]) & set(subject_N[fold.test])
        assert len(fold.train) + len(fold.test) == len(subject_N)


def test_a_subject_in_two_parts_is_refused():
    with pytest.raises(ProtocolError, match="'bob' would be on both sides"):
        Protocol("x", "", {"p1": ("ann", "bob"), "p2": ("bob",)}, ("p1",))


def test_a_set_whose_own_split_leaks_is_refused():
    with pytest.raises(ProtocolError, match="both sides"):
        protocol_for("table", _frames(["ann", "ann", "bob"], ["train", "test", "test"]), num_folds=3)


def test_an_empty_side_is_refused():
    with pytest.raises(ProtocolError, match="0 to test on"):
        Protocol("x", "", {"p1": ("ann",), "p2": ("bob",)}, ("p1",)).folds(np.array(["bob"]))


def test_a_subject_outside_all_parts_is_refused():
    with pytest.raises(ProtocolError, match="no part for 1 subjects of the set: zoe"):
        Protocol("x", "", {"p1": ("ann",), "p2": ("bob",)}, ("p1",)).folds(np.array(["ann", "bob", "zoe"]))


def test_the_hash_knows_members_but_not_names_or_order():
    one = Protocol("x", "", {"p1": ("ann", "bob"), "p2": ("cid",)}, ("p1", "p2"))
    same = Protocol("y", "z", {"b": ("cid",), "a": ("bob", "ann")}, ("a", "b"))
    other = Protocol("x", "", {"p1": ("ann",), "p2": ("cid", "bob")}, ("p1", "p2"))
    one_way = Protocol("x", "", {"p1": ("ann", "bob"), "p2": ("cid",)}, ("p1",))
    assert one.digest == same.digest
    assert len({one.digest, other.digest, one_way.digest}) == 3


def test_the_hash_of_the_frames_does_not_depend_on_their_order():
    frames = _frames(["a", "b", "c"])
    assert frame_list_digest(frames) == frame_list_digest(frames.rows([2, 0, 1]))
    assert frame_list_digest(frames) != frame_list_digest(frames.rows([0, 1]))


def test_train_and_test_are_tested_one_way_and_folds_each_once():
    official = protocol_for("gft", _frames(["a", "b", "c"], ["train", "test", "train"]), num_folds=3)
    assert official.test_parts == ("test",)
    assert official.folds(np.array(["a", "b", "c"]))[0].test.tolist() == [1]
    own = protocol_for("table", _frames(["a", "b", "c"], ["x", "y", "z"]), num_folds=3)
    assert own.test_parts == ("x", "y", "z")


def test_a_set_without_list_or_split_gets_parts_of_about_equal_size():
    protocol = protocol_for("table", _frames(["a"] * 4 + ["b"] * 3 + ["c", "d", "e"]), num_folds=3)
    assert sorted(map(len, protocol.parts.values())) == [1, 1, 3]


def test_a_share_of_the_labels_is_a_share_of_the_people():
    subject_N = np.repeat([f"s{k:02d}" for k in range(20)], 5)
    rows = np.arange(50, 100)
    chosen = share_of_subjects(subject_N, rows, share=0.2, seed=0)
    assert len(np.unique(subject_N[chosen])) == 2
    assert len(chosen) == 10
    assert set(chosen) <= set(rows)
    assert len(share_of_subjects(subject_N, rows, share=0.01, seed=0)) == 5
    assert share_of_subjects(subject_N, rows, share=1, seed=0).tolist() == rows.tolist()


def _file(**changes):
    return json.dumps({"name": "x", "source": "", "parts": {"p1": ["a"], "p2": ["b"]}} | changes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "line 1 column 2"),
        ("[]", "found a list; expected"),
        ('{"name": "x"}', "source: Field required; expected"),
        (_file(parts=[["ann"], ["bob"]]), r"parts = \[.*: Input should be an object; expected .*\"p1\": "),
        (_file(parts=None), "parts = None: Input should be an object"),
        (_file(parts={"p1": 3, "p2": ["b"]}), r"parts\.p1 = 3: Input should be a valid"),
        (_file(parts={"p1": ["a", 7], "p2": ["b"]}), r"parts\.p1\.1 = 7: Input should be a valid string"),
        (_file(parts={"p1": "ann", "p2": ["b"]}), r"parts\.p1 = 'ann': Input should be a valid"),
        (_file(test_part=["p1"]), "unknown key 'test_part'; did you mean 'test_parts'"),
        (_file(test_parts="p1"), "test_parts = 'p1': Input should be a valid"),
        (json.dumps({"name": "x", "source": "", "parts": {"p1": ["a"]}}), "expected two parts or more"),
        (
            json.dumps({"name": "x", "source": "", "parts": {"p1": ["a"], "p2": ["b"]}, "test_parts": ["q"]}),
            "tested q",
        ),
        (
            '{"name": "x", "source": "", "parts": {"p1": ["a"], "p2": ["b"], "p1": ["c"]}}',
            "'p1' occurs twice",
        ),
        (
            json.dumps({"name": "x", "source": "", "parts": {"p1": ["F001"], "p2": ["f001 "]}}),
            "'F001' and 'f001 ' would be on both sides of a split",
        ),
        (
            json.dumps(
                {"name": "x", "source": "", "parts": {"p1": ["a"], "p2": ["b"]}, "test_parts": ["p1", "p1"]}
            ),
            "tested p1, p1; expected .* each once",
        ),
    ],
)
def test_a_malformed_protocol_file_is_refused(tmp_path, text, message):
    path = tmp_path / "protocol.json"
    path.write_text(text)
    with pytest.raises(ProtocolError, match=message):
        load_protocol(str(path))


def test_a_protocol_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "protocol.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ProtocolError, match=r"protocol.json: .*expected"):
        load_protocol(str(tmp_path / "protocol.json"))


def test_the_file_of_the_docs_is_read(tmp_path):
    text = (Path(__file__).parents[2] / "docs/evaluate.md").read_text(encoding="utf-8")
    (tmp_path / "mine.json").write_text(text.split("```json\n")[1].split("```")[0])
    protocol = load_protocol(str(tmp_path / "mine.json"))
    assert protocol.parts == {"p1": ("ann", "bob"), "p2": ("cid",), "p3": ("dan",)}
    assert protocol.test_parts == ("p1", "p2")


def test_a_misspelt_protocol_names_the_nearest():
    with pytest.raises(ProtocolError, match="did you mean 'bp4d-3fold'"):
        load_protocol("bp4d-3folds")
