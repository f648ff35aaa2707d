// The neuron explorer: one list of units, one unit looked at.
(() => {
  const app = document.getElementById("explorer-app");
  if (!app) return;
  const sets = JSON.parse(document.getElementById("explorer-data").textContent);
  const control = (name) => app.querySelector(`[name=${name}]`);
  const [chooseSet, chooseLanguage, chooseLayer, chooseOrder, find] =
    ["set", "language", "layer", "order", "unit"].map(control);
  const list = app.querySelector(".units");
  const view = app.querySelector("article.unit");
  const pager = app.querySelector(".pager");
  const SHOWN = 24;
  const NS = "http://www.w3.org/2000/svg";
  const loaded = new Map();  // file name -> promise of its details
  let set = 0, page = 0, chosen = null;

  const make = (tag, text, attributes = {}) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  };
  const draw = (tag, attributes, text) => {
    const element = document.createElementNS(NS, tag);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const say = (value, digits = 3) => value === null ? "–"
    : (Math.abs(value) >= 1000 || value === 0 ? value.toFixed(0) : value.toPrecision(digits)).replace("-", "−");
  const percent = (value) => value === null ? "–" : `${(100 * value).toFixed(1)} %`;
  const fill = (select, options) => select.replaceChildren(
    ...options.map(([value, text]) => make("option", text, { value })));
  const name = (unit) => `${unit[0]}.${unit[1]}`;

  // Details: in the page, or in a file beside it where the page is served.
  const details = (one, unit) => {
    const inside = sets[one].details[name(unit)];
    if (inside) return Promise.resolve(inside);
    if (location.protocol === "file:") return Promise.reject(new Error("file"));
    const file = `explorer/${one}-${unit[3]}.json`;
    if (!loaded.has(file)) {
      loaded.set(file, fetch(file).then((answer) => {
        if (!answer.ok) throw new Error(`${file}: ${answer.status}`);
        return answer.json();
      }));
      loaded.get(file).catch(() => loaded.delete(file));
    }
    return loaded.get(file).then((part) => part[name(unit)]);
  };

  const score = (unit) => {
    const language = Number(chooseLanguage.value);
    const scores = unit[2].filter(([place]) => language < 0 || place === language).map(([, value]) => value);
    return Math.max(...scores.map((value) => value ?? -Infinity), -Infinity);
  };
  const measured = (unit) => unit[4] !== null;
  const fits = (unit) => {
    const language = Number(chooseLanguage.value), layer = Number(chooseLayer.value);
    return (language < 0 || unit[2].some(([place]) => place === language))
      && (layer < 0 || unit[0] === layer) && name(unit).startsWith(find.value.trim());
  };
  const found = () => {
    const units = sets[set].units.filter(fits);
    if (chooseOrder.value === "score") units.sort((a, b) => score(b) - score(a) || 0);
    if (chooseOrder.value === "effect") units.sort((a, b) => (b[4] ?? -1) - (a[4] ?? -1));
    return units;
  };

  const showList = () => {
    const units = found(), languages = sets[set].languages;
    const pages = Math.max(1, Math.ceil(units.length / SHOWN));
    page = Math.min(page, pages - 1);
    app.querySelector(".count").textContent = `${units.length} unit${units.length === 1 ? "" : "s"}`;
    list.replaceChildren(...units.slice(page * SHOWN, (page + 1) * SHOWN).map((unit) => {
      const row = make("button", undefined, { type: "button", "aria-pressed": String(unit === chosen) });
      row.append(make("span", name(unit), { class: "place" }),
        make("bdi", unit[2].map(([place]) => languages[place]).join(" "), { class: "of" }));
      if (measured(unit)) row.append(make("span", "●", { class: "mark", title: "measured by other parts of the run" }));
      row.addEventListener("click", () => choose(unit, true));
      const item = make("li");
      item.append(row);
      return item;
    }));
    pager.hidden = pages < 2;
    const turn = (label, title, step, stop) => {
      const next = make("button", label, { type: "button", "aria-label": title });
      next.disabled = stop;
      next.addEventListener("click", () => { page += step; showList(); });
      return next;
    };
    pager.replaceChildren(turn("‹", "previous units", -1, page === 0),
      make("span", `${page + 1} of ${pages}`), turn("›", "next units", 1, page === pages - 1));
  };

  const ticks = (low, high) => {
    const raw = (high - low) / 5, power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((times) => times * power).find((size) => size >= raw);
    const places = [];
    for (let at = Math.ceil(low / step) * step; at <= high + step * 1e-9; at += step) places.push(at);
    return places.map((at) => Math.abs(at) < step / 1e6 ? 0 : at);
  };

  const distributions = (detail, mine) => {
    const languages = sets[set].languages, [low, high] = detail.r;
    const room = Math.min(600, Math.max(320, view.clientWidth || 600));
    const left = 60, wide = room - 125, row = 34, top = 8, end = room - 6;
    const height = top + row * detail.d.length + 34;
    const x = (value) => left + wide * Math.min(1, Math.max(0, (value - low) / (high - low)));
    const picture = draw("svg", { viewBox: `0 0 ${room} ${height}`, role: "img", class: "ridges",
      "aria-label": "Distribution of the unit's activation in each language" });
    const shares = detail.d.map(([, counts]) => {
      const all = counts.reduce((sum, count) => sum + count, 0) || 1;
      return counts.map((count) => count / all);
    });
    const most = Math.max(...shares.flat(), 1e-9);
    if (low < 0 && high > 0) {
      picture.append(draw("line", { x1: x(0), x2: x(0), y1: top, y2: height - 30, class: "zero" }));
    }
    detail.d.forEach(([place, , positive, mean, std, least, largest, ...q], at) => {
      const base = top + row * (at + 1) - 8;
      const bins = shares[at].length;
      const points = shares[at].map((share, bin) => {
        const y = base - (row - 9) * Math.sqrt(share / most);
        return `${left + wide * bin / bins} ${y} L${left + wide * (bin + 1) / bins} ${y}`;
      });
      const group = draw("g", { class: mine.has(place) ? "own" : "other", "data-tip":
        `${languages[place]}: above 0 in ${percent(positive)} of tokens; median ${say(q[2])}, `
        + `5 to 95 %: ${say(q[0])} to ${say(q[4])}; mean ${say(mean)}, standard deviation ${say(std)}; `
        + `smallest ${say(least)}, largest ${say(largest)}` });
      group.append(
        draw("rect", { x: 0, y: base - row + 9, width: room, height: row, class: "catch" }),
        draw("path", { d: `M${left} ${base} L${points.join(" L")} L${left + wide} ${base} Z` }),
        draw("line", { x1: x(q[0]), x2: x(q[4]), y1: base + 4, y2: base + 4, class: "thin" }),
        draw("line", { x1: x(q[1]), x2: x(q[3]), y1: base + 4, y2: base + 4, class: "thick" }),
        draw("circle", { cx: x(q[2]), cy: base + 4, r: 3 }),
        draw("text", { x: left - 8, y: base + 2, "text-anchor": "end" }, languages[place]),
        draw("text", { x: end, y: base + 2, "text-anchor": "end" }, percent(positive)),
      );
      picture.append(group);
    });
    const floor = height - 28;
    for (const at of ticks(low, high)) {
      picture.append(draw("line", { x1: x(at), x2: x(at), y1: floor, y2: floor + 4, class: "axis" }),
        draw("text", { x: x(at), y: floor + 14, "text-anchor": "middle", class: "small" }, say(at, 2)));
    }
    picture.append(draw("line", { x1: left, x2: left + wide, y1: floor, y2: floor, class: "axis" }),
      draw("text", { x: left + wide / 2, y: height - 2, "text-anchor": "middle", class: "small" }, "activation"),
      draw("text", { x: end, y: floor + 14, "text-anchor": "end", class: "small" }, "above 0"));
    return picture;
  };

  // Every token with its strength as colour; what stands in front of the first and behind the last is not one.
  const coloured = (before, token, after, lengths, tenths, mark, line) => {
    const cut = before.startsWith("…") ? 1 : 0;
    const signs = [...before, ...token, ...after];
    const marked = [...before].length + [...token].length - 1;  // the marked token's last sign
    const made = [signs.slice(0, cut).join("")];
    let at = cut;
    lengths.forEach((length, place) => {
      const words = signs.slice(at, at + length).join(""), bare = words.trimStart();
      const own = at <= marked && marked < at + length;
      at += length;
      if (!length) return;
      made.push(line(words.slice(0, words.length - bare.length)));
      if (own) { made.push(mark); return; }
      if (!bare) return;
      const part = make("span", line(bare), { class: "token" });
      const tenth = Number(tenths[place]);
      part.style.setProperty("--strength", `${5 * tenth}%`);
      part.dataset.tip = tenth ? `${10 * tenth} % of the marked token's activation or more` : "below a tenth of the marked token's activation";
      made.push(part);
    });
    made.push(line(signs.slice(at).join("")));
    return made;
  };

  const passages = (detail) => {
    const box = make("ol", undefined, { class: "passages" });
    for (const [place, value, before, token, after, lengths, tenths] of detail.p) {
      const item = make("li");
      const text = make("p", undefined, { dir: "auto" });
      // A line's end is shown as a sign, and the space in front of a word is not part of the mark.
      const line = (words) => words.replace(/\s*\n\s*/g, " ⏎ ");
      const bare = token.trimStart();
      const mark = make("mark", bare ? line(bare) : token.includes("\n") ? "⏎" : "␣");
      if (lengths) {
        mark.dataset.tip = say(value);
        text.append(...coloured(before, token, after, lengths, tenths, mark, line));
      } else {
        text.append(line(before + (bare ? token.slice(0, token.length - bare.length) : "")), mark, line(after));
      }
      item.append(make("span", `${sets[set].languages[place]}, ${say(value)}`, { class: "where" }), text);
      box.append(item);
    }
    return box;
  };

  const neighbours = (detail) => {
    const box = make("ul", undefined, { class: "near" });
    for (const [layer, index, r, theirs] of detail.n) {
      const known = sets[set].units.find((unit) => unit[0] === layer && unit[1] === index);
      const item = make("li");
      const text = `layer ${layer}, unit ${index}`;
      if (known) {
        const link = make("button", text, { type: "button", class: "link" });
        link.addEventListener("click", () => choose(known, true));
        item.append(link);
      } else item.append(text);
      item.append(` r = ${r < 0 ? "−" : "+"}${Math.abs(r).toFixed(2)}`);
      if (theirs.length) item.append(` (${theirs.map((place) => sets[set].languages[place]).join(", ")})`);
      box.append(item);
    }
    return box;
  };

  const showUnit = (unit, detail) => {
    const languages = sets[set].languages;
    const link = `${location.href.split("#")[0]}#neuron=${address(unit)}`;
    const head = make("div", undefined, { class: "head" });
    head.append(make("h3", `layer ${unit[0]}, unit ${unit[1]}`),
      make("button", "copy link", { type: "button", class: "share", "data-copy": link }));
    const facts = make("dl", undefined, { class: "facts" });
    const fact = (term, text) => {
      const pair = make("div");
      pair.append(make("dt", term), make("dd", text, { dir: "auto" }));
      facts.append(pair);
    };
    fact("belongs to", unit[2].map(([place, value]) =>
      value === null ? languages[place] : `${languages[place]} (score ${say(value)})`).join(", "));
    for (const [term, text] of detail?.f ?? []) fact(term, text);
    if (detail && !detail.f) fact("effect", "not measured in this run");
    view.replaceChildren(head, facts);
    if (!detail) {
      view.append(make("p", "This unit's details are not in this file: `langneurons explore` with the run directory shows them."));
      return;
    }
    view.append(distributions(detail, new Set(unit[2].map(([place]) => place))));
    if (detail.p.length) view.append(make("h4", "Passages with the largest activations"), passages(detail));
    if (detail.n.length) view.append(make("h4", "Units active on the same tokens"), neighbours(detail));
  };

  const address = (unit) => [sets[set].name, unit[0], unit[1]].map(encodeURIComponent).join("/");
  const choose = (unit, follow) => {
    chosen = unit;
    showList();
    if (follow) history.replaceState(null, "", `#neuron=${address(unit)}`);
    details(set, unit).then((detail) => { if (unit === chosen) showUnit(unit, detail); },
      () => { if (unit === chosen) showUnit(unit, null); });
  };
  // What is not there is said to be absent, rather than another unit shown in its place.
  const absent = (text) => {
    chosen = null;
    showList();
    view.replaceChildren(make("h3", "No such unit here"), make("p", text, { dir: "auto" }));
  };
  const refresh = () => {
    page = 0;
    const units = found();
    showList();
    if (units.length && !units.includes(chosen)) choose(units[0], false);
    const asked = find.value.trim();
    if (!units.length) {
      const there = sets[set].units.some((unit) => name(unit) === asked);
      absent(there ? `Unit ${asked} is in set ${sets[set].name}, but not with this language and layer.`
        : `Set ${sets[set].name} holds no unit ${asked || "of this language and layer"}: what belongs to no language is not kept here.`);
    }
  };
  const change = (one) => {
    set = one;
    chosen = null;
    chooseSet.value = String(one);
    const used = new Set(sets[one].units.flatMap((unit) => unit[2].map(([place]) => place)));
    fill(chooseLanguage, [["-1", "all"], ...sets[one].languages.map((text, at) => [String(at), text])
      .filter(([at]) => used.has(Number(at)))]);
    const layers = [...new Set(sets[one].units.map((unit) => unit[0]))].sort((a, b) => a - b);
    fill(chooseLayer, [["-1", "all"], ...layers.map((layer) => [String(layer), String(layer)])]);
    find.value = "";
    refresh();
  };
  const follow = () => {
    if (!location.hash.startsWith("#neuron=")) return;
    let parts;
    try { parts = location.hash.slice(8).split("/").map(decodeURIComponent); } catch { return; }
    const one = sets.findIndex((item) => item.name === parts[0]);
    const unit = sets[one]?.units.find(([layer, index]) => String(layer) === parts[1] && String(index) === parts[2]);
    if (!unit) {
      const what = one < 0 ? `This run has no neuron set ${parts[0]} here.`
        : `Set ${parts[0]} holds no unit ${parts[2]} in layer ${parts[1]}: what belongs to no language is not kept here.`;
      absent(what);
      document.getElementById("explorer").scrollIntoView();
      return;
    }
    change(one);
    page = Math.floor(found().indexOf(unit) / SHOWN);
    choose(unit, false);
    document.getElementById("explorer").scrollIntoView();
  };

  app.querySelectorAll("[hidden]").forEach((part) => { if (part !== pager) part.hidden = false; });
  fill(chooseSet, sets.map((item, at) => [String(at), item.name]));
  chooseSet.addEventListener("change", () => change(Number(chooseSet.value)));
  for (const select of [chooseLanguage, chooseLayer, chooseOrder]) select.addEventListener("change", refresh);
  find.addEventListener("input", refresh);
  addEventListener("hashchange", follow);
  // It opens on the unit that matters most, of all sets.
  const largest = (one) => Math.max(-1, ...one.units.map((unit) => unit[4] ?? -1));
  if (sets.every((one) => largest(one) < 0)) chooseOrder.value = "score";
  change(sets.reduce((best, one, at) => largest(one) > largest(sets[best]) ? at : best, 0));
  follow();
  document.getElementById("explorer").addEventListener("unfold", () => { if (chosen) choose(chosen, false); });
})();
