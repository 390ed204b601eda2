// The types that the map's scripts share. Only comments: nothing here runs, and nothing is sent to the browser.
//
// A mount is one map on a page. It has one panel, or two beside each other where two models are compared. `Mount` holds
// what all its panels share, `State` what the user and the page have set, `Panel` what is one panel's own.

// What comes from the page; ui/cluster_map/packing.py writes it.

/** @typedef {[number, number]} Point */
/** @typedef {[number, number, number, number]} Box x0, y0, x1, y1 */
/** @typedef {[number, number, number]} Rgb */
/** @typedef {"explore" | "attack" | "compare"} Mode */

/**
 * An array of a message, with the shape it has in Python.
 * @template {ArrayBufferView} A
 * @typedef {A & { shape: number[] }} Shaped
 */
/** @typedef {Shaped<Uint8Array>} Picture (channels, height, width) bytes */
/** @typedef {Uint8Array | Int8Array | Uint16Array | Uint32Array | Float32Array} AnyArray */
/** @typedef {Record<string, Shaped<AnyArray>>} Sections */

/**
 * @typedef {object} Meta What is said of a view once.
 * @property {Mode} mode
 * @property {number} n points drawn
 * @property {number} total samples
 * @property {number} k clusters
 * @property {string[]} names of the labels
 * @property {[number, number, number]} origin x, y and span of the unit square in map units
 * @property {Box} box what the whole map shows
 * @property {number[]} strengths
 * @property {number} end of the dial
 * @property {string} attack its name
 * @property {string} unit of the strength
 * @property {string} norm
 * @property {string} space
 * @property {number | null} target cluster
 * @property {number} paths how many samples have one
 * @property {number | null} noise_target
 * @property {number[]} sizes of the clusters
 * @property {boolean} probe empty space answers a click
 * @property {{ [name: string]: [string, string, string] }} ramps what stands at both ends of each, and beside it
 * @property {Box | null} raster where the regions lie
 * @property {Sprites | null} sprites
 * @property {string} layout names the positions
 * @property {string} [name] of the model, where two are compared
 * @property {string} [aside] a line beside it
 * @property {{ name: string, aside: string, sizes: number[] }} [partner]
 */
/** @typedef {{ h: number, w: number, per: number, columns: number }} Sprites */

/**
 * @typedef {object} OwnArrays The arrays of one model, as sent.
 * @property {Uint16Array} xy
 * @property {Uint8Array} clusters
 * @property {Uint32Array} [row] of each point, where not all samples are drawn
 * @property {Uint32Array} [path_row]
 * @property {Uint16Array} [smallest] in ascending order
 * @property {Uint16Array} [paths]
 * @property {Uint8Array} [path_clusters]
 * @property {Uint16Array} [noise] its smallest strengths
 * @property {Uint8Array} [winner]
 * @property {Uint8Array} [margin]
 * @property {Uint8Array} [trusted]
 */
/** @typedef {OwnArrays & { [name in `colour.${Colour}`]?: Uint8Array }} Geometry */
/** @typedef {string} Colour "cluster", "label", or the name of a ramp */

/**
 * @typedef {object} Options How the page wants the map drawn.
 * @property {Colour} colour
 * @property {boolean} show_labels
 * @property {boolean} only_moved
 * @property {boolean} tint
 * @property {boolean} edges
 * @property {boolean} trust
 * @property {number | null} highlight_cluster
 * @property {string} note
 */

/**
 * @typedef {object} PinHeader What the page knows of the pinned sample.
 * @property {number} row
 * @property {string} note
 * @property {number | null} smallest strength that moves it, where one was found
 * @property {boolean} searched
 * @property {string} smallest_note
 */
/**
 * @typedef {object} PinSections Its arrays.
 * @property {Picture} [image]
 * @property {Int8Array} [change] of the image, in parts of 127 of each strength's scale
 * @property {Float32Array} [scale]
 * @property {Picture} [decoded]
 * @property {Int8Array} [decoded_change]
 * @property {Float32Array} [decoded_scale]
 * @property {Float32Array} [p] soft assignments, strength by strength
 * @property {Float32Array} [l2]
 * @property {Picture} [reconstruction]
 * @property {Uint32Array} [neighbours]
 * @property {Uint8Array} [near]
 * @property {Picture} [neighbour_images]
 */
/** @typedef {PinHeader & PinSections} PinDetail */
/** @typedef {{ row: number, label: number | null, places: { x: number, y: number, cluster: number }[] }} Lone */
/** @typedef {{ x: number, y: number, trusted: boolean, note: string }} ProbeHeader */
/** @typedef {ProbeHeader & { p: Float32Array, image?: Picture }} ProbeAnswer */

/**
 * @typedef {object} Control What the page sets from outside, each with a serial number.
 * @property {string} mount
 * @property {boolean} camera the page wants to hear of the camera
 * @property {[number, number]} [strength]
 * @property {[number, number]} [pin]
 * @property {[number, null]} [select]
 * @property {[number, Box | "all"]} [zoom]
 */

/**
 * @typedef {object} Parts What changes more often than the geometry.
 * @property {Options} options
 * @property {Control} control
 * @property {PinHeader | null} pin
 * @property {string} pin_note
 * @property {ProbeHeader | null} probe
 * @property {string} alt
 * @property {Lone | null} lone a pinned row that is not among the drawn ones
 */

/**
 * The arrays that belong to the parts.
 * @typedef {{
 *   "pin.xy"?: Float32Array, "pin.clusters"?: Uint8Array, "probe.p"?: Float32Array, "probe.image"?: Picture,
 *   "options.highlight"?: Uint32Array, "control.select"?: Uint32Array,
 * }} Extra
 */

/**
 * @typedef {object} Header
 * @property {number} format
 * @property {string} base the hash of the geometry that this belongs to
 * @property {boolean} whole
 * @property {boolean} twin two models are compared
 * @property {Parts} parts
 * @property {Meta} meta where `whole`
 * @property {{ name: string, dtype: string, shape: number[], offset: number }[]} sections
 */
/** @typedef {{ header: Header, sections: Sections }} Message */

/**
 * @typedef {object} Held What a mount has received.
 * @property {string} [base]
 * @property {Meta} meta
 * @property {Geometry} geometry
 * @property {Geometry} partner
 * @property {Parts} parts
 * @property {Extra} extra
 */

// What is derived from it.

/**
 * @typedef {object} Paths The attacked samples of a panel, m of them, in ascending order of `smallest`.
 * @property {Uint32Array} rows
 * @property {Uint16Array} xy m positions a strength
 * @property {Uint8Array} clusters m a strength
 * @property {Uint16Array} smallest
 */
/** @typedef {import("./core.js").Index} Index */
/** @typedef {import("./core.js").Flow} Flow */

/**
 * @typedef {object} Points
 * @property {number} n points
 * @property {number} m attacked samples
 * @property {number} k clusters
 * @property {Uint32Array | null} rows of the points; null: point i is row i
 * @property {Paths | null} path what the dial moves; null where nothing moves
 * @property {Uint16Array | null} smallest also where nothing moves
 * @property {Int32Array} rowToBase -1 where a row has no point
 * @property {Int32Array} rowToPath -1 where it has no path
 * @property {Uint8Array} isPath whether a point is an attacked sample's
 * @property {Index} index
 * @property {Float32Array | null} density
 * @property {Label[]} labels
 * @property {Uint8Array} marks of the attacked samples
 * @property {Uint16Array | null} other what the other model's `smallest` is for each attacked sample
 */
/** @typedef {{ cluster: number, element: SVGGElement, size: SVGTextElement, full: boolean, at: Point }} Label */

/**
 * @typedef {object} Moment What the dial says of a panel.
 * @property {number} strength
 * @property {number} k the step below the strength
 * @property {number} t how far it is on to the next step
 * @property {number} later the step that a moved sample counts in
 * @property {number} q the strength on the scale of `smallest`
 * @property {number} moved
 * @property {number} noise
 * @property {Flow | null} flow
 */

/**
 * @typedef {object} Pinned The pinned sample as the inspector shows it.
 * @property {number} row
 * @property {number} cluster
 * @property {number} now its cluster at this strength
 * @property {number | null} flip the strength that moves it
 * @property {number | null} rank how many samples need more
 * @property {string | null} label
 * @property {PinDetail | null} detail
 * @property {string} waiting
 * @property {boolean} inPath
 * @property {Tile | null} image
 */
/** @typedef {{ bitmap: ImageBitmap, x: number, y: number, w: number, h: number }} Tile */

/**
 * @typedef {object} Theme Colours of the page; numbers in [0, 1].
 * @property {number[]} ground
 * @property {number[]} ink
 * @property {number[]} pane
 * @property {boolean} dark
 * @property {string[]} hues
 * @property {string[]} edges
 * @property {string[]} ramp
 * @property {number[][]} signed
 * @property {number[][]} rgb of the hues, in bytes
 * @property {number[][]} rampRgb in bytes
 */

// What draws.

/** @typedef {{ winner: Uint8Array, margin: Uint8Array, trusted: Uint8Array }} Raster */
/** @typedef {{ tint: number, edges: number, trust: number }} Regions */

/**
 * @typedef {object} Look How a panel is drawn. The names of its numbers are those of the shaders' uniforms.
 * @property {number[]} camera
 * @property {number[]} ink
 * @property {number[]} ground
 * @property {number} dpr
 * @property {number} width
 * @property {number} height
 * @property {number} isolate the cluster that alone is not faded, or -1
 * @property {number} faded
 * @property {number} baseSize
 * @property {number} baseAlpha
 * @property {number} scale
 * @property {number} pathSize
 * @property {number} pathAlpha
 * @property {Box | null} box of the regions
 * @property {boolean} onlyMoved
 * @property {Point} place of the panel in the canvases
 * @property {number} trails
 * @property {Regions | null} regions
 */
/** @typedef {Look & Moment & { crowd: number }} MovingLook `crowd`: how many have moved, on the fuller panel */

/**
 * @typedef {object} PanelRenderer
 * @property {(xy: Uint16Array, clusters: Uint8Array) => void} setBase
 * @property {(path: Paths | null) => void} setPaths
 * @property {(rgba: Uint8Array, marks: Uint8Array) => void} setBaseLook four bytes a point, alpha is a factor; marks:
 *   0 plain, 1 steps back, 2 selected, 3 left out
 * @property {(rgba: Uint8Array, marks: Uint8Array) => void} setPathLook
 * @property {(marks: Uint8Array) => void} setPathMarks
 * @property {(raster: Raster | null, palette: Uint8Array) => void} setRaster
 * @property {(look: Look) => void} drawStatic
 * @property {(look: MovingLook) => void} drawOverlay
 */

/**
 * @typedef {object} Renderer
 * @property {"webgl2" | "canvas2d"} name
 * @property {() => PanelRenderer} panel
 * @property {() => boolean} lost
 * @property {(width: number, height: number, dpr: number) => void} resize
 * @property {(stillToo: boolean) => void} clear before a frame: all panels of a layer are drawn anew together
 * @property {() => void} finish
 * @property {() => void} free
 */

// A mount.

/**
 * @typedef {object} State What the user and the page have set.
 * @property {Theme} theme
 * @property {Options} options
 * @property {number} strength
 * @property {number | null} pin
 * @property {Set<number>} selected
 * @property {number} selections how many were made
 * @property {number | null} hover
 * @property {number | null} focus the point that the keyboard is at
 * @property {number} isolate
 * @property {Tool} tool
 * @property {number} zoom
 * @property {number} cx
 * @property {number} cy
 * @property {number} fit pixels per unit at zoom 1
 * @property {number} width of a panel
 * @property {number} height
 * @property {number} dpr
 * @property {string} layout
 * @property {string} mount
 * @property {Record<string, number>} serials the last that was heard of each control
 * @property {ProbeAnswer | null | undefined} probe null while it is awaited, undefined where nothing was asked
 * @property {Point | null} probeAt
 * @property {boolean} moving
 * @property {number | null} side of two models: those that moved on which side are shown; null: all
 * @property {string | null} asking what was asked for and has not come
 */
/** @typedef {"pan" | "box" | "lasso"} Tool */

/**
 * @typedef {object} Mount
 * @property {HTMLElement} root
 * @property {import("./layout.js").Ui} ui
 * @property {Send} send
 * @property {Held} held
 * @property {State} state
 * @property {boolean} ready a first whole message has come: until then `held`, `renderer` and the panels are bare
 * @property {Renderer} renderer
 * @property {Panel[]} panels
 * @property {import("./dial.js").Dial} dial
 * @property {import("./inspector.js").Inspector | null} inspector null where two models are compared
 * @property {import("./strip.js").Strip | null} strip null where there is one
 * @property {Map<number, ImageBitmap>} tiles
 * @property {Map<number, number>} asked when a tile was asked for
 * @property {MediaQueryList} calm
 * @property {() => void} draw
 * @property {number} raf
 * @property {number} flight
 * @property {boolean} stale regions and base points are to be drawn anew
 * @property {AbortController} life ends the mount's listeners on the window
 * @property {Record<string, number>} timers
 * @property {number[] | null} counts of two models: neither, left, right, both
 * @property {number} frames
 * @property {number} sent
 * @property {number} runs
 * @property {number[]} intervals
 * @property {number} lastFrame
 */

/**
 * @typedef {object} Send
 * @property {(name: string, value: unknown) => void} state
 * @property {(name: string, value: unknown) => void} trigger
 */

/**
 * @typedef {object} Panel
 * @property {Mount} mount
 * @property {number} number
 * @property {import("./layout.js").PanelUi} ui
 * @property {Held} held
 * @property {Points} points
 * @property {Moment | null} moment until the dial or the data change
 * @property {PanelRenderer} renderer
 * @property {Point} place in the canvases
 * @property {Hand} hand
 */
/**
 * @typedef {object} Hand What pointers do on a panel.
 * @property {Map<number, Point>} pointers
 * @property {Gesture | null} gesture
 * @property {number} lastPick when a hover was last answered
 * @property {number} wheelElsewhere when a wheel last turned outside the panel
 */
/** @typedef {{ kind: Tool | "pinch", start: Point, points: Point[], moved: boolean, distance: number }} Gesture */

export {};
