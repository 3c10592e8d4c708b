"""Training that is saved, loaded in a new process and goes on.

    python -m peers.resume SUBJECT FOLDER {as_saved,with_random_state}

is that process.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from legged_ppo.runs.checkpoint import global_rng_state, set_global_rng_state

from . import load_subject
from .script import Script, Subject

_CPU = torch.device("cpu")
_RANDOM_STATE, _WEIGHTS = "random_state_of_the_probe.pt", "weights_of_the_probe.pt"


def difference_after_resume(subject: Subject, with_random_state: bool = False) -> float:
    """Largest difference of a weight between a training in one go and one that was resumed.

    Args:
        with_random_state: carry the state of the global random generators over as well, on behalf of
            implementations that do not.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def saved() -> None:
            torch.save(global_rng_state(_CPU), folder / _RANDOM_STATE)

        through = subject.train_and_save(Script.random().closed(), folder, saved)
        module = type(subject).__module__.rsplit(".", 1)[1]
        mode = "with_random_state" if with_random_state else "as_saved"
        subprocess.run(
            [sys.executable, "-m", "peers.resume", module, name, mode],
            cwd=Path(__file__).parents[1],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return float((through - torch.load(folder / _WEIGHTS)).abs().max())


def _go_on(module: str, folder: Path, mode: str) -> None:
    def loaded() -> None:
        if mode == "with_random_state":
            state = torch.load(folder / _RANDOM_STATE, weights_only=False)
            set_global_rng_state(state, _CPU)

    weights = load_subject(module).load_and_train(Script.random().closed(), folder, loaded)
    torch.save(weights, folder / _WEIGHTS)


if __name__ == "__main__":
    torch.set_num_threads(1)
    _go_on(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
