// The depth camera: images by MuJoCo's rays, as often and as late as those of legged_ppo/deploy/camera.py.

const GROUND = 5, HIDDEN = 4; // groups of geoms: what rays meet, and robots' geoms that would be in it

export class Camera {
  constructor(mujoco, model, figures, dt) {
    const { rows, columns } = figures;
    Object.assign(this, { mujoco, model, figures });
    for (let i = 0; i < model.ngeom; i++) {
      if (model.geom_bodyid[i] === 0) model.geom_group[i] = GROUND;
      else if (model.geom_group[i] === GROUND) model.geom_group[i] = HIDDEN;
    }
    this.groups = [0, 0, 0, 0, 0, 1];
    const half = Math.tan((figures.horizontal_fov_deg * Math.PI) / 360);
    const pitch = (figures.pitch_deg * Math.PI) / 180, cos = Math.cos(pitch), sin = Math.sin(pitch);
    this.rays = []; // in the base's frame
    this.lengths = [];
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        const y = half * (1 - (2 * column + 1) / columns);
        const z = half * (rows / columns) * (1 - (2 * row + 1) / rows);
        const length = Math.hypot(1, y, z);
        this.rays.push([(cos + sin * z) / length, y / length, (cos * z - sin) / length]);
        this.lengths.push(length);
      }
    }
    this.farthest = figures.far * Math.max(...this.lengths);
    this.geoms = new mujoco.IntBuffer(rows * columns);
    this.found = new mujoco.DoubleBuffer(rows * columns);
    this.period = Math.max(1, Math.round(middle(figures.period_s) / dt));
    this.delay = Math.round(middle(figures.latency_s) / dt);
    this.depths = new Array(rows * columns).fill(figures.far);
    this.restart();
  }

  restart() {
    this.poses = [];
    this.steps = 0;
  }

  // Depths [m] along the optical axis, row by row from the top left, at most `far`; one call a control step.
  image(data) {
    this.poses.push([Array.from(data.qpos.slice(0, 3)), rotation(data.qpos)]);
    if (this.poses.length > this.delay + 1) this.poses.shift();
    if (this.steps % this.period === 0) this.depths = this.render(data, ...this.poses[0]);
    this.steps += 1;
    return this.depths;
  }

  render(data, base, turn) {
    const count = this.rays.length, { far, position } = this.figures;
    const lens = turned(turn, position).map((x, i) => base[i] + x);
    const rays = this.rays.flatMap((ray) => turned(turn, ray));
    this.mujoco.mj_multiRay(
      this.model, data, lens, rays, this.groups, true, -1, this.geoms, this.found, null, count, this.farthest);
    return Array.from(this.found.GetView(), (x, i) => (x < 0 ? far : Math.min(x / this.lengths[i], far)));
  }

  // The present image as grey pixels, near ones light.
  draw(canvas) {
    const { rows, columns, near, far } = this.figures;
    Object.assign(canvas, { width: columns, height: rows });
    const picture = new ImageData(columns, rows);
    this.depths.forEach((depth, i) => {
      const grey = 255 * Math.min(Math.max((far - depth) / (far - near), 0), 1);
      picture.data.set([grey, grey, grey, 255], 4 * i);
    });
    canvas.getContext("2d").putImageData(picture, 0, 0);
  }
}

function rotation(qpos) {
  const [w, x, y, z] = qpos.slice(3, 7);
  return [
    [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
    [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
    [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
  ];
}

function turned(rows, vector) {
  return rows.map((row) => row.reduce((sum, x, i) => sum + x * vector[i], 0));
}

// Of a range [s]; 0 of an empty one.
function middle(bounds) {
  return bounds.length ? (bounds[0] + bounds[1]) / 2 : 0;
}
