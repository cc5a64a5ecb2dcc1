// What notebook_page.py asks the page of JupyterLab; it runs in the browser.

// JupyterLab shows a raised error as text on stderr, too.
const STDERR = '[data-mime-type$="jupyter.stderr"], [data-mime-type$="jupyter.error"]';
const texts = (root, selector) => [...root.querySelectorAll(selector)].map((e) => e.innerText);

// The kernel's status, an open dialog's text, and every cell's state in the notebook's order.
function inspectPage() {
  const indicator = document.querySelector(".jp-Notebook-ExecutionIndicator");
  const cells = [...document.querySelectorAll(".jp-Notebook .jp-Cell")];
  return {
    status: indicator?.dataset.status ?? "unknown",
    dialog: texts(document, ".jp-Dialog").join("\n"),
    cells: cells.map(inspectCell),
  };
}

function inspectCell(cell) {
  const images = [...cell.querySelectorAll(".jp-Cell-outputWrapper img")].filter(isDrawn);
  const prompt = cell.querySelector(".jp-InputPrompt")?.innerText ?? "";
  return {
    code: cell.classList.contains("jp-CodeCell"),
    count: Number(/\[(\d+)\]/.exec(prompt)?.[1] ?? 0),
    running: prompt.includes("*"),
    stderr: texts(cell, STDERR),
    images: images.length,
    moving: images.filter(isMoving).length,
    caption: cell.querySelector(".jp-InputPlaceholder")?.innerText.trim() ?? "",
    maths: cell.querySelectorAll("mjx-container").length,
    faults: [...outputFaults(cell), ...mathFaults(cell), ...layoutFaults(cell)],
  };
}

// Colab's badge comes from the network, which a test may not have.
const isOurs = (image) => !/^https?:/.test(image.src) || image.src.startsWith(location.origin);
const isDrawn = (image) => image.complete && image.naturalWidth > 0;

// An animated PNG has a chunk of that name before its image data.
function isMoving(image) {
  const [kind, data] = image.src.split(";base64,");
  return kind === "data:image/png" && atob(data).split("IDAT")[0].includes("acTL");
}

// Whether a fold is open, and whether it then shows more than its summary.
function stateOf(summary) {
  const fold = summary.closest("details");
  return [fold.open, fold.innerText.trim() !== summary.innerText.trim()];
}

function outputFaults(cell) {
  const empty = [...cell.querySelectorAll("img")].filter((i) => isOurs(i) && !isDrawn(i));
  return [
    ...texts(cell, STDERR).map((text) => `an error or text on stderr: ${text}`),
    ...empty.map((image) => `an image that is not drawn: ${image.alt || image.src.slice(0, 80)}`),
    // tqdm leaves a red bar where a loop stopped before its end, which looks like a failure.
    ...[...cell.querySelectorAll(".progress-bar-danger")].map(() => "a progress bar that is red"),
    // JupyterLab shows this text where no renderer or no widget manager knows the output.
    ...texts(cell, ".jp-OutputArea-output")
      .filter((text) => /^(Error displaying widget|Loading widget|\w+\(children=|<Figure )/.test(text))
      .map((text) => `an output that is not rendered: ${text.slice(0, 80)}`),
  ];
}

function mathFaults(cell) {
  const faults = [];
  for (const text of cell.querySelectorAll(".jp-RenderedMarkdown")) {
    const prose = text.cloneNode(true);
    prose.querySelectorAll("code, pre, mjx-container").forEach((element) => element.remove());
    const left = /\$\$?[^$]*\$|\\[([]|\\begin\{\w+\}/.exec(prose.textContent);
    if (left) faults.push(`maths that is not rendered: ${left[0].slice(0, 80)}`);
    // MathJax writes an unknown macro in red, and other errors in a box.
    for (const wrong of text.querySelectorAll('mjx-merror, mtext[mathcolor="red"]'))
      faults.push(`maths with an error: ${wrong.dataset.mjxError ?? wrong.textContent}`);
  }
  return faults;
}

// Tables, figures and formulas that are cut off or need a horizontal scroll bar.
function layoutFaults(cell) {
  const faults = [];
  for (const area of cell.querySelectorAll(".jp-OutputArea-output, .jp-MarkdownOutput")) {
    if (area.querySelector(".jupyter-widgets") && area.scrollWidth > area.clientWidth + 1)
      faults.push(`widgets are ${area.scrollWidth - area.clientWidth} px too wide`);
    const limit = Math.min(area.getBoundingClientRect().right, innerWidth);
    for (const wide of area.querySelectorAll("table, img, mjx-container, .widget-box")) {
      const excess = Math.round(
        Math.max(wide.getBoundingClientRect().right - limit, wide.scrollWidth - wide.clientWidth),
      );
      if (excess > 1 && wide.clientWidth > 0)
        faults.push(`${wide.localName} is ${excess} px too wide: ${wide.innerText?.slice(0, 80)}`);
    }
  }
  return faults;
}

// The pixels of the figure in the output of a slider, null if there is none.
function figureOf(handle) {
  const image = handle.closest(".jp-OutputArea-output").querySelector("img");
  if (!image || !isDrawn(image)) return null;
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  canvas.getContext("2d").drawImage(image, 0, 0);
  return canvas.toDataURL();
}
