"""The crop contract: survives JSON, and any difference is an error that names the field."""

from __future__ import annotations

import dataclasses

import pytest

from mien.faces.contract import ContractMismatchError, CropContract

CONTRACT = CropContract(
    detector="planted",
    detector_sha256="00",
    landmarker="planted",
    landmarker_sha256="11",
    template_points_5x2=((0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.75), (0.65, 0.75)),
    margin=0.2,
)


def test_to_dict_and_from_dict_are_inverse():
    assert CropContract.from_dict(CONTRACT.to_dict()) == CONTRACT


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(CropContract)])
def test_every_field_changes_the_digest_and_is_named_in_the_mismatch(field):
    changes = {
        "template_points_5x2": ((0.3, 0.41), *CONTRACT.template_points_5x2[1:]),
        "margin": 0.3,
        "crop_size_px": 128,
        "version": 2,
    }
    other = dataclasses.replace(CONTRACT, **{field: changes.get(field, "other")})
    assert other.digest != CONTRACT.digest
    with pytest.raises(ContractMismatchError, match=field):
        CONTRACT.require_same(other, ours="store", theirs="encoder")


def test_the_same_contract_passes():
    CONTRACT.require_same(CropContract.from_dict(CONTRACT.to_dict()), ours="a", theirs="b")


def test_fields_of_another_version_are_refused_by_name():
    with pytest.raises(ContractMismatchError, match="rotation"):
        CropContract.from_dict(CONTRACT.to_dict() | {"rotation": 1})


def test_a_template_has_five_points():
    with pytest.raises(ValueError, match="5 points"):
        dataclasses.replace(CONTRACT, template_points_5x2=((0.1, 0.2),))
