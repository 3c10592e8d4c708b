// One robot: sensors, observation, graph, joint targets, physics. The same loop as legged_ppo/deploy/walker.py.
import { Camera } from "./camera.js";

const STANDING = 0.1; // sum of a command's absolute values up to which the gait clock is hidden

export class Robot {
  constructor(mujoco, xml, page, session, ort) {
    this.mujoco = mujoco;
    this.page = page;
    this.session = session;
    this.ort = ort;
    this.metadata = page.metadata;
    this.model = mujoco.MjModel.from_xml_string(xml);
    this.data = new mujoco.MjData(this.model);
    this.default = this.metadata.robot.default_joint_pos;
    this.threshold = this.metadata.config.task.observations.contact_threshold;
    this.maxTilt = this.metadata.config.task.max_tilt;
    this.maxVelocity = this.metadata.config.sim.max_velocity;
    const { camera, dt } = this.metadata;
    this.camera = camera.rows ? new Camera(mujoco, this.model, camera, dt) : null;
    this.restart();
  }

  restart() {
    const { mujoco, model, data, page } = this;
    mujoco.mj_resetData(model, data);
    data.qpos.set(page.start_qpos);
    data.ctrl.set(this.default);
    mujoco.mj_forward(model, data);
    this.action = new Array(this.default.length).fill(0);
    this.contact = page.foot_forces.map(() => 0);
    this.camera?.restart();
    this.phase = 0;
    this.command = [0, 0, 0];
    this.walked = [0, 0];
    this.fell = false;
    const size = this.metadata.recurrent_state.reduce((a, b) => a * b, 1);
    this.state = new Float32Array(size);
    this.starts = (this.starts ?? 0) + 1; // a step under way belongs to the episode before
  }

  async step(command) {
    const { mujoco, model, data, metadata, ort, page } = this;
    this.command = command;
    const feeds = {};
    for (const group of metadata.observations) {
      const values = Float32Array.from(this.group(group));
      feeds[group.name] = new ort.Tensor("float32", values, [1, values.length]);
    }
    const memory = metadata.recurrent_state.length > 0;
    if (memory) feeds.h_in = new ort.Tensor("float32", this.state, metadata.recurrent_state);
    const episode = this.starts;
    const outputs = await this.session.run(feeds);
    if (episode !== this.starts) return;
    if (memory) this.state = Float32Array.from(outputs.h_out.data);
    this.action = Array.from(outputs.action.data);
    data.ctrl.set(Array.from(outputs.joint_targets.data));
    const before = [data.qpos[0], data.qpos[1]];
    for (let i = 0; i < metadata.config.sim.decimation; i++) mujoco.mj_step(model, data);
    for (const i of [0, 1]) {
      this.walked[i] += data.qpos[i] - before[i];
      const local = (data.qpos[i] - page.tile.origin[i]) / page.tile.size;
      data.qpos[i] -= Math.round(local) * page.tile.size; // each tile is endless
    }
    const sensors = data.sensordata;
    this.contact = page.foot_forces.map((c) => (Math.hypot(...c.map((i) => sensors[i])) > this.threshold ? 1 : 0));
    this.phase = (this.phase + metadata.gait.frequency * metadata.dt) % 1;
    const fast = data.qvel.some((x) => !(Math.abs(x) < this.maxVelocity));
    const down = page.terminations.some((i) => sensors[i] > 0);
    this.fell = fast || down || this.gravity()[2] > -Math.cos(this.maxTilt);
  }

  group(group) {
    const columns = [];
    for (const term of group.terms) {
      for (let value of this.quantity(term.name)) {
        value -= term.offset;
        if (term.clip !== null) value = Math.min(Math.max(value, -term.clip), term.clip);
        columns.push(value * term.scale);
      }
    }
    return columns;
  }

  quantity(name) {
    const { data, page } = this;
    switch (name) {
      case "base_ang_vel": return [data.qvel[3], data.qvel[4], data.qvel[5]];
      case "projected_gravity": return this.gravity();
      case "joint_pos": return page.qpos.map((i, j) => data.qpos[i] - this.default[j]);
      case "joint_vel": return page.qvel.map((i) => data.qvel[i]);
      case "last_action": return this.action;
      case "foot_contact": return this.contact;
      case "velocity": return this.command.slice(0, 2);
      case "yaw_rate": return this.command.slice(2);
      case "gait_clock": return this.clock();
      case "scandots": return this.heights();
      case "depth": return this.camera.image(data);
    }
    throw new Error(`the page cannot compute the observation ${name}`);
  }

  gravity() {
    const [w, x, y, z] = this.data.qpos.slice(3, 7);
    return [2 * (w * y - x * z), -2 * (y * z + w * x), 2 * (x * x + y * y) - 1];
  }

  yaw() {
    const [w, x, y, z] = this.data.qpos.slice(3, 7);
    return Math.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z));
  }

  clock() {
    if (this.command.reduce((sum, x) => sum + Math.abs(x), 0) <= STANDING) return [0, 0];
    return [Math.sin(2 * Math.PI * this.phase), Math.cos(2 * Math.PI * this.phase)];
  }

  // Forward and lateral velocity [m/s] in the heading's frame, for the eye alone.
  velocity() {
    const yaw = this.yaw();
    const [x, y] = this.data.qvel;
    return [Math.cos(yaw) * x + Math.sin(yaw) * y, Math.cos(yaw) * y - Math.sin(yaw) * x];
  }

  heights() {
    const yaw = this.yaw();
    const [x, y, z] = this.data.qpos;
    return this.metadata.scandots.map(([dx, dy]) =>
      z - this.ground(x + Math.cos(yaw) * dx - Math.sin(yaw) * dy, y + Math.sin(yaw) * dx + Math.cos(yaw) * dy));
  }

  // Bilinear height [m] of the tile's height map, which repeats.
  ground(x, y) {
    const { size, origin } = this.page.tile;
    const map = this.page.heights;
    const cells = map.length - 1;
    const place = (value, middle) => {
      const at = (((value - middle + size / 2) / size) % 1 + 1) % 1 * cells;
      const cell = Math.min(Math.floor(at), cells - 1);
      return [cell, at - cell];
    };
    const [i, fx] = place(x, origin[0]);
    const [j, fy] = place(y, origin[1]);
    const near = map[i][j] + (map[i][j + 1] - map[i][j]) * fy;
    const far = map[i + 1][j] + (map[i + 1][j + 1] - map[i + 1][j]) * fy;
    return near + (far - near) * fx;
  }
}
