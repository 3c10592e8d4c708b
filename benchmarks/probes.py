"""Checks of recurrent PPO implementations at the places where they commonly go wrong.

    pip install -c constraints.txt -e ".[rsl-rl,gym]" sb3-contrib==2.9.2 skrl==2.1.1 rl-games==1.6.5
    python benchmarks/probes.py [--json FILE]

(into an environment of its own: rl-games brings another edition of pygame). Every implementation that is
installed plays the same scripted rollout (5 environments, 12 steps, time limits and falls in the middle) and
variations of it. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import torch
from peers import load_subjects
from peers.resume import difference_after_resume
from peers.script import PROBE, NotApplicableError, Script, Subject

Probe = Callable[[Subject], tuple[bool, str]]
_SAME = 1e-5
_VERDICTS = {True: "pass", False: "**fail**", None: "not applicable"}


def ratio_is_one(subject: Subject) -> tuple[bool, str]:
    """Before the first optimizer step every probability ratio is 1, resets inside the rollout included."""
    played = [subject.play(Script.random(seed)) for seed in range(5)]
    error = max(findings.ratio_error for findings in played)
    seen = f"{error:.0e}"
    raw = [f.ratio_error_raw for f in played if f.ratio_error_raw is not None]
    if raw:
        seen += f"; {max(raw):.0e} without normalising observations"
    return error < _SAME, seen


def reset_in_place(subject: Subject) -> tuple[bool, str]:
    """Observations before an episode's start do not affect its values in training; observations after it do."""
    script, step, robot = _with_end()
    base = subject.play(script).values
    other = subject.play(script.changed(obs=((slice(1, step + 1), robot), 1.0))).values
    change = (other - base).abs()[:, robot]
    return bool(change[step + 1 :].max() < _SAME and change[1] > 1e-3), f"{change[step + 1]:.0e}"


def no_leak_over_a_limit(subject: Subject) -> tuple[bool, str]:
    """Rewards after a time limit do not affect the advantages before it."""
    script, step, robot = _with_end()
    base = subject.play(script).advantages
    other = subject.play(script.changed(rewards=((slice(step + 1, None), robot), 5.0))).advantages
    leak = float((other - base).abs()[: step + 1, robot].max())
    return leak < _SAME, f"{leak:.0e}"


def limit_uses_the_last_observation(subject: Subject) -> tuple[bool, str]:
    """The advantage at a time limit depends on the last observation of the episode."""
    script, step, robot = _with_end()
    change = _effect_of_final_obs(subject, script, step, robot)
    return change > 1e-4, f"{change:.0e}"


def fall_does_not(subject: Subject) -> tuple[bool, str]:
    """At a termination it does not."""
    script, step, robot = _with_end()
    script.terminated[step, robot], script.truncated[step, robot] = True, False
    change = _effect_of_final_obs(subject, script, step, robot)
    return change < _SAME, f"{change:.0e}"


def nothing_is_dropped(subject: Subject) -> tuple[bool, str]:
    """Every sample is in some minibatch of each epoch, when the number of them does not divide."""
    epochs = subject.uneven()
    used = min(len(frozenset().union(*epoch)) for epoch in epochs)
    return used == PROBE.steps * PROBE.robots, f"{used} of {PROBE.steps * PROBE.robots}"


def shuffled(subject: Subject) -> tuple[bool, str]:
    """Minibatches differ between the epochs."""
    epochs = [subject.play(Script.random(seed)).minibatches for seed in range(3)]
    different = any(set(epoch[0]) != set(epoch[1]) for epoch in epochs)
    return different, "differ" if different else "the same"


def normalizer_stands_still(subject: Subject) -> tuple[bool, str]:
    """Observation statistics do not move within a rollout."""
    moved = subject.play(Script.random()).normalizer_moved
    return moved < _SAME, f"moved by {moved:.2f}"


def resume_is_equal(subject: Subject) -> tuple[bool, str]:
    """4 iterations, and 2 + save to a file + load in a new process + 2, give the same weights, where all
    episodes end with the 2nd"""
    difference = difference_after_resume(subject)
    seen = f"{difference:.0e}"
    if difference > 0.0:
        rest = difference_after_resume(subject, with_random_state=True)
        seen += f"; {rest:.0e} with its random state carried over by hand"
    return difference == 0.0, seen


PROBES: list[Probe] = [
    ratio_is_one,
    reset_in_place,
    no_leak_over_a_limit,
    limit_uses_the_last_observation,
    fall_does_not,
    nothing_is_dropped,
    shuffled,
    normalizer_stands_still,
    resume_is_equal,
]


def _with_end() -> tuple[Script, int, int]:
    """A script with one time limit and no other end, and the step and robot of the limit, which is not at the
    end of a training sequence."""
    script, step, robot = Script.random(), 3, 2
    script.terminated[:], script.truncated[:] = False, False
    script.truncated[step, robot] = True
    return script, step, robot


def _effect_of_final_obs(subject: Subject, script: Script, step: int, robot: int) -> float:
    base = subject.play(script).advantages
    other = subject.play(script.changed(final_obs=((step, robot), 1.0))).advantages
    return float((other - base).abs()[step, robot])


def _put(probe: Probe, subject: Subject) -> tuple[bool | None, str]:
    """The outcome of the probe; None if it is not applicable to the implementation."""
    try:
        return probe(subject)
    except NotApplicableError as reason:
        return None, str(reason)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    subjects, rows = load_subjects(), []
    print(f"| probe | {' | '.join(subject.name for subject in subjects)} |")
    print(f"| --- |{' --- |' * len(subjects)}")
    for probe in PROBES:
        found = {subject.name: _put(probe, subject) for subject in subjects}
        rows.append({"probe": probe.__name__, **{k: list(v) for k, v in found.items()}})
        cells = [f"{_VERDICTS[passed]} ({seen})" for passed, seen in found.values()]
        question = " ".join((probe.__doc__ or "").split()).rstrip(".")
        print(f"| {question} | {' | '.join(cells)} |", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
