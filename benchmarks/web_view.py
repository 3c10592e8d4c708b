"""The web view of play.py: what its server delivers, and what a headless Chromium without a GPU draws of it.

    python benchmarks/web_view.py
    python benchmarks/web_view.py --robots 16 --size 1280x720 --seconds 20 --json FILE

Server: robots walk as fast as they can and every control step is drawn, for one client that reads what is sent,
in a process of its own. Browser: the view runs in real time; in the page, animation frames, pictures that
three.js rendered and those of them with new poses are counted, once drawn in full and once light. The core time
of each process says which of them bounds the rate. Physics, server and browser share this machine.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from machine import machine

from legged_ppo.evaluation.trained_policy import load_policy
from legged_ppo.viewer.live import LiveRollout
from legged_ppo.viewer.web import WebView

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from browser import Page, browser, find_browser  # noqa: E402

_WARM_UP = 6.0
"""s before the browser's frames are counted: shapes load, shaders compile"""
_COUNT = """new Promise(done => {
  const info = __viserTestpoints.rendererInfo.render, start = performance.now(), before = info.frame;
  const pose = () => __viserSceneTree.getState()["/world/robots/0"]?.message.props.batched_positions;
  let animated = 0, fresh = 0, last = pose();
  const frame = () => {
    const seconds = (performance.now() - start) / 1000, now = pose();
    animated += 1;
    if (now !== last) { fresh += 1; last = now; }
    if (seconds < SECONDS) requestAnimationFrame(frame);
    else done({animation_frames: animated / seconds, rendered: (info.frame - before) / seconds,
               with_new_poses: fresh / seconds, triangles: info.triangles, draw_calls: info.calls});
  };
  requestAnimationFrame(frame);
})"""
_CANVAS = "(c => `${c.width}x${c.height}`)(__viserMutable.canvas)"
_READER = """import sys, time
from websockets.sync.client import connect
with connect(sys.argv[1], subprotocols=[sys.argv[2]], max_size=None, proxy=None) as socket:
    received = messages = 0
    print("connected", flush=True)
    try:
        while True:
            received += len(socket.recv())
            messages += 1
    except Exception:
        print(received, messages)
"""


def server_rate(view: WebView, seconds: float) -> dict[str, float]:
    """Control steps with a frame each, as fast as they go, and what of it reaches a client."""
    import viser

    address = view.address.replace("http", "ws")
    command = [sys.executable, "-c", _READER, address, f"viser-v{viser.__version__}"]
    reader = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert reader.stdout is not None
    reader.stdout.readline()
    steps, in_steps, in_frames = 0, 0.0, 0.0
    start, cpu = time.perf_counter(), time.process_time()
    while (now := time.perf_counter()) < start + seconds:
        view.live.step()
        view.panel.stepped()
        middle = time.perf_counter()
        view.scene.update(view.live.env.dt)
        in_steps += middle - now
        in_frames += time.perf_counter() - middle
        steps += 1
    elapsed, cpu = time.perf_counter() - start, time.process_time() - cpu
    view.server._websock_server.disconnect_all_clients()
    received, messages = map(int, reader.communicate(timeout=60)[0].split())
    return {
        "steps_and_frames_a_second": steps / elapsed,
        "times_real_time": steps * view.live.env.dt / elapsed,
        "ms_a_step": 1000 * in_steps / steps,
        "ms_a_frame": 1000 * in_frames / steps,
        "kilobytes_a_frame": received / steps / 1000,
        "windows_received_a_second": messages / elapsed,
        "core_ms_a_step_and_frame": 1000 * cpu / steps,
        "core_seconds_a_second": cpu / elapsed,
    }


def browser_rate(
    view: WebView, page: Page, drawing: str, seconds: float, pid: int
) -> dict[str, Any]:
    """Frames a second of a page that has the view open, and the cores that it took."""
    view.panel.draw(drawing)
    time.sleep(_WARM_UP)
    before, server = _cpu_times(pid), time.process_time()
    start = time.perf_counter()
    found = dict(page.run(_COUNT.replace("SECONDS", str(seconds))))
    elapsed = time.perf_counter() - start
    found["canvas"] = page.run(_CANVAS)
    cores = {"server": (time.process_time() - server) / elapsed}
    for name, spent in _cpu_times(pid).items():
        cores[name] = (spent - before.get(name, 0.0)) / elapsed
    found["core_seconds_a_second"] = {k: round(v, 2) for k, v in cores.items() if v > 0.005}
    frame = 1000 / max(found["rendered"], 1e-9)
    found["core_ms_a_rendered_frame"] = {k: round(frame * v, 1) for k, v in cores.items()}
    return found


@contextlib.contextmanager
def walking(view: WebView) -> Iterator[None]:
    """The view runs in real time in a thread until the block ends."""

    class End(Exception):  # noqa: N818
        pass

    def stop() -> None:
        raise End

    def run() -> None:
        with contextlib.suppress(End):
            view.run(math.inf)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        view.panel.ask(stop)
        thread.join(60.0)


def _cpu_times(ancestor: int) -> dict[str, float]:
    """Seconds of processor time of a process and those below it, by the kind that Chromium gives them."""
    parents, kinds, times = {}, {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            words = (folder / "cmdline").read_text()
        except OSError:
            continue
        pid = int(folder.name)
        parents[pid] = int(fields[1])
        times[pid] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        kind = re.search(r"--type=([\w-]+)", words)
        kinds[pid] = "browser_" + (kind[1].replace("-", "_") if kind else "main")
    total: dict[str, float] = {}
    for pid in parents:
        above = pid
        while above not in (0, ancestor):
            above = parents.get(above, 0)
        if above == ancestor and pid != os.getpid() and "zygote" not in kinds[pid]:
            total[kinds[pid]] = total.get(kinds[pid], 0.0) + times[pid]
    return total


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure and print; returns the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", default="pretrained:go2_rough")
    parser.add_argument("--robots", type=int, default=16)
    parser.add_argument("--terrain", default="rough")
    parser.add_argument("--level", type=int, default=1)
    parser.add_argument("--size", default="1280x720", help="pixels of the browser's page")
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--screenshots", type=Path, metavar="DIR", help="PNG files of the page")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments, overrides = parser.parse_known_args(argv)
    policy = load_policy(arguments.checkpoint, overrides)
    width, height = map(int, arguments.size.split("x"))
    place = (arguments.terrain, arguments.level)
    live = LiveRollout(policy.network, policy.config, arguments.robots, place=place, endless=True)
    cores = len(os.sched_getaffinity(0))
    load = os.getloadavg()[0]
    found: dict[str, Any] = {"cores": cores, "load": load, **machine(live.env.device)}
    found |= vars(arguments)
    print(f"{cores} cores for all processes, load average before the start {load:.1f}")
    with WebView(live, policy, load_policy, port=0) as view:
        found["server"] = server_rate(view, arguments.seconds)
        _show("server alone", found["server"])
        if (program := find_browser()) is None:
            print("no Chromium on the PATH (make apt-browser): the browser's part is left out")
        else:
            with walking(view), browser(program, (width, height)) as page:
                page.open(view.address)
                page.wait_for("window.leggedPPO && document.body.innerText.includes(' drawn')")
                for drawing in ("full", "light"):
                    rate = browser_rate(view, page, drawing, arguments.seconds, os.getpid())
                    found[drawing] = rate
                    _show(f"browser, {drawing}, page {arguments.size}", rate)
                    if arguments.screenshots:
                        arguments.screenshots.mkdir(parents=True, exist_ok=True)
                        (arguments.screenshots / f"{drawing}.png").write_bytes(page.screenshot())
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2, default=str) + "\n")
    return found


def _show(title: str, figures: dict[str, Any]) -> None:
    print(title, flush=True)
    for name, value in figures.items():
        print(f"  {name}: {value:.1f}" if isinstance(value, float) else f"  {name}: {value}")


if __name__ == "__main__":
    main()
