// Runs in the page of the web view beside viser's client: a gamepad's sticks, keys that stay down, and what the
// browser draws. It speaks through the value of a text control that viser does not show. In an element's handler
// plain addEventListener would be the element's.
(() => {
  if (window.leggedPPO) return;
  const CONTROL = "$CONTROL"; // of viser
  const KEYS = $KEYS; // key: move
  const KEY_WAIT = 350, KEY_PERIOD = 100; // ms until a key that stays down is repeated, and between repetitions
  const POLL = 50; // ms between looks at the gamepad
  const DEAD = 0.15; // of a stick's way, around its middle
  const BUTTONS = { 0: "push", 1: "reset" }; // of the standard gamepad: A, B
  const REPORT = 1000; // ms
  const PIXELS = $PIXELS; // of the canvas to those of the screen, where the browser draws without a GPU

  let number = 0;
  const say = (what) => {
    const value = JSON.stringify({ number: number++, ...what });
    window.__viserMutable?.sendMessage({ type: "GuiUpdateMessage", uuid: CONTROL, updates: { value } });
  };

  let held = null, timer = 0;
  const release = () => { held = null; clearTimeout(timer); };
  const repeat = () => { say({ press: KEYS[held] }); timer = setTimeout(repeat, KEY_PERIOD); };
  window.addEventListener("keydown", (event) => {
    const key = event.key.toLowerCase();
    const typing = event.target.matches?.("input, textarea, [contenteditable]");
    if (event.repeat || typing || event.ctrlKey || event.metaKey || event.altKey || !(key in KEYS)) return;
    release();
    held = key;
    timer = setTimeout(repeat, KEY_WAIT);
  });
  window.addEventListener("keyup", (event) => { if (event.key.toLowerCase() === held) release(); });
  window.addEventListener("blur", release);

  const beyond = (x = 0) => Math.abs(x) < DEAD ? 0 : Math.round(50 * (x - DEAD * Math.sign(x)) / (1 - DEAD)) / 50;
  let stick = "0,0,0", pressed = {};
  setInterval(() => {
    const pad = [...navigator.getGamepads()].find((each) => each?.connected);
    if (!pad) return;
    const [x, y, turn] = pad.axes;
    const now = [-beyond(y) || 0, -beyond(x) || 0, -beyond(turn) || 0];
    if (now.join() !== stick) {
      stick = now.join();
      say({ stick: now });
    }
    for (const [index, action] of Object.entries(BUTTONS)) {
      const down = Boolean(pad.buttons[index]?.pressed);
      if (down && !pressed[index]) say({ press: action });
      pressed[index] = down;
    }
  }, POLL);

  const renderer = () => {
    const gl = window.__viserMutable?.canvas?.getContext("webgl2");
    const names = gl?.getExtension("WEBGL_debug_renderer_info");
    return gl ? String(gl.getParameter(names ? names.UNMASKED_RENDERER_WEBGL : gl.RENDERER)) : "";
  };
  const software = /swiftshader|llvmpipe|softpipe|software/i.test(renderer());
  const settings = window.__viserTestpoints?.devSettings;
  if (software && settings?.get().fixedDpr === null) settings.set({ fixedDpr: PIXELS * devicePixelRatio });
  const drawn = () => window.__viserTestpoints?.rendererInfo.render.frame ?? 0;
  const visible = (selector) => [...document.querySelectorAll(selector)].some((each) => each.offsetParent);
  let frames = drawn(), since = performance.now();
  const report = () => {
    const now = performance.now(), total = drawn();
    say({ draws: { frames: (1000 * (total - frames)) / Math.max(now - since, 1), software, plots: visible(".uplot") } });
    [frames, since] = [total, now];
  };
  report();
  setInterval(report, REPORT);
  window.leggedPPO = { software };
})();
