"""From a study's file to its cells: expansion, names, overrides, and everything that is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from flexlora import recipe
from flexlora.errors import UsageError
from flexlora.studies.cells import Cell, bases_of, cells_of
from flexlora.studies.files import load_study, packaged_studies, read_study
from flexlora.studies.folder import differing, runs_of
from flexlora.studies.names import folder_name, short_keys, value_name
from flexlora.studies.schema import Study

RECIPE: dict[str, Any] = {
    "model": "m",
    "data": [{"dataset": "mbpp"}],
    "tasks": ["humaneval", "multipl-e/humaneval/java"],
    "baselines": ["other"],
    "arms": {"none": {"penalty": {"lam": 0}}, "factors": {"penalty": {"view": "factors"}}},
}


def written(folder: Path, **study: Any) -> Path:
    (folder / "mine.yaml").write_text(yaml.safe_dump({"recipe": RECIPE, **study}, sort_keys=False))
    return folder / "mine.yaml"


def load(folder: Path, *overrides: str, **study: Any) -> Study:
    return load_study(written(folder, **study), overrides)


def names(study: Study) -> list[str]:
    return [cell.name for cell in cells_of(study)]


def cell(study: Study, name: str) -> Cell:
    return next(cell for cell in cells_of(study) if cell.name == name)


def test_arms_grid_and_seeds_make_cells(tmp_path: Path) -> None:
    study = load(
        tmp_path,
        grid={"penalty.lam": [0.01, 2.0e-2], "lora.targets": {"mlp": "mlp", "qv": ["q_proj", "v_proj"]}},
        seeds=2,
        seeds_of={"factors": [7]},
    )
    assert names(study) == [
        *("none,targets=mlp,seed=0", "none,targets=mlp,seed=1", "none,targets=qv,seed=0", "none,targets=qv,seed=1"),
        *("factors,lam=0.01,targets=mlp,seed=7", "factors,lam=0.01,targets=qv,seed=7"),
        *("factors,lam=0.02,targets=mlp,seed=7", "factors,lam=0.02,targets=qv,seed=7"),
    ], "where an arm sets lambda itself, the grid makes no more of it"
    one = cell(study, "factors,lam=0.02,targets=qv,seed=7")
    assert (one.config, one.arm, one.seed) == ("factors lam=0.02 targets=qv", "factors", 7)
    assert one.point == {"penalty.lam": 0.02, "lora.targets": "qv"}
    trained = one.recipe.arm("factors")
    assert (trained.penalty.lam, trained.penalty.view, trained.lora.targets) == (0.02, "factors", ("q_proj", "v_proj"))
    assert trained.seed == 7
    assert cell(study, "none,targets=qv,seed=1").recipe.arm("none").penalty.lam == 0
    assert (one.recipe.variants, one.recipe.baselines, list(one.recipe.arms)) == (("adapter",), (), ["factors"])


def test_the_base_is_one_run_with_the_baselines(tmp_path: Path) -> None:
    study = load(tmp_path, grid={"penalty.tau": [0.3, 0.5]}, seeds=3)
    assert {cell.base for cell in cells_of(study)} == {"base"}
    (base,) = bases_of(study).values()
    assert (base.variants, base.baselines, base.arm_names(), base.data) == (("base",), ("other",), (), ())


def test_every_model_of_a_grid_has_a_base(tmp_path: Path) -> None:
    study = load(tmp_path, grid={"model": ["a/small", "b/large"], "lora.rank": [4]})
    assert {name: base.model for name, base in bases_of(study).items()} == {
        "base,model=a--small": "a/small",
        "base,model=b--large": "b/large",
    }
    one = cell(study, "none,model=b--large,rank=4,seed=0")
    assert (one.config, one.base, one.recipe.model) == ("none model=b/large rank=4", "base,model=b--large", "b/large")


def test_equal_recipes_of_an_arm_are_run_once_and_equal_arms_are_not(tmp_path: Path) -> None:
    whole = {"weak": {"lam": 0.01}, "strong": {"lam": 0.02}}
    study = load(tmp_path, arms={"a": {}, "same": {}, "own": {"penalty": {"lam": 0.0}}}, grid={"penalty": whole})
    assert names(study) == [
        *("a,penalty=weak,seed=0", "a,penalty=strong,seed=0"),
        *("same,penalty=weak,seed=0", "same,penalty=strong,seed=0", "own,penalty=weak,seed=0"),
    ]


def test_a_study_without_arms_has_one(tmp_path: Path) -> None:
    plain = {key: value for key, value in RECIPE.items() if key != "arms"}
    assert names(load(tmp_path, recipe=plain)) == ["main,seed=0"]


def test_a_recipe_is_looked_for_beside_the_study_and_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "beside.yaml").write_text(yaml.safe_dump(RECIPE | {"model": "./local"}))
    monkeypatch.chdir(tmp_path)
    study = load(tmp_path, recipe="beside.yaml", grid={"model": ["tiny", "./far"]})
    monkeypatch.chdir("/")
    assert isinstance(study.recipe, dict)
    assert study.recipe["model"] == str(tmp_path / "local")
    assert study.grid["model"] == {"tiny": "tiny", "./far": str(tmp_path / "far")}, "means the same from anywhere"
    assert list(load(tmp_path, recipe="demo").arms) == ["none", "factors", "permuted"]


def test_what_is_written_reads_back_as_the_same_study(tmp_path: Path) -> None:
    study = load(
        tmp_path,
        set={"sampling": {"preset": "pass@1"}, "tasks": ["multipl-e/humaneval/j*"]},
        grid={"penalty.lam": [0.01], "lora.targets": {"mlp": "mlp"}},
        analysis={"against": ["none targets=mlp"]},
    )
    assert [task.name for task in cells_of(study)[0].recipe.tasks] == [
        f"multipl-e/humaneval/{language}" for language in ("java", "js", "jl")
    ], "patterns are filled in"
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study.model_dump(mode="json"), sort_keys=False))
    again = read_study(tmp_path / "study.yaml")
    assert cells_of(again) == cells_of(study)
    assert bases_of(again) == bases_of(study)
    assert differing(again, load_study(tmp_path)) == {}, "a study's directory is a study, too"


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["model=tiny"], lambda s: s.recipe["model"] == "tiny"),
        (["seeds=3"], lambda s: s.seeds == (0, 1, 2)),
        (["grid.penalty.lam=[0.5]"], lambda s: s.grid == {"lora.rank": (4, 8), "penalty.lam": (0.5,)}),
        (["grid.lora.rank=[2]"], lambda s: s.grid == {"lora.rank": (2,)}),
        (["grid.lora.rank=null"], lambda s: s.grid == {}),
        (["grid={}"], lambda s: s.grid == {}),
        (["arms.none=null"], lambda s: list(s.arms) == ["factors"]),
        (["arms.factors.penalty.tau=0.3"], lambda s: s.arms["factors"]["penalty"] == {"view": "factors", "tau": 0.3}),
        (["arms.rows.penalty.view=rows"], lambda s: list(s.arms) == ["none", "factors", "rows"]),
        (["recipe=demo", "arms.none=null"], lambda s: list(s.arms) == ["factors", "permuted"]),
        (["analysis.k=1", "penalty.tau=0.25"], lambda s: s.recipe["penalty"]["tau"] == 0.25),
    ],
)
def test_overrides_are_of_the_study_or_of_its_recipe(overrides: list[str], expected: Any, tmp_path: Path) -> None:
    assert expected(load(tmp_path, *overrides, grid={"lora.rank": [4, 8]}))


@pytest.mark.parametrize(
    ("study", "overrides", "says"),
    [
        ({}, ["gird=1"], r"'gird' is no key of a study or of a recipe; did you mean 'grid'"),
        ({}, ["arms.non=null"], "no 'non' to take out; it has none, factors"),
        ({"gird": {}}, [], "gird: unknown key; did you mean 'grid'"),
        ({"grid": {"lora.rank": []}}, [], "lora.rank: no values"),
        ({"seeds": [1, 1]}, [], "a seed stands twice"),
        ({"seeds_of": {"non": 2}}, [], "seeds_of.non: there is no such arm; there are none, factors"),
        (
            {"set": {"lora": {"rnk": 1}}},
            [],
            r"(?s)what the study sets:.*lora.rnk: unknown key; did you mean 'rank'",
        ),
        ({"set": {"seed": 1}}, [], "set.seed: the study's own `seeds`"),
        ({"arms": {"a": {"seed": 1}}}, [], "arms.a.seed: not an arm's to change: `seeds`"),
        ({"arms": {"a": {"model": "x"}}}, [], "arms.a.model: the same for all arms"),
        ({"grid": {"seed": [1]}}, [], "grid.seed: not a key of a grid: `seeds`"),
        ({"grid": {"variants": {"m": ["merged"]}}}, [], "grid.variants: .* all of them are evaluated of every cell"),
        ({"grid": {"lora.rank": [4, 4]}}, [], "two values are called 4"),
        ({"grid": {"data": [[{"dataset": "mbpp"}]]}}, [], "grid.data: .* too long for a name; write a mapping"),
        ({"grid": {"penalty": {"lam": [0.1, 0.2]}}}, [], r"grid.penalty: write keys with points \(penalty.lam\)"),
        (
            {"grid": {"lora.rank": [0, 4], "lora.rnk": [1], "penalty.tau": ["x"]}},
            [],
            r"(?s)lora.rank: .*\(found 0\), in none rank=0 rnk=1 tau=x.*lora.rnk: unknown key.*penalty.tau: .*'x'",
        ),
        ({"set": {"engine": {"name": "openai", "base_url": "http://h/v1"}}}, [], "engine: .*engine.name: transformers"),
        ({"analysis": {"against": ["nobody"]}}, [], "configuration or arm 'nobody'; there are none, factors, base"),
        (
            {"analysis": {"confirmatory": ["x"]}, "grid": {"lora.rank": [4]}},
            [],
            "there are none rank=4, factors rank=4",
        ),
        (
            {"analysis": {"primary": {"config": "factors", "against": "non", "tasks": ["mbpp"], "variant": "merged"}}},
            [],
            r"(?s)primary.against.*'non'.*primary.tasks.*'mbpp'; there are humaneval.*'merged'; there are adapter",
        ),
        ({"analysis": {"tradeoff": {"gain": ["humaneval"], "retention": ["rust"]}}}, [], "tradeoff.retention.*'rust'"),
        ({"analysis": {"k": 10}}, [], "pass@10 needs as many completions; sampling.n is 1"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(
    study: dict[str, Any], overrides: list[str], says: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=says):
        load(tmp_path, *overrides, **study)


def test_what_is_compared_with_may_be_an_arm_at_every_point_or_the_base(tmp_path: Path) -> None:
    grid, against = {"lora.rank": [4, 8]}, ["none", "factors rank=4", "base"]
    assert load(tmp_path, grid=grid, analysis={"against": against}).analysis.against == tuple(against)


def test_studies_and_recipes_are_not_taken_for_each_other(tmp_path: Path) -> None:
    assert not packaged_studies().keys() & recipe.packaged().keys()
    for name in recipe.packaged():
        assert not recipe.is_study(recipe.read_yaml(recipe.packaged()[name]))
    for name in packaged_studies():
        assert load_study(name).description
    with pytest.raises(UsageError, match="a study, which is many runs; `flexlora study run"):
        recipe.load(written(tmp_path))
    with pytest.raises(UsageError, match="a recipe, which is one run; `flexlora run demo`"):
        load_study("demo")
    with pytest.raises(UsageError, match="a recipe, which is one run; `flexlora run"):
        load_study(recipe.packaged()["demo"])
    with pytest.raises(UsageError, match="no such file, and no packaged study"):
        load_study("nowhere")
    (tmp_path / "two.yaml").write_text(f"recipe: {tmp_path / 'mine.yaml'}\n")
    with pytest.raises(UsageError, match="is a study itself"):
        load_study(tmp_path / "two.yaml")


def test_names_are_short_safe_and_different(tmp_path: Path) -> None:
    assert [value_name(value) for value in (True, None, 2.0, 0.1 + 0.2, "a b", ["q", "v"], [["q"]], {})] == [
        *("true", "null", "2", "0.30000000000000004", "a-b", "q+v", None, None)
    ]
    assert short_keys(["lora.rank", "other.rank", "penalty.tau"]) == {
        "lora.rank": "lora.rank",
        "other.rank": "other.rank",
        "penalty.tau": "tau",
    }
    hostile = ["../up seed=0", "a\nb seed=0", "a?b seed=0", "a*b seed=0", "x" * 300, "x" * 301, ".hidden", "-rf"]
    folders = [folder_name(name) for name in hostile]
    assert len(set(folders)) == len(folders)
    assert all("/" not in name and name.isprintable() and len(name) < 160 and name[0] not in ".-" for name in folders)


def test_a_grown_study_is_continued_and_another_is_not(tmp_path: Path) -> None:
    def changed(*overrides: str) -> list[str]:
        grid = {"lora.rank": [4, 8]}
        return sorted(differing(load(tmp_path, grid=grid, seeds=2), load(tmp_path, *overrides, grid=grid, seeds=2)))

    assert changed() == []
    assert changed("seeds=3", "seeds_of.none=5", "grid.lora.rank=[4, 8, 16]", "arms.rows.penalty.view=rows") == []
    assert changed("description=other", "execution.workers=3") == []
    assert changed("seeds=1") == ["seeds of factors", "seeds of none"]
    assert changed("grid.lora.rank=[4]") == ["grid.lora.rank.8"]
    assert changed("arms.none=null") == ["analysis.against", "arms.none"]
    assert changed("penalty.tau=0.3") == ["recipe.penalty.tau"]
    assert changed("grid.penalty.tau=[0.1]") == ["grid.penalty.tau"]
    assert changed("analysis.against=[factors rank=4]") == ["analysis.against"]


def test_runs_are_named_after_cells(tmp_path: Path) -> None:
    runs = runs_of(load(tmp_path, seeds=2), tmp_path / "out")
    assert [(run.name, run.first) for run in runs] == [
        ("base", False),
        *(("none,seed=0", True), ("factors,seed=0", True), ("none,seed=1", False), ("factors,seed=1", False)),
    ]
    assert runs[1].path == tmp_path / "out" / "cells" / "none,seed=0"
