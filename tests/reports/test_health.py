"""Advice on figures that stay unhealthy."""

from pathlib import Path

from legged_ppo.config.loading import load_config
from legged_ppo.reports.health import RULES, HealthMonitor, rules_for

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def test_advice_comes_once_per_illness() -> None:
    monitor = HealthMonitor()
    said = [monitor.check({"Policy/approx_kl": 0.3}, i) for i in range(1, 10)]
    assert [len(lines) for lines in said] == [0, 0, 1, 0, 0, 0, 0, 0, 0]
    assert "ppo.learning_rate" in said[2][0]
    assert monitor.check({"Policy/approx_kl": 0.01}, 10) == []
    again = [monitor.check({"Policy/approx_kl": 0.3}, i) for i in range(11, 14)]
    assert [len(lines) for lines in again] == [0, 0, 1]


def test_a_rule_has_a_beginning_and_an_end() -> None:
    config = load_config(CONFIGS / "gym" / "cartpole_ppo.yaml")
    monitor = HealthMonitor(rules_for(config, num_actions=2, total_iterations=100))
    certain = {"Loss/entropy": 0.01, "Policy/explained_variance": 0.0}
    early = [line for i in range(1, 26) for line in monitor.check(certain, i)]
    assert len(early) == 1 and "ppo.entropy_coef" in early[0]
    later = HealthMonitor(monitor.rules)
    said = [line for i in range(26, 101) for line in later.check(certain, i)]
    assert len(said) == 1 and "critic explains little" in said[0], "from 50 on for 50 iterations"


def test_rules_that_mean_nothing_for_a_recipe_are_left_out() -> None:
    robots = load_config(CONFIGS / "phase1_quickstart.yaml")
    robots.sim.integrator = "euler"
    assert rules_for(robots, 12, 100) == RULES
    robots.sim.integrator = "implicitfast"
    monitor = HealthMonitor(rules_for(robots, 12, 100))
    (line,) = (line for i in range(4) for line in monitor.check({"Sim/nonfinite_resets": 1.0}, i))
    assert "sim.integrator" not in line and "lower sim.dt" in line
    a2c = load_config(CONFIGS / "gym" / "lunarlander_a2c.yaml")
    monitor = HealthMonitor(rules_for(a2c, 4, 1000))
    # One minibatch, in which nothing is clipped; a policy that has made up its mind.
    healthy = {"Policy/clip_fraction": 0.0, "Policy/mean_std": 0.01, "Loss/entropy": 1.0}
    assert not [line for i in range(1, 200) for line in monitor.check(healthy, i)]


def test_nan_is_unhealthy() -> None:
    monitor = HealthMonitor()
    lines = [monitor.check({"Sim/nonfinite_resets": float("nan")}, i) for i in range(1, 4)]
    assert [len(each) for each in lines] == [0, 0, 1] and "nan" in lines[2][0]


def test_skipped_optimizer_steps_are_reported_at_once() -> None:
    assert not HealthMonitor().check({"Loss/skipped_steps": 0.0}, 1)
    (line,) = HealthMonitor().check({"Loss/skipped_steps": 1.0}, 1)
    assert "not finite" in line and "ppo.learning_rate" in line


def test_streaks_survive_a_change_of_the_rules() -> None:
    monitor = HealthMonitor()
    monitor.check({"Policy/approx_kl": 0.3}, 1)
    changed = HealthMonitor(RULES[::-1], dict(monitor.streaks))
    assert not changed.check({"Policy/approx_kl": 0.3}, 2)
    assert len(changed.check({"Policy/approx_kl": 0.3}, 3)) == 1


def test_robots_that_stand_still_and_physics_that_blows_up_get_their_advice() -> None:
    for metric, sick, advice in (
        ("Track/progress", 0.02, "task.rewards.torques"),
        ("Sim/nonfinite_resets", 1.0, "sim.integrator=implicitfast"),
    ):
        for value, said in ((sick, 1), (0.5 if metric == "Track/progress" else 0.0, 0)):
            monitor = HealthMonitor()
            lines = [line for i in range(400) for line in monitor.check({metric: value}, i)]
            assert len(lines) == said and all(advice in line for line in lines)
