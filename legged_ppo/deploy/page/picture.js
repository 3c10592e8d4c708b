// The geoms of a MuJoCo model drawn by three.js, and a camera that follows the robot and turns by dragging.
import * as THREE from "three";

const PLANE = 0, HFIELD = 1, SPHERE = 2, CAPSULE = 3, ELLIPSOID = 4, CYLINDER = 5, BOX = 6; // mjtGeom
const MOST_GROUP = 2; // geoms of higher groups are hidden, as in MuJoCo's viewer
const SKY = 0xcfe0f0;

export class Picture {
  constructor(model, page) {
    this.renderer = new THREE.WebGLRenderer({ antialias: true });
    this.renderer.shadowMap.enabled = true;
    document.body.prepend(this.renderer.domElement);
    this.scene = new THREE.Scene();
    this.scene.background = new THREE.Color(SKY);
    this.scene.fog = new THREE.Fog(SKY, 8, 22);
    this.camera = new THREE.PerspectiveCamera(45, 1, 0.05, 60);
    this.camera.up.set(0, 0, 1);
    this.sun = new THREE.DirectionalLight(0xffffff, 2.2);
    this.sun.castShadow = true;
    this.sun.shadow.mapSize.set(1024, 1024);
    Object.assign(this.sun.shadow.camera, { left: -1.5, right: 1.5, top: 1.5, bottom: -1.5, near: 1, far: 14 });
    this.scene.add(this.sun, this.sun.target, new THREE.HemisphereLight(0xffffff, 0x8899aa, 1.6));
    this.base = page.base_body;
    this.meshes = [];
    for (let i = 0; i < model.ngeom; i++) {
      const ground = model.geom_bodyid[i] === 0;
      if (model.geom_group[i] > MOST_GROUP && !ground) continue;
      const shape = geometry(model, i);
      if (!shape) continue;
      const mesh = new THREE.Mesh(shape, ground ? groundMaterial() : material(model, i));
      mesh.castShadow = !ground;
      mesh.receiveShadow = true;
      mesh.matrixAutoUpdate = false;
      this.scene.add(mesh);
      this.meshes.push([i, mesh]);
    }
    this.turn = 2.3; this.lift = 0.45; this.distance = 2.4;
    const canvas = this.renderer.domElement;
    canvas.addEventListener("pointermove", (event) => {
      if (!event.buttons) return;
      this.turn -= event.movementX * 0.008;
      this.lift = Math.min(Math.max(this.lift + event.movementY * 0.005, 0.05), 1.4);
    });
    canvas.addEventListener("wheel", (event) => {
      this.distance = Math.min(Math.max(this.distance * Math.exp(event.deltaY * 0.001), 1), 8);
    }, { passive: true });
  }

  draw(data) {
    const width = innerWidth, height = innerHeight, canvas = this.renderer.domElement;
    if (canvas.clientWidth !== width || canvas.clientHeight !== height) {
      this.renderer.setPixelRatio(Math.min(devicePixelRatio, 2));
      this.renderer.setSize(width, height);
      this.camera.aspect = width / height;
      this.camera.updateProjectionMatrix();
    }
    const p = data.geom_xpos, r = data.geom_xmat;
    for (const [i, mesh] of this.meshes) {
      const m = r.subarray(9 * i, 9 * i + 9), x = p.subarray(3 * i, 3 * i + 3);
      mesh.matrix.set(m[0], m[1], m[2], x[0], m[3], m[4], m[5], x[1], m[6], m[7], m[8], x[2], 0, 0, 0, 1);
    }
    const [x, y, z] = data.qpos;
    const flat = this.distance * Math.cos(this.lift);
    this.camera.position.set(x + flat * Math.cos(this.turn), y + flat * Math.sin(this.turn), z + this.distance * Math.sin(this.lift));
    this.camera.lookAt(x, y, z - 0.05);
    this.sun.position.set(x - 1.2, y - 1.6, z + 6);
    this.sun.target.position.set(x, y, z);
    this.renderer.render(this.scene, this.camera);
  }
}

// MuJoCo's capsules and cylinders lie along z, those of three.js along y.
function geometry(model, i) {
  const [a, b, c] = model.geom_size.subarray(3 * i, 3 * i + 3);
  switch (model.geom_type[i]) {
    case PLANE: return new THREE.PlaneGeometry(120, 120);
    case HFIELD: return field(model, model.geom_dataid[i]);
    case SPHERE: return new THREE.SphereGeometry(a, 24, 16);
    case CAPSULE: return new THREE.CapsuleGeometry(a, 2 * b, 8, 20).rotateX(Math.PI / 2);
    case ELLIPSOID: return new THREE.SphereGeometry(1, 24, 16).scale(a, b, c);
    case CYLINDER: return new THREE.CylinderGeometry(a, a, 2 * b, 28).rotateX(Math.PI / 2);
    case BOX: return new THREE.BoxGeometry(2 * a, 2 * b, 2 * c);
  }
  return null;
}

function field(model, index) {
  const rows = model.hfield_nrow[index], columns = model.hfield_ncol[index];
  const [x, y, top] = model.hfield_size.subarray(4 * index, 4 * index + 3);
  const heights = model.hfield_data, first = model.hfield_adr[index];
  const shape = new THREE.PlaneGeometry(2 * x, 2 * y, columns - 1, rows - 1);
  const points = shape.attributes.position;
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const point = (rows - 1 - row) * columns + column; // three.js begins at the far edge
      points.setZ(point, top * heights[first + row * columns + column]);
    }
  }
  shape.computeVertexNormals();
  return shape;
}

function material(model, i) {
  const found = model.geom_matid[i];
  const rgba = found >= 0 ? model.mat_rgba.subarray(4 * found, 4 * found + 4) : model.geom_rgba.subarray(4 * i, 4 * i + 4);
  const color = new THREE.Color().setRGB(rgba[0], rgba[1], rgba[2], THREE.SRGBColorSpace);
  return new THREE.MeshStandardMaterial({ color, roughness: 0.6, metalness: 0.1 });
}

// Squares of half a metre in world coordinates, the same on every shape.
let ground = null;
function groundMaterial() {
  if (ground) return ground;
  ground = new THREE.MeshStandardMaterial({ color: 0xffffff, roughness: 1 });
  ground.onBeforeCompile = (shader) => {
    shader.vertexShader = shader.vertexShader
      .replace("#include <common>", "#include <common>\nvarying vec3 vPlace;")
      .replace("#include <begin_vertex>", "#include <begin_vertex>\nvPlace = (modelMatrix * vec4(position, 1.0)).xyz;");
    shader.fragmentShader = shader.fragmentShader
      .replace("#include <common>", "#include <common>\nvarying vec3 vPlace;")
      .replace("#include <color_fragment>",
        "#include <color_fragment>\nfloat odd = mod(floor(vPlace.x * 2.0 + 1e-3) + floor(vPlace.y * 2.0 + 1e-3), 2.0);\n" +
        "diffuseColor.rgb *= mix(vec3(0.40, 0.47, 0.52), vec3(0.30, 0.36, 0.41), odd);");
  };
  return ground;
}
