import inspect
from pathlib import Path

import pytest

from flexlora import recipe
from flexlora.errors import UsageError
from flexlora.fourier import FourierPenalty

SERVER = {"name": "openai", "base_url": "http://127.0.0.1:8000/v1"}
VALID = {"model": "m", "data": [{"dataset": "mbpp"}], "tasks": ["humaneval"]}


def refused(**changes: object) -> str:
    with pytest.raises(UsageError) as caught:
        recipe.from_dict(VALID | changes)
    return str(caught.value)


def test_all_errors_are_reported_at_once() -> None:
    message = refused(
        optimiser={},
        penalty={"lam": -1},
        train={"epochs": "three"},
        lora={"targets": "mpl"},
        data=[{"dataset": "mbpp", "wieght": 2}],
        arms={"a": {"penalty": {"tau": 2}}},
    )
    for part in (
        "optimiser: unknown key; did you mean 'optimizer'?",
        "penalty.lam",
        "-1",
        "train.epochs",
        "'three'",
        "'mpl' is no preset (mlp, paper, attention, all)",
        "data.0.wieght: unknown key; did you mean 'weight'?",
        "arms.a.penalty.tau",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"sampling": {"n": 5, "k": [1, 10], "temperature": 0.8}}, "pass@10 needs at least 10 samples"),
        ({"sampling": {"n": 2}}, "greedy samples"),
        ({"sampling": {"preset": "pass@10"}}, "sampling.preset"),
        ({"sampling": {"preset": "pass@1", "temperature": 0.8}}, "temperature = 0.8 is not what preset 'pass@1'"),
        ({"sampling": {"preset": "pass@100", "top_p": 1}}, "top_p = 1 is not what preset 'pass@100'"),
        ({"sampling": {"preset": "pass@100", "n": 20}}, "pass@100 needs at least 100 samples"),
        ({"sampling": {"preset": "greedy", "n": 20}}, "greedy samples"),
        ({"engine": {"name": "openai"}}, "needs base_url"),
        ({"engine": {"base_url": "http://here/v1"}}, "base_url means nothing with name: transformers"),
        ({"engine": SERVER | {"base_url": "here:8000/v1"}}, "not an address of a server"),
        ({"engine": SERVER | {"parameters": {"seed": 1, "top_k": -1}}}, "seed cannot be set here"),
        ({"engine": SERVER | {"models": {"man": "x"}}}, "'man' is nothing that is evaluated; there are base, main"),
        ({"engine": SERVER, "variants": ["merged"]}, "engine.models has no 'main/merged'"),
        ({"engine": SERVER, "prompting": "chat"}, "puts prompts into the tokenizer's chat template"),
        (
            {"engine": SERVER, "selection": ["logprob"], "sampling": {"n": 2, "temperature": 0.8}},
            "log-probabilities, which are not asked of engine openai",
        ),
        ({"execution": {"overlap": "maybe"}}, "execution.overlap"),
        ({"train": {"save_steps": 7}}, "multiple of logging_steps"),
        ({"train": {"spectrum_steps": 0}}, "train.spectrum_steps"),
        ({"lora": {"targets": []}}, "the list is empty"),
        ({"arms": {"base": {}}}, "'base' cannot name an arm"),
        ({"arms": {"a/b": {}}}, "'a/b' cannot name an arm"),
        ({"arms": {"a": {"model": "x"}}}, "arms.a.model: the same for all arms"),
        ({"tasks": ["mbpp", "mbpp"]}, "'mbpp' is listed twice"),
        ({"baselines": ["m"]}, "is the model itself"),
        ({"penalty": {"lam": float("nan")}}, "penalty.lam"),
        ({"tasks": []}, "tasks"),
        ({"model": None}, "model"),
    ],
)
def test_contradictions_are_refused_with_the_value(changes: dict[str, object], part: str) -> None:
    assert part in refused(**changes)


def test_overrides_reach_nested_keys_and_are_yaml(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("model: m\ndata: [{dataset: mbpp}]\ntasks: [humaneval]\n")
    loaded = recipe.load(file, ["train.epochs=1", "tasks=[mbpp]", "optimizer.learning_rate=1e-3", "data_dir=."])
    assert loaded.name == "mine"
    assert loaded.train.epochs == 1
    assert loaded.tasks[0].name == "mbpp"
    assert loaded.optimizer.learning_rate == 1e-3
    assert loaded.data_dir == Path.cwd()


@pytest.mark.parametrize("override", ["epochs", "=1", "train..epochs=1", "train.epochs=[1"])
def test_malformed_overrides_are_refused(override: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("model: m\ndata: [{dataset: mbpp}]\ntasks: [humaneval]\n")
    with pytest.raises(UsageError, match="--set"):
        recipe.load(file, [override])


def test_an_arm_is_the_recipe_with_its_overrides() -> None:
    whole = recipe.from_dict(VALID | {"penalty": {"lam": 0.02}, "arms": {"plain": {"penalty": {"lam": 0}}, "full": {}}})
    assert whole.arm_names() == ("plain", "full")
    assert whole.arm("plain").penalty.lam == 0
    assert whole.arm("plain").penalty.tau == whole.penalty.tau
    assert whole.arm("full").penalty.lam == 0.02
    assert recipe.from_dict(VALID).arm_names() == ("main",)


def test_a_dumped_recipe_reads_back_equal_and_differences_name_the_keys() -> None:
    first = recipe.from_dict(VALID)
    assert recipe.from_dict(recipe.dumped(first)) == first
    second = recipe.from_dict(VALID | {"seed": 3, "execution": {"workers": 2}, "lora": {"rank": 4}})
    assert recipe.differences(recipe.dumped(first), recipe.dumped(second)) == {"seed": (0, 3), "lora.rank": (8, 4)}


def test_a_missing_recipe_is_named_with_a_suggestion() -> None:
    with pytest.raises(UsageError, match="Did you mean 'mbpp-java'"):
        recipe.find("mbpp-jav")


def test_every_packaged_recipe_is_valid_and_described() -> None:
    assert {"mbpp-java", "paper/round1-mbpp", "paper/round4-fourier-merged", "paper/round5-fourier-mlp"} <= set(
        recipe.packaged()
    )
    for name in recipe.packaged():
        assert recipe.load(name).description


@pytest.mark.parametrize(
    ("name", "targets", "lam"),
    [("round1-mbpp", "paper", 0.0), ("round4-fourier-merged", "paper", 0.02), ("round5-fourier-mlp", "mlp", 0.02)],
)
def test_paper_recipes_have_the_papers_hyperparameters(name: str, targets: str, lam: float) -> None:
    paper = recipe.load(f"paper/{name}")
    assert (paper.lora.rank, paper.lora.alpha, paper.lora.dropout, paper.lora.targets) == (8, 16, 0.05, targets)
    assert (paper.train.epochs, paper.train.batch_size, paper.train.max_length) == (3, 4, 512)
    assert (paper.optimizer.name, paper.optimizer.learning_rate, paper.train.scheduler) == ("adamw", 2e-4, "cosine")
    assert (paper.penalty.lam, paper.penalty.tau, paper.precision) == (lam, 0.5, "float16")
    assert (paper.data[0].dataset, paper.data[0].split) == ("mbpp", "all")


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("model: a\ntrain:\n  epochs: 1\n  epochs: 2\n")
    with pytest.raises(UsageError, match="'epochs' stands twice"):
        recipe.load(tmp_path / "r.yaml")


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"train": {"epochs": True}}, "train.epochs: expected a number, found true"),
        ({"lora": {"rank": True}}, "lora.rank: expected a number, found true"),
        ({"train": {"batch_size": "4"}}, "train.batch_size: expected a whole number, found the text '4'"),
    ],
)
def test_numbers_are_not_made_from_anything_else(change: dict[str, object], part: str) -> None:
    with pytest.raises(UsageError, match=part):
        recipe.from_dict(VALID | change)


def test_yaml_reads_1e_4_as_text_and_it_is_a_number_still() -> None:
    assert recipe.from_dict(VALID | {"optimizer": {"learning_rate": "1e-4"}}).optimizer.learning_rate == 1e-4


def test_local_paths_are_kept_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    made = recipe.from_dict(VALID | {"model": "here", "baselines": ["./there", "org/name"]})
    assert made.model == str(tmp_path / "here")
    assert made.baselines == (str(tmp_path / "there"), "org/name")


@pytest.mark.parametrize(
    ("penalty", "part"),
    [
        ({"order": 2.0}, "order means nothing with weighting: step; it goes with ramp"),
        ({"weighting": "ramp", "width": 0.1}, "width means nothing with weighting: ramp"),
        ({"view": "delta", "flatten": "column"}, "flatten means nothing with view: delta"),
        ({"target": 0.3}, "target means nothing with schedule: constant; it goes with target"),
        ({"warmup_steps": 3}, "warmup_steps means nothing with schedule: constant; it goes with linear or cosine"),
        ({"schedule": "linear"}, "warmup_steps, which must be at least 1"),
        ({"schedule": "target", "target": 0.3}, "a first lam above 0"),
        ({"control": "permuted", "weighting": "uniform"}, "knows no frequency"),
        ({"control": "uniform", "schedule": "target", "target": 0.3, "lam": 0.1}, "does not act on"),
        ({"floor": 2.0}, r"gain \(1.0\) must be at least floor"),
    ],
)
def test_options_of_the_penalty_that_do_nothing_are_refused(penalty: dict[str, object], part: str) -> None:
    with pytest.raises(UsageError, match=part):
        recipe.from_dict(VALID | {"penalty": penalty})


def test_the_penalty_takes_every_option_of_the_recipe() -> None:
    parameters = inspect.signature(FourierPenalty).parameters
    assert set(recipe.Penalty.model_fields) == set(parameters) - {"model", "total_steps"}  # known when training starts
    for name, field in recipe.Penalty.model_fields.items():
        assert parameters[name].default in (field.default, inspect.Parameter.empty)


@pytest.mark.parametrize(
    ("optimizer", "part"),
    [
        ({"rho": 0.1}, "optimizer: rho means nothing with name: adamw; it goes with sophia"),
        ({"hessian_interval": 5}, "hessian_interval means nothing"),
        ({"bias_correction": True}, "bias_correction means nothing"),
        ({"name": "sophia", "epsilon": 1e-6}, "epsilon means nothing with name: sophia; it goes with adamw"),
        ({"name": "sophia", "hessian_interval": 0}, "optimizer.hessian_interval"),
        ({"name": "sophia", "betas": [0.9, 1.0]}, "optimizer.betas"),
        ({"name": "sgd"}, "optimizer.name"),
    ],
)
def test_options_that_the_optimizer_does_not_use_are_refused(optimizer: dict[str, object], part: str) -> None:
    with pytest.raises(UsageError, match=part):
        recipe.from_dict(VALID | {"optimizer": optimizer})


def test_an_arm_is_one_word_apart_from_adamw() -> None:
    values = VALID | {"optimizer": {"learning_rate": 1e-3}, "arms": {"a": {}, "b": {"optimizer": {"name": "sophia"}}}}
    adamw, sophia = (recipe.from_dict(values).arm(name).optimizer for name in "ab")
    assert (adamw.name, adamw.decay_rates, adamw.learning_rate) == ("adamw", (0.9, 0.999), 1e-3)
    assert (sophia.name, sophia.decay_rates, sophia.learning_rate) == ("sophia", (0.965, 0.99), 1e-3)
    given = recipe.from_dict(VALID | {"optimizer": {"name": "sophia", "betas": [0.9, 0.95], "rho": 0.2}}).optimizer
    assert (given.decay_rates, given.rho_at(300)) == ((0.9, 0.95), 0.2)
    own = [recipe.Optimizer(name=name) for name in ("adamw", "sophia")]
    assert [optimizer.peak_learning_rate for optimizer in own] == [2e-4, 1e-4]
    assert own[1].rho_at(480_000) == pytest.approx(0.04)
    assert own[1].rho_at(300) == pytest.approx(1.6)


@pytest.mark.parametrize(
    ("sampling", "n", "temperature", "top_p", "k"),
    [
        ({"preset": "greedy"}, 1, 0.0, 1.0, (1,)),
        ({"preset": "pass@1"}, 20, 0.2, 0.95, (1,)),
        ({"preset": "pass@1", "n": 200}, 200, 0.2, 0.95, (1,)),
        ({"preset": "pass@100"}, 200, 0.8, 0.95, (10, 100)),
        ({"preset": "pass@100", "k": [1, 10, 100]}, 200, 0.8, 0.95, (1, 10, 100)),
    ],
)
def test_presets_are_the_published_protocols(
    sampling: dict[str, object], n: int, temperature: float, top_p: float, k: tuple[int, ...]
) -> None:
    drawn = recipe.from_dict(VALID | {"sampling": sampling}).sampling
    assert (drawn.n, drawn.temperature, drawn.top_p, drawn.k) == (n, temperature, top_p, k)
    assert recipe.from_dict(recipe.dumped(recipe.from_dict(VALID | {"sampling": sampling}))).sampling == drawn


def test_keys_in_an_address_are_refused_without_being_shown() -> None:
    message = refused(engine=SERVER | {"base_url": "http://me:sk-secret@127.0.0.1:8000/v1"})
    assert "without user, password or query" in message
    assert "sk-secret" not in message


def test_a_server_has_variants_under_names_of_their_own() -> None:
    models = {"base": "served", "b/merged": "b-merged", "other": "baseline"}
    engine = recipe.from_dict(
        VALID | {"engine": SERVER | {"models": models}, "arms": {"a": {}, "b": {}}, "baselines": ["other", "more"]}
    ).engine
    assert engine.served_name(None, "base", "m") == "served"
    assert engine.served_name("a", "adapter", "m") == "a"
    assert engine.served_name("b", "merged", "m") == "b-merged"
    assert engine.served_name("a", "merged", "m") is None
    assert engine.served_name(None, "baseline", "other") == "baseline"
    assert engine.served_name(None, "baseline", "more") == "more"


def test_samples_may_be_added_and_not_taken_away() -> None:
    few, many = (
        recipe.dumped(recipe.from_dict(VALID | {"sampling": {"n": n, "k": k, "temperature": 1}}))
        for n, k in ((2, [1]), (20, [1, 10]))
    )
    assert not recipe.differences(few, many)
    assert recipe.differences(many, few) == {"sampling.n": (20, 2)}


def test_adapters_at_a_strength_are_variants_with_one_name_each() -> None:
    found = recipe.from_dict(VALID | {"variants": ["base", "adapter", "adapter@0.50", "adapter@.25", "adapter@1.5"]})
    assert found.variants == ("base", "adapter", "adapter@0.5", "adapter@0.25", "adapter@1.5")
    assert [recipe.strength_of(variant) for variant in found.variants[1:]] == [1, 0.5, 0.25, 1.5]
    assert recipe.from_dict(recipe.dumped(found)) == found
    precise = recipe.from_dict(VALID | {"variants": ["adapter@0.12345678"]}).variants
    assert recipe.strength_of(precise[0]) == 0.12345678
    for wrong, said in (
        ("adapter@1", "adapter@1 is the adapter; write adapter"),
        ("adapter@0", "adapter@0 is the base; write base"),
        ("adapter@2.5", "above 0 and at most 2, as in adapter@0.5 (found 'adapter@2.5')"),
        ("adapter@-1", "found 'adapter@-1'"),
        ("adapter@nan", "found 'adapter@nan'"),
        ("adapter@half", "found 'adapter@half'"),
        ("merged@0.5", "there are base, adapter, merged and adapter@NUMBER, the adapter at a strength"),
    ):
        assert said in refused(variants=["base", wrong]), wrong
    assert "names something twice" in refused(variants=["adapter@0.5", "adapter@0.50"])


def test_a_strength_needs_an_update_that_grows_with_it_and_a_model_that_is_loaded_here() -> None:
    halved = {"variants": ["adapter@0.5"]}
    assert "adapter@0.5 does not go with lora.use_dora" in refused(**halved, lora={"use_dora": True})
    dora = {"lora": {"use_dora": True}}
    assert "arms.b.variants: adapter@0.5 does not go" in refused(**halved, arms={"a": {}, "b": dora})
    recipe.from_dict(VALID | halved | {"lora": {"use_rslora": True}})
    recipe.from_dict(VALID | {"variants": ["adapter"]} | dora)
    assert "adapter@0.5 is set in the loaded model" in refused(**halved, engine=SERVER)
