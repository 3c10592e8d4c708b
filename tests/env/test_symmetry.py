"""Left and right exchanged: physics, observations and twins agree with the reflections."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from legged_ppo.config.loading import CONFIG_DIR, load_config
from legged_ppo.config.schema import Config
from legged_ppo.env.factory import make_locomotion_env
from legged_ppo.env.symmetry import joint_permutation
from legged_ppo.errors import ConfigError
from legged_ppo.interface import ROTATION, VECTOR, Environment, SignedPermutation
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.robots.spec import load_robot
from legged_ppo.runs.checkpoint import load_checkpoint
from legged_ppo.runs.run_directory import LATEST, RunDirectory
from legged_ppo.training.mirrored_env import SymmetryAugmentedEnv
from legged_ppo.training.trainer import Trainer

STILL = [
    "task.observations.noise=false",
    "task.observations.scandots.noise=0",
    "task.randomization.push_interval_s=0",
    "task.randomization.friction=[]",
    "task.randomization.added_mass=[]",
    "task.randomization.com_shift=[]",
    "task.randomization.kp_scale=[]",
    "task.randomization.kd_scale=[]",
    "task.randomization.motor_strength=[]",
    "task.randomization.latency_s=[]",
    "task.randomization.init_joint_pos=0",
    "task.randomization.init_velocity=0",
    "sim.threads=1",
]


def make_config(*overrides: str) -> Config:
    return load_config(CONFIG_DIR / "phase1_quickstart.yaml", [*STILL, *overrides])


def test_reflections_are_their_own_inverses() -> None:
    env = make_locomotion_env(make_config(), 2, seed=1)
    for name, width in env.obs_dims.items():
        x = torch.randn(3, width)
        reflect = env.symmetry.observations[name]
        assert torch.equal(reflect(reflect(x)), x) and not torch.equal(reflect(x), x)
    left = torch.arange(12.0)
    legs = env.symmetry.actions(left).view(4, 3).tolist()
    assert legs == [[-3, 4, 5], [0, 1, 2], [-9, 10, 11], [-6, 7, 8]]


@pytest.mark.parametrize("robot", ["go2", "a1"])
def test_a_mirrored_robot_moves_as_the_reflection_says(robot: str) -> None:
    """Two robots in states and under actions that are each other's mirror images (A1's centre of mass is
    4 mm off the middle)."""
    shifted = "task.randomization.com_shift=[-0.05,0.05]"
    env = make_locomotion_env(make_config("terrain=flat", f"robot={robot}", shifted), 2, seed=1)
    mirror, g = env.symmetry, torch.Generator().manual_seed(2)
    env.start_episodes_together()
    base = env.simulator.state.base_pos.clone()
    shift = torch.tensor([0.03, 0.02, -0.01])
    drawn = env.randomization.state_dict()
    drawn["values"][:, 2:5] = torch.stack([shift, VECTOR(shift)])
    env.randomization.load_state_dict(drawn)
    env.simulator.randomize(torch.ones(2, dtype=torch.bool), env.randomization.parameters)
    assert torch.equal(env.randomization.parameters.com_shift[0], shift)
    pose = torch.as_tensor(env.robot.default_joint_pos).float()
    joints = pose + 0.2 * torch.randn(12, generator=g)
    quat = torch.nn.functional.normalize(torch.tensor([1.0, 0.1, -0.08, 0.2]), dim=0)
    vel, spin = 0.4 * torch.randn(3, generator=g), 0.5 * torch.randn(3, generator=g)
    rates = torch.randn(12, generator=g)
    turned = torch.cat([quat[:1], ROTATION(quat[1:])])
    qpos = torch.stack(
        [torch.cat([base[0], quat, joints]), torch.cat([base[1], turned, mirror.actions(joints)])]
    )
    qvel = torch.stack(
        [
            torch.cat([vel, spin, rates]),
            torch.cat([VECTOR(vel), ROTATION(spin), mirror.actions(rates)]),
        ]
    )
    env.simulator.reset(torch.ones(2, dtype=torch.bool), qpos, qvel)
    command = torch.tensor([0.5, 0.3, -0.7])
    env.commands.command[0] = command
    env.commands.command[1] = command * torch.tensor([1.0, -1.0, -1.0])
    env.clock.phase.copy_(torch.tensor([0.1, 0.6]))  # a mirrored trot is half a stride later
    start = env.simulator.state.joint_pos[0].clone()
    for _ in range(4):
        action = torch.randn(12, generator=g)
        result = env.step(torch.stack([action, mirror.actions(action)]))
        for name, group in result.obs.items():
            expected = mirror.observations[name](group[0])
            torch.testing.assert_close(group[1], expected, rtol=0, atol=0.05)
        assert result.reward[1] == pytest.approx(float(result.reward[0]), abs=0.05)
    assert (env.simulator.state.joint_pos[0] - start).abs().max() > 0.1


def test_twins_live_the_same_life_mirrored() -> None:
    config = make_config("terrain=course")
    plain, env = make_locomotion_env(config, 3, seed=1), make_locomotion_env(config, 3, seed=1)
    twins = SymmetryAugmentedEnv(env, env.symmetry)
    obs, both = plain.reset(), twins.reset()
    for _ in range(3):
        sampled = torch.randn(6, 12)
        actions, log_probs = twins.mirror_actions(sampled, torch.arange(6.0))
        assert log_probs.tolist() == [0, 1, 2, 0, 1, 2]
        assert torch.equal(actions[:3], sampled[:3])
        assert torch.equal(actions[3:], plain.symmetry.actions(sampled[:3]))
        one, two = plain.step(sampled[:3]), twins.step(actions)
        obs, both = one.obs, two.obs
        for name, group in obs.items():
            assert torch.equal(both[name][:3], group)
            assert torch.equal(both[name][3:], plain.symmetry.observations[name](group))
        assert torch.equal(two.reward, one.reward.repeat(2))
        assert two.info["episode"][0] == one.info["episode"][0]


def small(folder: Path, *more: str) -> Config:
    return load_config(
        CONFIG_DIR / "phase1_quickstart.yaml",
        [
            "sim.threads=1",
            "training.num_envs=16",
            "training.total_timesteps=2048",
            "ppo.num_epochs=4",
            f"training.log_dir={folder}",
            *more,
        ],
    )


def make_trainer(config: Config, **saved: Any) -> Trainer:
    env = make_locomotion_env(config, config.training.num_envs, seed=1)
    return Trainer(config, env, RunDirectory.create(config, "mirror"), scorer=None, **saved)


def asymmetry(trainer: Trainer) -> float:
    """Mean squared difference between what the policy does for robots and for their twins."""
    policy, mirror = trainer.policy, trainer.env.symmetry
    assert mirror is not None
    raw = trainer.env.reset()
    distributions = []
    for obs in (raw, mirror.reflect(raw)):
        state = policy.initial_state(trainer.env.num_envs, trainer.env.device)
        starts = torch.ones(trainer.env.num_envs, dtype=torch.bool)
        distributions.append(policy.step(policy.normalize(obs), state, starts)[0])
    own, twin = distributions
    return float((mirror.actions(own.mode) - twin.mode).square().mean())


def test_the_mirror_loss_makes_the_policy_symmetric(tmp_path: Path) -> None:
    trainers = {}
    for coef in (0.0, 30.0):
        config = small(tmp_path, "ppo.symmetry=loss", f"ppo.symmetry_coef={coef}")
        trainer = trainers[coef] = make_trainer(config)
        with torch.no_grad():
            trainer.policy.head.mean.weight.normal_(std=0.5)
        assert trainer.train()
    with torch.no_grad():
        assert asymmetry(trainers[30.0]) < 0.75 * asymmetry(trainers[0.0])


@pytest.mark.parametrize("use", ["augmentation", "loss"])
def test_ratios_of_robots_are_one_and_a_run_resumes(tmp_path: Path, use: str) -> None:
    config = small(tmp_path, f"ppo.symmetry={use}", "training.run_name=run")
    trainer = make_trainer(config)
    with torch.no_grad():
        for _ in range(2):  # the second rollout begins with memories
            next_value, _ = trainer.collector.collect(trainer.buffer)
        trainer.ppo.estimate_advantages(trainer.buffer, next_value)
        buffer = trainer.buffer
        learned = buffer.advantages[:, : buffer.learned_envs]
        assert float(learned.mean()) == pytest.approx(0.0, abs=1e-5)
        assert float(learned.std()) == pytest.approx(1.0, abs=1e-5)
        every = buffer.gather(torch.arange(buffer.num_envs))
        distribution, values = trainer.ppo.evaluate(every)
        assert buffer.num_envs == 32 and trainer.steps_per_iteration == 16 * 16
        log_probs = distribution.log_prob(every.actions)[:, :16]
        torch.testing.assert_close(log_probs, every.log_probs[:, :16], rtol=0, atol=1e-4)
        assert torch.equal(every.log_probs[:, 16:], every.log_probs[:, :16])
        torch.testing.assert_close(values, every.values, rtol=0, atol=1e-4)
        assert not torch.allclose(every.state[:, :16], every.state[:, 16:])
    drawn = torch.cat(list(buffer.minibatch_ids(5, trainer.generator))).sort().values
    assert drawn.tolist() == list(range(16))
    assert trainer.train()
    saved = load_checkpoint(trainer.run.checkpoints / LATEST)
    config.training.total_timesteps *= 2
    assert make_trainer(config, checkpoint=saved).train()


def test_augmentation_learns_from_robots_and_twins_alike(tmp_path: Path) -> None:
    overrides = ["ppo.symmetry=augmentation", "ppo.symmetry_coef=0", "ppo.max_grad_norm=1e9"]
    trainer = make_trainer(small(tmp_path, *overrides))
    ppo, buffer = trainer.ppo, trainer.buffer
    next_value, _ = trainer.collector.collect(buffer)
    ppo.estimate_advantages(buffer, next_value)
    halves = []
    for ids in (torch.arange(16), torch.arange(16, 32)):
        ppo.optimizer.zero_grad()
        ppo._evaluate_losses(buffer.gather(ids))[1].total.backward()
        halves.append([p.grad.clone() for p in ppo.parameters if p.grad is not None])
    assert not torch.allclose(halves[0][0], halves[1][0], rtol=0.1)
    ppo.optimize(buffer, torch.arange(16))
    seen = [p.grad for p in ppo.parameters if p.grad is not None]
    expected = [(a + b) / 2 for a, b in zip(*halves, strict=True)]
    torch.testing.assert_close(seen, expected, rtol=1e-4, atol=1e-6)


def test_an_equivariant_policy_stays_so_through_training_and_resume(tmp_path: Path) -> None:
    config = small(tmp_path, "ppo.symmetry=equivariant", "training.run_name=run")
    trainer = make_trainer(config)
    begun = {name: p.detach().clone() for name, p in trainer.policy.named_parameters()}
    assert trainer.buffer.num_envs == 16 and trainer.train()
    saved = load_checkpoint(trainer.run.checkpoints / LATEST)
    resumed = make_trainer(config, checkpoint=saved)
    saved["policy"]["trunk.gru.weight_hh_l0"] += torch.rand_like(begun["trunk.gru.weight_hh_l0"])
    mended = make_trainer(config, checkpoint=saved)
    for policy in (trainer.policy, resumed.policy, mended.policy):
        assert not torch.equal(policy.value.weight, begun["value.weight"])
        assert_equivariant(policy, trainer.env)
        assert policy.trunk.gru.commutes
    for gradient, reflect in last_gradients(trainer):
        assert gradient.any() and torch.equal(reflect(gradient), gradient)
    weights = ActorCritic(trainer.env.obs_dims, 12, config.policy).state_dict()
    assert_equivariant(make_trainer(config, weights=weights).policy, trainer.env)


def last_gradients(trainer: Trainer) -> Iterator[tuple[torch.Tensor, SignedPermutation]]:
    """The flattened gradients of the last optimizer step, with their reflections."""
    assert trainer.env.symmetry is not None
    found = trainer.policy.reflections(trainer.env.symmetry)
    for parameter, reflect in zip(found.parameters, found.reflections, strict=True):
        assert parameter.grad is not None
        yield parameter.grad.flatten(), reflect


def assert_equivariant(policy: ActorCritic, env: Environment) -> None:
    """Every bit of the parameters equals that of their reflections."""
    assert env.symmetry is not None
    found = policy.reflections(env.symmetry)
    for parameter, reflect in zip(found.parameters, found.reflections, strict=True):
        flat = parameter.detach().flatten()
        assert torch.equal(reflect(flat), flat)


@pytest.mark.parametrize("preset", ["legged_gym", "extreme_parkour", "sparse"])
def test_every_preset_of_scandots_has_a_reflection(preset: str) -> None:
    path = CONFIG_DIR / "phase1_quickstart.yaml"
    env = make_locomotion_env(load_config(path, [*STILL, f"+scandots={preset}"]), 1, seed=1)
    grid, reflect = env.scandots.grid, env.symmetry.observations["scandots"]
    assert torch.equal(reflect(grid[:, 0]), grid[:, 0])
    torch.testing.assert_close(reflect(grid[:, 1]), -grid[:, 1])


def test_axes_are_compared_in_the_robot_and_not_in_its_turned_links(tmp_path: Path) -> None:
    text = make_locomotion_env(make_config(), 1, seed=1).robot.path.read_text()
    # The axis is the robot's x still, though the link's own y.
    for old, new in (
        ('<body name="FL_hip" ', '<body name="FL_hip" euler="0 0 1.5707963" '),
        ('<body name="FL_thigh" ', '<body name="FL_thigh" euler="0 0 -1.5707963" '),
        ('<joint name="FL_hip_joint" ', '<joint name="FL_hip_joint" axis="0 -1 0" '),
    ):
        assert old in text
        text = text.replace(old, new)
    turned = tmp_path / "turned.xml"
    turned.write_text(text)
    config = make_config(f"robot.mjcf={turned}")
    assert joint_permutation(load_robot(config.robot)).sign[[0, 3]].tolist() == [-1.0, -1.0]
    turned.write_text(text.replace('axis="0 -1 0"', 'axis="0 -1 0.2"'))
    with pytest.raises(ConfigError) as error:
        joint_permutation(load_robot(config.robot))
    assert error.value.key == "robot.joints"


def test_what_has_no_mirror_image_is_refused(tmp_path: Path) -> None:
    lopsided = "robot.default_joint_pos=[0.1,0.8,-1.5,-0.3,0.8,-1.5,0.1,1.0,-1.5,-0.1,1.0,-1.5]"
    for override, key in (
        ("task.observations.scandots.y=[-0.2,0.0,0.3]", "task.observations.scandots.y"),
        (lopsided, "robot.default_joint_pos"),
        ("robot.mirror=[[FL,FX]]", "robot.joints"),
        (f"robot.kd={[1.0, 1.0, 2.0] + [1.0] * 9}".replace(" ", ""), "robot.kd"),
    ):
        config = small(tmp_path, "ppo.symmetry=augmentation", override)
        with pytest.raises(ConfigError) as error:
            make_trainer(config)
        assert error.value.key == key


def test_a_reflection_of_parts() -> None:
    swap = SignedPermutation(torch.tensor([1, 0]), torch.ones(2))
    joined = SignedPermutation.joined([VECTOR, swap])
    assert joined(torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])).tolist() == [1, -2, 3, 5, 4]
