// The page to play with: the networks of model.py, layer by layer under the names that their weights have there, then the
// four parts of the page that call them. Nothing is fetched, and the same clicks give the same pictures.
//
// Outside, an image is one array, channel by channel, as in PyTorch. Inside a convolution the channels of one pixel lie
// side by side, so the innermost loop runs over neighbouring numbers.
"use strict";

// ---- Weights: 16-bit floating point numbers in base64 ----
const HALF = Float32Array.from({ length: 65536 }, (_, bits) => {
  const sign = bits & 32768 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = (bits & 1023) / 1024;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction) : 2 ** -14 * fraction);
});

function bytesOf(base64) {
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}
const numbersOf = base64 => new Float32Array(new Uint16Array(bytesOf(base64).buffer)).map(bits => HALF[bits]);

/** A state dict: {name: [shape, base64]} to {name: numbers with their shape}. */
const stateOf = packed => Object.fromEntries(
  Object.entries(packed).map(([name, [shape, base64]]) => [name, Object.assign(numbersOf(base64), { shape })]));

// ---- Layers, for one image ----
function linear(x, net, name) { // nn.Linear: W x + b
  const weight = net[name + ".weight"], n = x.length;
  return net[name + ".bias"].map((bias, row) => {
    let a = 0, b = 0, c = 0, d = 0, w = row * n; // four sums at once are faster than one; n is divisible by 4
    for (let i = 0; i < n; i += 4, w += 4) {
      a += weight[w] * x[i]; b += weight[w + 1] * x[i + 1];
      c += weight[w + 2] * x[i + 2]; d += weight[w + 3] * x[i + 3];
    }
    return bias + (a + b + c + d);
  });
}

/** Pixel i of `size` adds to pixel place(i, k) of `outSize` through row or column k of a kernel [row][column][in][out]. */
function convolve(x, size, kernel, outSize, place) {
  const [width, , inputs, outputs] = kernel.shape, y = new Float32Array(outSize * outSize * outputs);
  const amount = new Float32Array(inputs + 3), offset = new Int32Array(inputs + 3);
  for (let i = 0; i < size; i++) for (let j = 0; j < size; j++) {
    let n = 0;
    for (let c = 0; c < inputs; c++) { // without the zeros that a ReLU leaves
      const value = x[(i * size + j) * inputs + c];
      if (value !== 0) { amount[n] = value; offset[n++] = c * outputs; }
    }
    while (n % 4) amount[n++] = 0;
    for (let ky = 0; ky < width; ky++) for (let kx = 0; kx < width; kx++) {
      const row = place(i, ky), column = place(j, kx);
      if (row < 0 || row >= outSize || column < 0 || column >= outSize) continue;
      const to = (row * outSize + column) * outputs, tap = (ky * width + kx) * inputs * outputs;
      for (let k = 0; k < n; k += 4) { // four channels at a time
        const a = amount[k], b = amount[k + 1], c = amount[k + 2], d = amount[k + 3];
        const p = tap + offset[k], q = tap + offset[k + 1], r = tap + offset[k + 2], s = tap + offset[k + 3];
        for (let o = 0; o < outputs; o++)
          y[to + o] += a * kernel[p + o] + b * kernel[q + o] + c * kernel[r + o] + d * kernel[s + o];
      }
    }
  }
  return y;
}
const conv2d = (x, size, kernel) => convolve(x, size, kernel, size, (i, k) => i + 1 - k); // nn.Conv2d(..., 3, padding=1)
const convTranspose2d = (x, size, kernel, stride, padding) => // nn.ConvTranspose2d
  convolve(x, size, kernel, (size - 1) * stride - 2 * padding + kernel.shape[0], (i, k) => i * stride - padding + k);

function batchNorm(x, net, name) { // nn.BatchNorm2d in evaluation mode
  const [weight, bias, mean, variance] = ["weight", "bias", "running_mean", "running_var"].map(part => net[`${name}.${part}`]);
  const gain = weight.map((w, c) => w / Math.sqrt(variance[c] + 1e-5)), shift = bias.map((b, c) => b - gain[c] * mean[c]);
  return x.map((value, i) => gain[i % gain.length] * value + shift[i % gain.length]);
}

function maxPool(x, size, channels) { // nn.MaxPool2d(2)
  const y = new Float32Array(x.length / 4).fill(-Infinity);
  for (let i = 0; i < size; i++) for (let j = 0; j < size; j++) for (let c = 0; c < channels; c++) {
    const to = ((i >> 1) * (size >> 1) + (j >> 1)) * channels + c;
    y[to] = Math.max(y[to], x[(i * size + j) * channels + c]);
  }
  return y;
}

const sum = (n, term) => { let total = 0; for (let i = 0; i < n; i++) total += term(i); return total; };
const elu = x => x.map(value => (value > 0 ? value : Math.expm1(value)));
const relu = x => x.map(value => Math.max(0, value));
const sigmoid = x => x.map(value => 1 / (1 + Math.exp(-value)));
const softmax = x => x.map(value => 1 / sum(x.length, i => Math.exp(x[i] - value)));
const transpose = (x, rows) => x.map((_, i) => x[(i % rows) * (x.length / rows) + Math.floor(i / rows)]); // x has `rows` rows

// ---- Networks, as window.nets has them: plain arrays in, plain arrays out ----
function networks(data) {
  const vae = stateOf(data.vae), generator = stateOf(data.generator), classifier = stateOf(data.classifier);
  const numbers = values => Float32Array.from(Array.from(values).flat(3));
  const mlp = (x, name) => linear(elu(linear(elu(linear(x, vae, name + ".0")), vae, name + ".2")), vae, name + ".4");

  function encode(x) { // Encoder
    const both = Array.from(mlp(numbers(x), "encode.mlp")), latents = both.length / 2;
    return { mean: both.slice(0, latents), logvar: both.slice(latents) };
  }
  const decode = z => Array.from(mlp(numbers(z), "decode.mlp"), logit => logit - 5); // Decoder
  function generate(z) { // Generator
    let x = numbers(z), size = 1;
    for (const [layer, stride, padding] of [[0, 1, 0], [3, 2, 1], [6, 2, 1], [9, 2, 1]]) {
      const [kernel, bias] = ["weight", "bias"].map(part => generator[`decoder.${layer}.${part}`]);
      x = convTranspose2d(x, size, kernel, stride, padding).map((value, i) => value + bias[i % bias.length]);
      x = layer === 9 ? x.map(Math.tanh) : relu(batchNorm(x, generator, `decoder.${layer + 1}`));
      size = Math.sqrt(x.length / bias.length);
    }
    return Array.from(transpose(x, size * size));
  }
  function classify(image) { // DigitClassifier
    let x = transpose(numbers(image), 3), size = 32;
    for (const block of [0, 7, 14]) {
      for (const layer of [block, block + 3])
        x = relu(batchNorm(conv2d(x, size, classifier[`blocks.${layer}.weight`]), classifier, `blocks.${layer + 1}`));
      x = maxPool(x, size, x.length / (size * size));
      size /= 2;
    }
    const penultimate = relu(linear(transpose(x, size * size), classifier, "penultimate.2"));
    return Array.from(softmax(linear(penultimate, classifier, "digit")));
  }

  /** For each row of eps: the logits at z = mean + sigma eps, log p(x|z), and the log-weight log p(x|z) p(z) / q(z|x). */
  function samples(x, eps) {
    const { mean, logvar } = encode(x), noise = numbers(eps), n = mean.length;
    return Array.from({ length: noise.length / n }, (_, s) => {
      const e = noise.subarray(s * n, (s + 1) * n), z = mean.map((m, i) => m + Math.exp(logvar[i] / 2) * e[i]);
      const logits = decode(z), softplus = l => Math.max(l, 0) + Math.log1p(Math.exp(-Math.abs(l)));
      const likelihood = sum(logits.length, i => x[i] * logits[i] - softplus(logits[i]));
      return { logits, likelihood, weight: likelihood + sum(n, i => e[i] ** 2 + logvar[i] - z[i] ** 2) / 2 };
    });
  }
  /** What samples(x, eps) say of x, in nats: the ELBO, its two parts, and log p(x), the log-mean-exp of the log-weights. */
  function bounds(x, drawn) {
    const { mean, logvar } = encode(x), reconstruction = sum(drawn.length, s => drawn[s].likelihood) / drawn.length;
    const kl = sum(mean.length, i => Math.expm1(logvar[i]) - logvar[i] + mean[i] ** 2) / 2;
    const most = Math.max(...drawn.map(s => s.weight)), mass = sum(drawn.length, s => Math.exp(drawn[s].weight - most));
    return { elbo: reconstruction - kl, reconstruction, kl, logp: most + Math.log(mass / drawn.length) };
  }
  const elbo = (x, eps) => bounds(x, samples(x, eps)), directions = data.directions.map(row => Array.from(numbersOf(row)));
  return { encode, decode, generate, classify, samples, bounds, elbo, directions };
}

// ---- Ways between two latents or two images, as in q3_solution.py, and draws from N(0, 1) ----
const norm = a => Math.sqrt(sum(a.length, i => a[i] ** 2));
const straight = (a, b, alpha) => a.map((value, i) => alpha * value + (1 - alpha) * b[i]);
function arc(a, b, alpha) {
  const angle = Math.acos(sum(a.length, i => a[i] * b[i]) / norm(a) / norm(b));
  return a.map((value, i) => (Math.sin(alpha * angle) * value + Math.sin((1 - alpha) * angle) * b[i]) / Math.sin(angle));
}

function normals(seed) { // mulberry32 and Box-Muller: a function n -> n draws
  function uniform() {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }
  return n => Array.from({ length: n }, () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()));
}

// ---- A drawing in MNIST's form: a 20 x 20 box in 28 x 28 pixels, centre of mass at (14, 14), black or white ----
const RADIUS = 1.4; // of a stroke, in pixels of the digit, however large it was drawn: as much ink as MNIST has

function digitOf(strokes) { // of points [x, y]
  const range = axis => { const all = strokes.flat().map(p => p[axis]); return [Math.min(...all), Math.max(...all)]; };
  const [left, right] = range(0), [top, bottom] = range(1);
  const scale = (20 - 2 * RADIUS) / Math.max(right - left, bottom - top, 30); // a dot stays a dot
  const around = (x, y) => inked(strokes.map(stroke => stroke.map(p => [scale * (p[0] - x) + 14, scale * (p[1] - y) + 14])));
  const boxed = around((left + right) / 2, (top + bottom) / 2), ink = sum(784, i => boxed[i]) || 1;
  const [x, y] = [i => i % 28, i => Math.floor(i / 28)].map(at => (sum(784, i => boxed[i] * (at(i) - 14)) / ink) / scale);
  return around((left + right) / 2 + x, (top + bottom) / 2 + y);
}

function inked(strokes) { // 1 where a pixel's centre is nearer than RADIUS to a stroke, else 0
  const pixels = new Array(784).fill(0);
  for (const stroke of strokes) stroke.forEach(([x, y], n) => {
    const [dx, dy] = n ? [stroke[n - 1][0] - x, stroke[n - 1][1] - y] : [0, 0];
    for (let i = 0; i < 784; i++) {
      const px = (i % 28) + 0.5 - x, py = Math.floor(i / 28) + 0.5 - y;
      const along = Math.min(1, Math.max(0, (px * dx + py * dy) / (dx * dx + dy * dy || 1)));
      if ((px - along * dx) ** 2 + (py - along * dy) ** 2 < RADIUS ** 2) pixels[i] = 1;
    }
  });
  return pixels;
}

// ---- The page ----
const element = id => document.getElementById(id);
const say = (id, text) => { element(id).textContent = text; };
const on = (id, event, act) => element(id).addEventListener(event, act);

/** Images on a canvas, row by row: digits of 784 numbers in [0, 1] as ink, colours of 3072 in [-1, 1]. */
function paint(id, images) {
  const canvas = element(id), context = canvas.getContext("2d"), size = images[0].length === 784 ? 28 : 32;
  images.forEach((image, n) => {
    const picture = context.createImageData(size, size), columns = canvas.width / size;
    picture.data.forEach((_, i) => {
      const value = size === 28 ? 1 - image[i >> 2] : (image[(i & 3) * 1024 + (i >> 2)] + 1) / 2;
      picture.data[i] = (i & 3) === 3 ? 255 : 255 * value;
    });
    context.putImageData(picture, (n % columns) * size, Math.floor(n / columns) * size);
  });
}

function playDigits(nets, packed) {
  const draw = normals(1), noise = Array.from({ length: 200 }, () => draw(100)), real = bytesOf(packed);
  const pad = element("pad").getContext("2d");
  let strokes = [], pointer = null, latest = 0, shown = 0;
  function look(x) { // ten samples at once, the other 190 in parts once the pad rests
    const turn = ++latest, drawn = nets.samples(x, noise.slice(0, 10));
    function tell() {
      for (const [name, nats] of Object.entries(nets.bounds(x, drawn)))
        document.querySelector(`output[name="${name}"]`).textContent = nats.toFixed(1);
      say("samples", drawn.length);
    }
    function more() {
      if (turn !== latest || drawn.length === noise.length) return;
      drawn.push(...nets.samples(x, noise.slice(drawn.length, drawn.length + 10)));
      tell(); setTimeout(more);
    }
    paint("seen", [x]); paint("reconstruction", [sigmoid(nets.decode(nets.encode(x).mean))]);
    paint("posterior", drawn.map(sample => sigmoid(sample.logits)));
    tell(); setTimeout(more, 100);
  }
  function clear() { pad.clearRect(0, 0, 280, 280); strokes = []; look(digitOf(strokes)); }
  function extend(event) {
    const box = element("pad").getBoundingClientRect(), stroke = strokes[strokes.length - 1];
    const point = [event.clientX - box.left, event.clientY - box.top].map(at => (at * 280) / box.width);
    stroke.push(point);
    Object.assign(pad, { lineWidth: 22, lineCap: "round", shadowColor: "#000", shadowBlur: 4 });
    pad.beginPath(); pad.moveTo(...stroke[Math.max(0, stroke.length - 2)]); pad.lineTo(...point); pad.stroke();
    look(digitOf(strokes));
  }
  function showReal() {
    const x = Array.from({ length: 784 }, (_, i) => (real[shown * 98 + (i >> 3)] >> (7 - (i & 7))) & 1);
    shown = (shown + 1) % (real.length / 98);
    clear(); pad.shadowBlur = 0;
    x.forEach((ink, i) => ink && pad.fillRect((i % 28) * 10, Math.floor(i / 28) * 10, 10, 10));
    look(x);
  }
  const showPrior = () => paint("prior", Array.from({ length: 10 }, () => sigmoid(nets.decode(draw(100)))));
  const released = event => event.pointerType === "mouse" && !(event.buttons & 1);
  on("pad", "pointerdown", event => {
    if (event.button) return; // the left button draws, or a finger or pen
    if (!strokes.length) clear(); // a validation digit is not drawn on
    pointer = event.pointerId; strokes.push([]); extend(event);
  });
  window.addEventListener("pointermove", event => {
    if (event.pointerId !== pointer) return;
    if (released(event)) pointer = null; else extend(event); // a button let go over a menu sends no pointerup
  });
  for (const end of ["pointerup", "pointercancel", "blur"]) window.addEventListener(end, () => { pointer = null; });
  on("pad-clear", "click", clear); on("pad-real", "click", showReal);
  on("prior", "click", showPrior); on("prior-new", "click", showPrior);
  showReal(); showPrior();
}

function playSegments(curves, gradients) { // of question 2: theta, what was estimated there, and gradients' mean lengths
  const exact = { h2: theta => (theta > 0 ? 2 : 0), w1: theta => theta }, marked = id => element(id).querySelector(".moves");
  for (const id in exact) element(id).querySelector("g").innerHTML =
    curves.theta.map((theta, i) => `<circle r="2.5" cx="${100 * theta}" cy="${100 - 50 * curves[id][i]}"/>`).join("");
  function move() {
    const theta = Number(element("theta").value), far = curves.theta.map(t => Math.abs(t - theta));
    const nearest = far.indexOf(Math.min(...far)), at = curves.theta[nearest];
    const rounded = value => (Math.round(1000 * value) / 1000 + 0).toFixed(3); // + 0 makes 0 of -0
    for (const id of ["segments", ...Object.keys(exact)]) marked(id).setAttribute("transform", `translate(${100 * theta})`);
    for (const id in exact) {
      const length = gradients[id]?.[nearest], known = length !== undefined, tip = Math.min(4, 20 * length);
      const gradient = known ? `, gradient ${length < 1e-4 ? "below 0.0001" : length.toPrecision(3)}` : "";
      element(`arrow-${id}`).setAttribute("d", known ? `M0 0H${-40 * length}l${tip} ${-tip}m${-tip} ${tip}l${tip} ${tip}` : "");
      element(id).querySelector("output").textContent =
        `${exact[id](theta).toFixed(2)} exactly, ${rounded(curves[id][nearest])} estimated at \u03b8 = ${at}${gradient}`;
    }
    say("theta-value", theta.toFixed(2));
  }
  on("theta", "input", move); move();
}

function playDials(nets, dials) { // dials: which direction each moves, and its name
  const draw = normals(16), n = nets.directions.length;
  element("dials").insertAdjacentHTML("afterbegin", dials.map(([, name], i) => `<label>${name} <b></b>
    <input type="range" id="dial-${i}" min="-4" max="4" step="0.1" value="0"></label>`).join(""));
  element("axis").innerHTML = nets.directions.map((_, axis) => `<option>${axis}</option>`).join("");
  const sliders = [...element("dials").querySelectorAll("input")];
  let start = draw(n);
  function turn() {
    const moved = sliders.map(slider => Number(slider.value)), axis = Number(element("axis").value);
    sliders.forEach((slider, i) => { slider.parentElement.querySelector("b").textContent = moved[i].toFixed(1); });
    const z = start.map((value, j) => value + sum(dials.length, i => moved[i] * nets.directions[dials[i][0]][j]));
    z[axis] += moved[dials.length];
    const image = nets.generate(z), probability = nets.classify(image), most = Math.max(...probability);
    paint("house", [image]); say("reads", `${probability.indexOf(most)}, ${(100 * most).toFixed(0)}% sure`);
  }
  for (const control of [...sliders, element("axis")]) control.oninput = control.onchange = turn;
  on("new-latent", "click", () => { start = draw(n); turn(); });
  on("reset", "click", () => { for (const slider of sliders) slider.value = 0; turn(); });
  turn();
}

function playPaths(nets) {
  const draw = normals(25), n = nets.directions.length; let pair, ends;
  function go() {
    const alpha = Number(element("alpha").value), line = straight(...pair, alpha), round = arc(...pair, alpha);
    paint("path-straight", [nets.generate(line)]); paint("path-arc", [nets.generate(round)]);
    paint("path-pixels", [straight(...ends, alpha)]); say("alpha-value", alpha.toFixed(2));
    say("length", `${norm(line).toFixed(1)} straight, ${norm(round).toFixed(1)} along the arc`);
  }
  function choose() { pair = [draw(n), draw(n)]; ends = pair.map(nets.generate); go(); }
  on("alpha", "input", go); on("new-pair", "click", choose); choose();
}
