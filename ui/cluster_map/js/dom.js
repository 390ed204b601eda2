// Elements without innerHTML.

const SVG = "http://www.w3.org/2000/svg";

/** @typedef {string | number | boolean | null | undefined | ((event: Event) => void)} Attribute */
/** @typedef {Record<string, Attribute>} Attributes `on...`: a handler, `text`: what the element says */
/** @typedef {Node | string | null | undefined} Child */
/** @typedef {{ canvas: HTMLCanvasElement, root: HTMLElement, title: HTMLElement, below: HTMLElement }} Figure */

/**
 * @template {Element} E
 * @param {E} element
 * @param {Attributes} attributes
 * @param {Child[]} children
 */
function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) Object.assign(element, { [name]: value });
    else if (name === "text") element.textContent = String(value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/**
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Attributes} [attributes]
 * @param {Child[]} children
 */
export const h = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);

/**
 * @template {keyof SVGElementTagNameMap} T
 * @param {T} tag
 * @param {Attributes} [attributes]
 * @param {Child[]} children
 */
export const s = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

/**
 * Sets text only where it differs: a frame touches what moved.
 * @param {Element} element
 * @param {string} value
 */
export function text(element, value) {
  if (element.textContent !== value) element.textContent = value;
}

/**
 * Sets an attribute, likewise.
 * @param {Element} element
 * @param {string} name
 * @param {string | number} value
 */
export function attribute(element, name, value) {
  if (element.getAttribute(name) !== String(value)) element.setAttribute(name, String(value));
}

/**
 * The context of a canvas that holds a picture.
 * @param {HTMLCanvasElement} canvas
 */
export function context2d(canvas) {
  const context = canvas.getContext("2d");
  if (!context) throw new Error("the map: expected a canvas with a 2D context, got one without");
  return context;
}

/** @param {number} cluster */
export const swatch = (cluster) =>
  h("i", { class: "swatch", style: `--hue: var(--hue-${cluster % 10}); --edge: var(--edge-${cluster % 10})` });

/**
 * A picture with a name and a line below it.
 * @param {string} name
 * @returns {Figure}
 */
export function figure(name) {
  const canvas = h("canvas", { width: 1, height: 1, role: "img", "aria-label": name });
  const title = h("b", { text: name });
  const below = h("span", { class: "sub" });
  return { root: h("figure", {}, canvas, h("figcaption", {}, title, below)), canvas, title, below };
}

/**
 * Says a cluster in words beside its colour.
 * @param {Element} element
 * @param {number} cluster
 * @param {string} words
 */
export function named(element, cluster, words) {
  element.replaceChildren(swatch(cluster), words);
}
