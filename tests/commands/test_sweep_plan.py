from __future__ import annotations

import pytest

from mien.commands.sweep_runs import plan_runs, read_sweep
from mien.config import SettingsError, load_recipe, recipes_folder
from mien.train.settings import PretrainSettings

SWEEP = """
recipe = "clp-demo"
rows = 1000
rows_per_step = 176
seeds = [3, 4]
rate = 0.002

[[runs]]
name = "clp"

[[runs]]
name = "simclr"
method = { name = "simclr" }
rows = 500

[[runs]]
name = "tcae"
method = { name = "tcae", flow_side_px = 64 }
set = ["views.flip_probability=0.0"]
seeds = [4]
"""


@pytest.fixture
def planned(tmp_path):
    path = tmp_path / "sweep.toml"
    path.write_text(SWEEP)
    sweep, where = read_sweep(str(path))
    return {run.key: run for run in plan_runs(sweep, where=where)}


def test_the_first_seed_of_every_run_comes_first(planned):
    assert list(planned) == ["clp-seed3", "simclr-seed3", "clp-seed4", "simclr-seed4", "tcae-seed4"]


@pytest.mark.parametrize(("key", "clips", "rows"), [("clp", 16, 176), ("simclr", 88, 176), ("tcae", 35, 175)])
def test_steps_hold_about_the_same_encoder_rows(planned, key, clips, rows):
    run = planned[f"{key}-seed4"]
    assert (run.clips_per_step, run.rows_per_step) == (clips, rows)
    assert run.recipe["data"]["clips_per_step"] == clips


def test_budgets_become_steps_rounded_up(planned):
    assert [planned[key].steps for key in ("clp-seed3", "simclr-seed3")] == [6, 3]
    assert planned["clp-seed3"].recipe["run"]["steps"] == 6


def test_the_rate_of_a_step_does_not_depend_on_its_clips(planned):
    for run in planned.values():
        rate_per_64 = run.recipe["optimiser"]["rate_per_64_clips"]
        assert rate_per_64 * run.clips_per_step / 64 == pytest.approx(0.002)


def test_a_run_sets_its_own_and_shares_the_rest(planned):
    assert planned["tcae-seed4"].recipe["views"]["flip_probability"] == 0.0
    assert "flip_probability" not in planned["clp-seed4"].recipe["views"]
    assert planned["clp-seed4"].recipe["backbone"] == planned["tcae-seed4"].recipe["backbone"]


def test_other_settings_have_another_hash(planned):
    assert len({run.settings_hash for run in planned.values()}) == len(planned)


def test_a_misspelt_key_of_a_run_is_named(tmp_path):
    path = tmp_path / "sweep.toml"
    path.write_text(SWEEP.replace("rows = 500", "row = 500"))
    with pytest.raises(SettingsError, match="'row'; did you mean 'rows'"):
        read_sweep(str(path))


def test_two_runs_of_one_name_are_refused(tmp_path):
    path = tmp_path / "sweep.toml"
    path.write_text(SWEEP.replace('name = "simclr"\nmethod', 'name = "clp"\nmethod'))
    with pytest.raises(SettingsError, match="no name twice"):
        read_sweep(str(path))


@pytest.mark.parametrize("name", sorted(path.stem for path in (recipes_folder() / "sweeps").glob("*.toml")))
def test_shipped_sweeps_can_be_planned(name):
    sweep, where = read_sweep(name)
    planned = plan_runs(sweep, where=where)
    assert len(planned) >= len(sweep.runs)
    # Batch-norm forgets a tenth of its initial statistics a step: after 10 steps a third of them is left.
    assert all(run.steps >= 100 for run in planned if run.key.startswith("untrained"))


RECIPES = [path for path in sorted(recipes_folder().glob("*.toml")) if not path.stem.startswith("render")]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_shipped_recipes_resolve_and_open_with_what_to_expect(path):
    PretrainSettings.from_recipe(load_recipe(path), where=path.name)
    head = path.read_text().split("\n[", 1)[0]
    for word in ("# Paper:", "# Command:", "# Hardware:", "# Hours:", "# Expect:"):
        assert word in head
