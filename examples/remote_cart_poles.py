"""The cart-poles of `cart_poles.py` in another interpreter, which WORKER_PYTHON names; by default in a second
process of this one."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

from legged_ppo.config.schema import Config
from legged_ppo.interop.remote.client import RemoteVecEnv
from legged_ppo.interop.vec_env import FromRslRl


def cart_poles(config: Config, num_envs: int, seed: int, device: torch.device) -> FromRslRl:
    env = RemoteVecEnv(
        f"{Path(__file__).with_name('cart_poles.py')}:CartPoles",
        {"num_envs": num_envs, "seed": seed},
        os.environ.get("WORKER_PYTHON", sys.executable),
    )
    return FromRslRl(env, device=device)


ENVIRONMENTS = {"cart_poles": cart_poles}
