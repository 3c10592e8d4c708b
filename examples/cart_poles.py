"""Cart-poles with the interface of legged_gym's environments, in NumPy alone: for Python 3.7 or later, without
legged_ppo. `remote_cart_poles.py` runs them in another interpreter."""

from __future__ import annotations

import numpy as np

GRAVITY, CART_KG, POLE_KG, HALF_POLE_M, FORCE_N, STEP_S = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02
TRACK_M, FALLEN_RAD = 2.4, 0.21


class CartPoles:
    """N poles that a horizontal force on their carts balances (Barto, Sutton and Anderson, 1983).

    A return is the time [s] until the pole falls or the cart leaves its track. As in legged_gym the buffers are
    written in place, episodes begin anew inside the step that ends them, and `extras` keeps what the last ended
    episodes wrote into it.
    """

    num_actions = 1
    max_episode_length = 200
    device = "cpu"

    def __init__(self, num_envs, seed):
        self.num_envs = num_envs
        self._random = np.random.RandomState(seed)
        self.obs_buf = np.zeros((num_envs, 4), np.float32)
        self.rew_buf = np.full(num_envs, STEP_S, np.float32)
        self.episode_length_buf = np.zeros(num_envs, np.int64)
        self.extras = {}

    def get_observations(self):
        return self.obs_buf

    def get_privileged_observations(self):
        return None

    def reset(self):
        self._reset_idx(np.arange(self.num_envs))
        observations, privileged, _, _, _ = self.step(np.zeros((self.num_envs, 1), np.float32))
        return observations, privileged

    def step(self, actions):
        """One control step; a force of 1 is FORCE_N."""
        _, speed, angle, rate = self.obs_buf.T
        force = FORCE_N * np.clip(actions[:, 0], -1.0, 1.0)
        sine, cosine, mass = np.sin(angle), np.cos(angle), CART_KG + POLE_KG
        push = (force + POLE_KG * HALF_POLE_M * rate**2 * sine) / mass
        inertia = HALF_POLE_M * (4.0 / 3.0 - POLE_KG * cosine**2 / mass)
        turn = (GRAVITY * sine - cosine * push) / inertia
        drive = push - POLE_KG * HALF_POLE_M * turn * cosine / mass
        self.obs_buf += STEP_S * np.stack([speed, drive, rate, turn], axis=1)
        self.episode_length_buf += 1
        late = self.episode_length_buf > self.max_episode_length
        reset = (abs(self.obs_buf[:, 0]) > TRACK_M) | (abs(self.obs_buf[:, 2]) > FALLEN_RAD) | late
        if reset.any():
            lengths = self.episode_length_buf[reset]
            self.extras["episode"] = {"rew_upright": lengths.mean() * STEP_S}
            self.extras["time_outs"] = late
            self._reset_idx(np.flatnonzero(reset))
        return self.obs_buf, None, self.rew_buf, reset.astype(np.int64), self.extras

    def _reset_idx(self, rows):
        self.obs_buf[rows] = self._random.uniform(-0.05, 0.05, (len(rows), 4))
        self.episode_length_buf[rows] = 0
