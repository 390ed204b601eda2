// The tools over the map.

import { flyTo, zoomAt } from "./camera.js";
import { attribute } from "./dom.js";
import { savePng } from "./png.js";

/** @import { Mount, Tool } from "./types.js" */

/** @type {Tool[]} */
const TOOLS = ["pan", "box", "lasso"];

/** @param {Mount} mount */
export function listenToTools(mount) {
  const { tools } = mount.ui;
  const whenReady = (/** @type {() => void} */ action) => () => {
    if (mount.ready) action();
  };
  for (const name of TOOLS) tools[name].onclick = () => setTool(mount, name);
  tools.in.onclick = whenReady(() => zoomAt(mount, 1.5));
  tools.out.onclick = whenReady(() => zoomAt(mount, 1 / 1.5));
  tools.fit.onclick = whenReady(() => flyTo(mount, null));
  tools.png.onclick = whenReady(() => savePng(mount));
  setTool(mount, "pan");
}

/**
 * @param {Mount} mount
 * @param {Tool} name
 */
function setTool({ state, ui }, name) {
  state.tool = name;
  for (const tool of TOOLS) attribute(ui.tools[tool], "aria-pressed", String(tool === name));
  for (const stage of ui.stages) stage.dataset.tool = name;
}
