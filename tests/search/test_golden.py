"""The recorded sequences of PaddleClas' search script: the same trainings, the same winners."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.golden import Case, each_case
from support.paddleclas import CONFIGS, published
from tinysight.errors import ConfigError
from tinysight.files import parse_yaml
from tinysight.search.plan import SearchPlan, Training, load_plan
from tinysight.search.shas import Outcome, shas
from tinysight.validation import validate

ROOT = "ppcls/configs"


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "ppcls").mkdir()
    (tmp_path / ROOT).symlink_to(CONFIGS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def replay(case: Case, plan: SearchPlan) -> tuple[list[Training], Outcome]:
    """What is trained and found; up to where the script has ended with an error of its own."""
    asked: list[Training] = []
    steps = shas(plan)
    trainings = next(steps)
    known = {key_of(c): c["metric"] for c in case["commands"]}
    while True:
        asked += trainings
        if case["error"] and any((t.config, t.overrides, t.folder) not in known for t in trainings):
            return asked[: len(known)], Outcome()
        scores = {t: known[t.config, t.overrides, t.folder] for t in trainings}
        try:
            trainings = steps.send(scores)
        except StopIteration as stop:
            return asked, stop.value


def key_of(command: dict[str, Any]) -> tuple[str, tuple[str, ...], str]:
    """Of repeats PaddleClas passes every folder so far; the last one counts."""
    folders = [o.partition("=")[2] for o in command["o"] if o.startswith("Global.output_dir=")]
    rest = tuple(o for o in command["o"] if not o.startswith("Global.output_dir="))
    return command["config"], rest, folders[-1]


@published
@each_case("search", lambda case: "commands" in case and bool(case["commands"]))
def test_the_sequence(case: Case, checkout: Path) -> None:
    path = Path(case["config"])
    arguments = [a for a in case["extra_arguments"] if a != "-o"]
    plan = load_plan(path, arguments) if path.is_file() else rebuilt(case)
    asked, outcome = replay(case, plan)
    recorded = list(dict.fromkeys(key_of(c) for c in case["commands"]))  # equal ones once
    assert [(t.config, t.overrides, t.folder) for t in asked] == recorded
    if case["error"]:
        return
    assert outcome.winners == case["winners"]
    results = {
        name: {value: scores for value, scores in found.items() if value != "best"}
        for name, found in (case["results"] or {}).items()
    }
    if results:
        assert outcome.results == results


def rebuilt(case: Case) -> SearchPlan:
    """The search of a configuration that is not at hand, from what it launched."""
    commands, results = list(map(key_of, case["commands"])), case["results"]
    base, final = commands[0][0], commands[-1][0]
    kept, space = list[str](), []
    for name, values in results.items():
        if name == "teacher":
            continue
        group = [c[1] for c in commands if f"/{name}_" in c[2]]
        keys = [text.partition("=")[0] for text in group[0][len(kept) :]]
        listed = [parse_yaml(v, name) for v in values if v != "best"]
        space.append({"name": name, "keys": keys, "values": listed})
        kept += [f"{key}={values['best']}" for key in keys]
    tree: dict[str, Any] = {"base": base, "out": str(Path(commands[0][2]).parent), "space": space}
    mults, teacher = "lr_mult_list", "Arch.models.0.Teacher"
    tree["repeats"] = len(next(iter(results[space[0]["name"]].values())))
    if final != base:
        tree |= {"final": final, "replace": {f"Arch.{mults}": f"Arch.models.1.Student.{mults}"}}
        tree["inject"] = [f"{teacher}.{mults}={{{mults}}}"]
    if "teacher" in results:
        listed = [v for v in results["teacher"] if v != "best"]
        tree["teacher"] = {"key": "Arch.name", "values": listed, "dropped": [f"Arch.{mults}"]}
        weights = f"{teacher}.pretrained={{folder}}/{{teacher}}/best_model"
        tree["inject"] = [f"{teacher}.name={{teacher}}", weights]
    plan, problems = validate(SearchPlan, tree)
    assert plan is not None, problems
    return plan


@published
@each_case("search", lambda case: "error" in case and "not exist" in str(case["error"]))
def test_configurations_that_do_not_exist(case: Case, checkout: Path) -> None:
    path = Path(case["config"])
    if not path.is_file():
        pytest.skip(f"{path} is not among the configurations")
    with pytest.raises(ConfigError, match="no such file.*did you mean ppcls/configs/.*person"):
        load_plan(path, [a for a in case["extra_arguments"] if a != "-o"])
