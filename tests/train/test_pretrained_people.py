from __future__ import annotations

import hashlib
import json

from mien.train import pretrained_people
from mien.train.pretrained_people import pretrained_among, record_of_people, warning_of_people


def test_people_are_known_again_by_name_and_their_names_are_not_spelt_out():
    record = record_of_people(["anna", "ben", "anna", "zoë"])
    assert record["count"] == 3
    assert record["sha256"] == hashlib.sha256("anna\nben\nzoë".encode()).hexdigest()
    assert not any(name in json.dumps(record, ensure_ascii=False) for name in ("anna", "ben", "zoë"))
    training = {"identities": record}
    assert pretrained_among(training, ["zoë", "anna", "carl", "anna"]) == 2
    assert warning_of_people(training, ["zoë", "carl"]).startswith("1 of 2 people in the test")
    assert warning_of_people(training, ["carl"]) == ""


def test_of_more_people_than_are_listed_and_of_files_without_people_nothing_is_said(monkeypatch):
    monkeypatch.setattr(pretrained_people, "MOST_LISTED", 2)
    assert "people" in record_of_people("ab")
    record = record_of_people("abc")
    assert record["count"] == 3
    assert "people" not in record
    for training in ({"identities": record}, {}):
        assert pretrained_among(training, "a") is None
        assert warning_of_people(training, "a") == ""
