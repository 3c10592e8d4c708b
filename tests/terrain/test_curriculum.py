"""Who goes up, who goes down, and what is remembered of it."""

from __future__ import annotations

import torch

from legged_ppo.config.schema import CurriculumConfig
from legged_ppo.terrain.curriculum import EpisodeOutcome, TerrainCurriculum

LEVELS = 4


def curriculum(rule: str, levels: list[int], types: list[int] | None = None) -> TerrainCurriculum:
    config = CurriculumConfig(rule=rule, promote=0.8, demote=0.4, distance=2.5, window=10)
    kinds = torch.tensor(types or [0] * len(levels))
    return TerrainCurriculum(config, kinds, torch.tensor(levels), torch.Size((2, LEVELS)))


def outcome(
    path_distance: list[float],
    commanded: list[float],
    *,
    fell: list[bool] | None = None,
    farthest: list[float] | None = None,
    share: list[float] | None = None,
) -> EpisodeOutcome:
    n = len(path_distance)
    return EpisodeOutcome(
        path_distance=torch.tensor(path_distance),
        commanded=torch.tensor(commanded),
        farthest=torch.tensor(farthest or [4.0] * n),
        fell=torch.tensor(fell or [False] * n),
        share=torch.tensor(share or [1.0] * n),
    )


def after(
    state: TerrainCurriculum, result: EpisodeOutcome, ended: list[bool] | None = None
) -> list[int]:
    chosen = torch.tensor(ended or [True] * len(state.levels))
    state.count(*state.counted(chosen, result.solved))  # before they move
    state.move(chosen, result, torch.Generator().manual_seed(0))
    return state.levels.tolist()


def test_progress_moves_up_above_the_promotion_share_and_down_below_the_demotion_share() -> None:
    shares = [0.85, 0.79, 0.45, 0.35]
    moved = after(curriculum("progress", [1] * 4), outcome([10 * s for s in shares], [10.0] * 4))
    assert moved == [2, 1, 1, 0]


def test_a_fall_is_held_against_the_path_of_the_whole_episode() -> None:
    # Both robots kept up until the end; the first fell after a third of its episode.
    result = outcome([3.0, 3.0], [3.0, 3.0], fell=[True, False], share=[1 / 3, 1 / 3])
    assert after(curriculum("progress", [1, 1]), result) == [0, 2]
    late = outcome([9.0], [9.0], fell=[True], share=[0.9])
    assert after(curriculum("progress", [1]), late) == [1]


def test_robots_that_were_asked_to_stand_keep_their_level() -> None:
    result = outcome([0.0, 0.0], [0.2, 0.2], farthest=[0.1, 0.1])
    assert after(curriculum("progress", [1, 2]), result) == [1, 2]


def test_circles_on_the_platform_promote_nobody() -> None:
    result = outcome([10.0, 10.0], [10.0, 10.0], farthest=[2.0, 3.0])
    assert after(curriculum("progress", [1, 1]), result) == [1, 2]
    assert after(curriculum("success", [1, 1]), result) == [1, 2]


def test_success_rule_moves_by_solved_or_not() -> None:
    result = outcome([7.5, 6.0, 9.0], [10.0] * 3, fell=[False, False, True])
    assert after(curriculum("success", [1, 1, 1]), result) == [2, 0, 0]


def test_levels_stay_within_the_grid_and_the_last_one_leads_anywhere() -> None:
    n = 400
    solved = outcome([10.0] * n, [10.0] * n)
    levels = torch.tensor(after(curriculum("progress", [LEVELS - 1] * n), solved))
    assert torch.bincount(levels, minlength=LEVELS).min() > 60
    failed = outcome([0.0] * n, [10.0] * n)
    assert set(after(curriculum("progress", [0] * n), failed)) == {0}


def test_only_episodes_that_ended_count() -> None:
    state = curriculum("progress", [1, 1])
    assert after(state, outcome([10.0, 10.0], [10.0, 10.0]), ended=[False, True]) == [1, 2]
    assert state.episodes.sum() == 1


def test_without_a_rule_levels_stay_but_solve_rates_are_kept() -> None:
    state = curriculum("none", [1, 1])
    assert after(state, outcome([10.0, 0.0], [10.0, 10.0])) == [1, 1]
    assert state.solve_rate[0, 1] == 0.5 and state.episodes[0, 1] == 2


def test_solve_rates_are_a_mean_at_first_and_then_follow_the_last_episodes() -> None:
    state = curriculum("none", [2] * 4, types=[1] * 4)
    half = outcome([10.0, 10.0, 0.0, 0.0], [10.0] * 4)
    after(state, half)
    assert state.solve_rate[1, 2] == 0.5
    for _ in range(20):
        after(state, outcome([10.0] * 4, [10.0] * 4))
    assert state.solve_rate[1, 2] > 0.99 and state.solve_rate.count_nonzero() == 1
    assert state.episodes[1, 2] == 84


def test_metrics_tell_the_frontier_from_the_mean_level() -> None:
    state = curriculum("progress", [3, 0, 0, 1], types=[0, 0, 0, 1])
    state.solve_rate.copy_(torch.tensor([[1.0, 0.9, 0.6, 0.2], [0.4, 0.0, 0.0, 0.9]]))
    state.episodes.fill_(10.0)
    state.episodes[1, 3] = 9.0  # too few to believe the rate
    metrics = {name: float(value) for name, value in state.metrics(["stairs_up", "gaps"]).items()}
    assert metrics["Curriculum/level_stairs_up"] == 1.0 and metrics["Curriculum/level_gaps"] == 1.0
    assert (
        metrics["Curriculum/frontier_stairs_up"] == 2 and metrics["Curriculum/frontier_gaps"] == -1
    )
    assert metrics["Curriculum/mean_level"] == 1.0
    assert abs(metrics["Curriculum/solve_stairs_up"] - (0.2 + 1.0 + 1.0) / 3) < 1e-6


def test_a_saved_state_continues() -> None:
    first, second = (curriculum("progress", [1, 2, 3]) for _ in range(2))
    after(first, outcome([10.0, 0.0, 5.0], [10.0] * 3))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.levels, second.levels)
    assert torch.equal(first.solve_rate, second.solve_rate)
    assert after(first, outcome([9.0] * 3, [10.0] * 3)) == after(
        second, outcome([9.0] * 3, [10.0] * 3)
    )


def test_a_rank_takes_its_share_of_other_ranks_robots_in_order_of_their_types() -> None:
    parts = [
        curriculum("progress", [0, 1, 2], [0, 0, 1]),
        curriculum("progress", [3, 2, 1], [0, 1, 1]),
    ]
    for part, rate, episodes in ((parts[0], 0.5, 30.0), (parts[1], 1.0, 10.0)):
        part.solve_rate[:], part.episodes[:] = rate, episodes
    share = curriculum("progress", [0] * 3)
    share.load_share([vars(part) for part in parts], 0, 2)
    assert (share.types.tolist(), share.levels.tolist()) == ([0, 1, 1], [0, 2, 2])
    share.load_share([vars(part) for part in parts], 1, 2)
    assert (share.types.tolist(), share.levels.tolist()) == ([0, 0, 1], [1, 3, 1])
    whole = curriculum("progress", [0] * 6)
    whole.load_share([vars(part) for part in parts], 0, 1)
    assert whole.types.tolist() == [0, 0, 0, 1, 1, 1]
    assert whole.levels.tolist() == [0, 1, 3, 2, 2, 1]
    share.load_share([vars(part) for part in parts], 1, 2)
    assert (share.solve_rate == 0.625).all() and (share.episodes == 20.0).all()
