// The page: loads policy, robot and scene, lets keys and touches command, and runs the control loop in real time.
import loadMujoco from "./vendor/mujoco.js";
import * as ort from "./vendor/ort.wasm.min.mjs";
import { Robot } from "./robot.js";
import { Picture } from "./picture.js";

const MOVES = { w: [0, 1], s: [0, -1], a: [1, 1], d: [1, -1], q: [2, 1], e: [2, -1] };
const ARROWS = { ArrowUp: "w", ArrowDown: "s", ArrowLeft: "q", ArrowRight: "e" };
const SHARE = 0.7; // of the largest command of the training
const MOST_LATE = 0.2; // s that the loop catches up; a hidden tab continues where it was

const status = document.getElementById("status");
const sight = document.getElementById("sight");
const held = new Set();

function listen(robot) {
  addEventListener("keydown", (event) => {
    const key = ARROWS[event.key] ?? event.key.toLowerCase();
    if (key === "r") robot.restart();
    if (!(key in MOVES)) return;
    event.preventDefault();
    held.add(key);
  });
  addEventListener("keyup", (event) => held.delete(ARROWS[event.key] ?? event.key.toLowerCase()));
  addEventListener("blur", () => held.clear());
  for (const button of document.querySelectorAll("#pad button")) {
    const key = button.dataset.key;
    const hold = (on) => { on ? held.add(key) : held.delete(key); button.classList.toggle("held", on); };
    button.addEventListener("pointerdown", (event) => { button.setPointerCapture(event.pointerId); hold(true); });
    for (const end of ["pointerup", "pointercancel"]) button.addEventListener(end, () => hold(false));
  }
}

function command(ranges) {
  const wanted = [0, 0, 0];
  for (const key of held) {
    const [axis, sign] = MOVES[key];
    const [low, high] = ranges[axis];
    wanted[axis] += SHARE * Math.abs(sign > 0 ? high : low) * sign;
  }
  return wanted;
}

async function start() {
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = new URL("./vendor/", import.meta.url).href;
  const fetched = async (name) => {
    const answer = await fetch(name);
    if (!answer.ok) throw new Error(`${name}: ${answer.status}`);
    return answer;
  };
  const [page, xml, graph, mujoco] = await Promise.all([
    fetched("page.json").then((r) => r.json()),
    fetched("scene.xml").then((r) => r.text()),
    fetched("policy.onnx").then((r) => r.arrayBuffer()),
    loadMujoco(),
  ]);
  document.title = document.getElementById("title").textContent = page.title;
  const session = await ort.InferenceSession.create(graph, { executionProviders: ["wasm"] });
  const robot = new Robot(mujoco, xml, page, session, ort);
  const picture = new Picture(robot.model, page);
  listen(robot);
  const { lin_vel_x, lin_vel_y, yaw_rate } = page.metadata.commands;
  const ranges = [lin_vel_x, lin_vel_y, yaw_rate];
  window.leggedPPO = { robot, falls: 0, steps: 0 };
  const shown = window.leggedPPO;
  let due = performance.now();
  for (;;) {
    await new Promise(requestAnimationFrame);
    const now = performance.now();
    due = Math.max(due, now - 1000 * MOST_LATE);
    while (due <= now) {
      await robot.step(command(ranges));
      due += 1000 * page.metadata.dt;
      shown.steps += 1;
      if (robot.fell) {
        shown.falls += 1;
        robot.restart();
      }
    }
    picture.draw(robot.data);
    robot.camera?.draw(sight);
    const v = robot.velocity();
    status.textContent =
      `command ${robot.command.map((x) => x.toFixed(2)).join("  ")}\n` +
      `robot   ${v[0].toFixed(2)}  ${v[1].toFixed(2)} m/s  ${robot.data.qvel[5].toFixed(2)} rad/s`;
  }
}

start().catch((error) => {
  console.error(error);
  status.textContent = `this page could not start: ${error.message ?? error}`;
});
