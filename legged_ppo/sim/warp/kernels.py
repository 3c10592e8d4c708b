# mypy: ignore-errors
"""Warp kernels around the physics: a graph captured by Warp cannot contain torch operators.

Arrays of robots are [N, ...]; a mask [N] chooses the robots that a kernel writes.
"""

import warp as wp


@wp.kernel
def choose_targets(
    substep: int,
    latency: wp.array(dtype=int),
    previous: wp.array2d(dtype=float),
    targets: wp.array2d(dtype=float),
    ctrl: wp.array2d(dtype=float),
):
    """Apply the previous targets during the latency [substeps] of a robot, then the new ones."""
    robot, joint = wp.tid()
    if substep < latency[robot]:
        ctrl[robot, joint] = previous[robot, joint]
    else:
        ctrl[robot, joint] = targets[robot, joint]


@wp.kernel
def write_columns(
    mask: wp.array(dtype=bool),
    columns: wp.array(dtype=int),
    source: wp.array2d(dtype=float),
    target: wp.array2d(dtype=float),
):
    """Copy the columns of the masked robots to these columns of the target."""
    robot, column = wp.tid()
    if mask[robot]:
        target[robot, columns[column]] = source[robot, column]


@wp.kernel
def restart_targets(
    mask: wp.array(dtype=bool),
    rest: wp.array(dtype=float),
    targets: wp.array2d(dtype=float),
    ctrl: wp.array2d(dtype=float),
):
    """Aim the masked robots at the default pose."""
    robot, joint = wp.tid()
    if mask[robot]:
        targets[robot, joint] = rest[joint]
        ctrl[robot, joint] = rest[joint]


@wp.kernel
def gather_rows(
    mask: wp.array(dtype=bool),
    index: wp.array(dtype=int),
    source: wp.array2d(dtype=float),
    target: wp.array2d(dtype=float),
):
    """Copy a row of the source, its index given per robot, to the masked robots."""
    robot, column = wp.tid()
    if mask[robot]:
        target[robot, column] = source[index[robot], column]


@wp.kernel
def write_gains(
    mask: wp.array(dtype=bool),
    scales: wp.array2d(dtype=float),
    kp: wp.array(dtype=float),
    kd: wp.array(dtype=float),
    gain: wp.array3d(dtype=float),
    bias: wp.array3d(dtype=float),
):
    """Set the PD gains of the masked robots: kp and kd times their scales [N, 3] and the motor strength."""
    robot, joint = wp.tid()
    if mask[robot]:
        p = kp[joint] * scales[robot, 0] * scales[robot, 2]
        d = kd[joint] * scales[robot, 1] * scales[robot, 2]
        gain[robot, joint, 0] = p
        bias[robot, joint, 1] = -p
        bias[robot, joint, 2] = -d


@wp.kernel
def write_friction(
    mask: wp.array(dtype=bool),
    friction: wp.array(dtype=float),
    feet: wp.array(dtype=int),
    geom_friction: wp.array2d(dtype=wp.vec3),
):
    """Set the sliding friction of the masked robots' feet."""
    robot, foot = wp.tid()
    if mask[robot]:
        old = geom_friction[robot, feet[foot]]
        geom_friction[robot, feet[foot]] = wp.vec3(friction[robot], old[1], old[2])


@wp.kernel
def place_ground(
    tiles: wp.array(dtype=int),
    positions: wp.array2d(dtype=wp.vec3),
    sizes: wp.array2d(dtype=wp.vec3),
    boxes: wp.array3d(dtype=wp.vec3),
    radii: wp.array2d(dtype=float),
    fields: wp.array2d(dtype=int),
    geom_xpos: wp.array2d(dtype=wp.vec3),
    geom_size: wp.array2d(dtype=wp.vec3),
    geom_aabb: wp.array3d(dtype=wp.vec3),
    geom_rbound: wp.array2d(dtype=float),
    geom_dataid: wp.array2d(dtype=int),
):
    """Give every robot the ground of its tile, from the tables [tiles, slots]."""
    robot, slot = wp.tid()
    tile = tiles[robot]
    geom_xpos[robot, slot] = positions[tile, slot]
    geom_size[robot, slot] = sizes[tile, slot]
    geom_aabb[robot, slot, 0] = boxes[tile, slot, 0]
    geom_aabb[robot, slot, 1] = boxes[tile, slot, 1]
    geom_rbound[robot, slot] = radii[tile, slot]
    geom_dataid[robot, slot] = fields[tile, slot]


@wp.kernel
def read_base(
    mask: wp.array(dtype=bool),
    qpos: wp.array2d(dtype=float),
    qvel: wp.array2d(dtype=float),
    rest: wp.array(dtype=float),
    max_velocity: float,
    position: wp.array(dtype=wp.vec3),
    quat: wp.array(dtype=wp.vec4),
    rotation: wp.array(dtype=wp.mat33),
    lin_vel: wp.array(dtype=wp.vec3),
    ang_vel: wp.array(dtype=wp.vec3),
    failed: wp.array(dtype=bool),
):
    """Whether a robot's state is unsound; its base, which is at rest in the default pose if so."""
    robot = wp.tid()
    if not mask[robot]:
        return
    sound = bool(True)  # noqa: UP018, else Warp takes it for a constant
    for i in range(qpos.shape[1]):
        sound = sound and wp.isfinite(qpos[robot, i])
    for i in range(qvel.shape[1]):
        sound = sound and wp.abs(qvel[robot, i]) < max_velocity  # false of NaN
    failed[robot] = not sound
    p = wp.vec3(rest[0], rest[1], rest[2])
    q = wp.vec4(rest[3], rest[4], rest[5], rest[6])
    v = wp.vec3()
    w = wp.vec3()
    if sound:
        p = wp.vec3(qpos[robot, 0], qpos[robot, 1], qpos[robot, 2])
        q = wp.vec4(qpos[robot, 3], qpos[robot, 4], qpos[robot, 5], qpos[robot, 6])
        v = wp.vec3(qvel[robot, 0], qvel[robot, 1], qvel[robot, 2])
        w = wp.vec3(qvel[robot, 3], qvel[robot, 4], qvel[robot, 5])
    turn = wp.quat_to_matrix(wp.quat(q[1], q[2], q[3], q[0]))
    position[robot] = p
    quat[robot] = q
    rotation[robot] = turn
    lin_vel[robot] = wp.transpose(turn) * v
    ang_vel[robot] = w


@wp.kernel
def read_joints(
    mask: wp.array(dtype=bool),
    failed: wp.array(dtype=bool),
    qpos: wp.array2d(dtype=float),
    qvel: wp.array2d(dtype=float),
    force: wp.array2d(dtype=float),
    rest: wp.array(dtype=float),
    qpos_columns: wp.array(dtype=int),
    qvel_columns: wp.array(dtype=int),
    position: wp.array2d(dtype=float),
    velocity: wp.array2d(dtype=float),
    torque: wp.array2d(dtype=float),
):
    """Angles, velocities and torques of the joints."""
    robot, joint = wp.tid()
    if not mask[robot]:
        return
    place = qpos_columns[joint]
    column = qvel_columns[joint]
    if failed[robot]:
        position[robot, joint] = rest[place]
        velocity[robot, joint] = 0.0
        torque[robot, joint] = 0.0
    else:
        position[robot, joint] = qpos[robot, place]
        velocity[robot, joint] = qvel[robot, column]
        torque[robot, joint] = force[robot, column]


@wp.kernel
def read_feet(
    mask: wp.array(dtype=bool),
    failed: wp.array(dtype=bool),
    sensors: wp.array2d(dtype=float),
    columns: wp.array2d(dtype=int),
    position: wp.array2d(dtype=wp.vec3),
    velocity: wp.array2d(dtype=wp.vec3),
    force: wp.array2d(dtype=float),
):
    """Position, velocity and size of the contact force of each foot, from three sensors, `columns` [F, 3]."""
    robot, foot = wp.tid()
    if not mask[robot]:
        return
    p = wp.vec3()
    v = wp.vec3()
    f = wp.vec3()
    if not failed[robot]:
        for i in range(3):
            p[i] = sensors[robot, columns[foot, 0] + i]
            v[i] = sensors[robot, columns[foot, 1] + i]
            f[i] = sensors[robot, columns[foot, 2] + i]
    position[robot, foot] = p
    velocity[robot, foot] = v
    force[robot, foot] = wp.length(f)


@wp.kernel
def read_contacts(
    mask: wp.array(dtype=bool),
    failed: wp.array(dtype=bool),
    sensors: wp.array2d(dtype=float),
    penalized_columns: wp.array(dtype=int),
    termination_columns: wp.array(dtype=int),
    penalized: wp.array2d(dtype=bool),
    termination: wp.array(dtype=bool),
):
    """Contacts of the penalised bodies, and whether a termination body has one."""
    robot = wp.tid()
    if not mask[robot]:
        return
    sound = not failed[robot]
    for i in range(penalized_columns.shape[0]):
        penalized[robot, i] = sound and sensors[robot, penalized_columns[i]] > 0.0
    touching = bool(False)  # noqa: UP018
    for i in range(termination_columns.shape[0]):
        touching = touching or sensors[robot, termination_columns[i]] > 0.0
    termination[robot] = sound and touching
