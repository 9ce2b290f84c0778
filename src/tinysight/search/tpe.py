"""All coordinates at once: a tree-structured Parzen estimator proposes, Hyperband ends what falls behind.

Source: Optuna's samplers and pruners.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tinysight.search.plan import SearchPlan, Training, assigned
from tinysight.search.runs import Runner, held, key_of, read_result, say
from tinysight.search.shas import Outcome

_STUDY = "tpe"


def tpe(plan: SearchPlan, runner: Runner, seed: int = 0) -> Outcome:
    """Trainings until the budget is spent, or `plan.trials` have been proposed; a restart counts those before it."""
    optuna = runner.optuna
    seed += len(runner.study(_STUDY).get_trials(deepcopy=False))  # not the first proposals again
    study = runner.study(
        _STUDY, sampler=optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True),
        pruner=optuna.pruners.HyperbandPruner(),
    )  # fmt: skip
    _take_up(plan, study, optuna)

    def work(_: int) -> None:
        while _proposed(study) < (plan.trials or 10**9) and runner.may_begin():
            _trial(plan, runner, study)

    with runner.pool() as pool:
        list(pool.map(work, range(runner.jobs)))
    out = Outcome()
    for trial in study.get_trials():
        if "result" in trial.user_attrs:
            runner.results[_training(plan, trial.params)] = read_result(trial)
    done = [t for t in study.get_trials() if t.state == optuna.trial.TrialState.COMPLETE]
    for trial in done:
        for coordinate in plan.space:
            text = str(_value(coordinate.name, trial.params, plan))
            out.results.setdefault(coordinate.name, {}).setdefault(text, []).append(trial.value)
    if done:
        best = max(done, key=lambda t: (t.value, -t.number))
        out.winners = {c.name: _value(c.name, best.params, plan) for c in plan.space}
        out.last = _training(plan, best.params)
    return out


def _trial(plan: SearchPlan, runner: Runner, study: Any) -> None:
    state = runner.optuna.trial.TrialState
    trial = study.ask()
    for c in plan.space:
        if c.values:
            trial.suggest_categorical(c.name, [json.dumps(v) for v in c.values])
        else:
            trial.suggest_float(c.name, c.low, c.high, log=c.log)
    training = _training(plan, trial.params)
    done = study.get_trials(states=[state.COMPLETE])
    twin = next((t for t in done if t.params == trial.params), None)
    if twin is not None:  # equal values give the same weights
        trial.set_user_attr("same_as", twin.number)
        study.tell(trial, twin.value)
        return

    def fell_behind(epoch: int, score: float) -> bool:
        trial.report(score, epoch)
        return bool(trial.should_prune())

    with held(Path(plan.out), training) as lock:
        trial.set_user_attr("training", training)
        result = runner.train(training, lock, fell_behind)
        trial.set_user_attr("result", result)
        if result.error == "pruned":
            study.tell(trial, state=state.PRUNED)
        elif result.score is None:
            study.tell(trial, state=state.FAIL)
        else:
            study.tell(trial, result.score)
    say(training, result)


def _take_up(plan: SearchPlan, study: Any, optuna: Any) -> None:
    """Trials that a killed process has left are proposed again; their runs go on from the last checkpoint."""
    for trial in study.get_trials(states=[optuna.trial.TrialState.RUNNING]):
        if len(trial.params) < len(plan.space):
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            continue
        with held(Path(plan.out), _training(plan, trial.params)) as lock:
            if lock is not None:
                study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
                study.enqueue_trial(trial.params, user_attrs={"again": trial.number})


def _proposed(study: Any) -> int:
    """Trials so far, without those that were proposed again."""
    trials = study.get_trials(deepcopy=False)
    again = {t.user_attrs["again"] for t in trials if "again" in t.user_attrs}
    return sum(t.number not in again and t.state.name != "WAITING" for t in trials)


def _training(plan: SearchPlan, params: dict[str, Any]) -> Training:
    pairs = [(c, _value(c.name, params, plan)) for c in plan.space]
    texts = tuple(text for c, value in pairs for text in assigned(c, value))
    label = " ".join(f"{c.name}={value}" for c, value in pairs)
    name = key_of(Training(plan.base, texts, ""))[:10]
    return Training(plan.base, texts, f"{plan.out}/trial_{name}", label)


def _value(name: str, params: dict[str, Any], plan: SearchPlan) -> Any:
    listed = next(c for c in plan.space if c.name == name).values
    return json.loads(params[name]) if listed else params[name]
