"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const PAGE = 25;

  // Colours: as the system, light, dark.
  const themes = ["auto", "light", "dark"];
  const button = document.getElementById("theme");
  const remember = (value) => { try { localStorage.setItem("langneurons-theme", value); } catch { /* private window */ } };
  const recall = () => { try { return localStorage.getItem("langneurons-theme"); } catch { return null; } };
  const paint = (theme) => {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    button.textContent = theme;
    button.setAttribute("aria-label", `Colours: ${theme === "auto" ? "as the system" : theme}`);
  };
  let theme = themes.includes(recall()) ? recall() : "auto";
  paint(theme);
  button.addEventListener("click", () => {
    theme = themes[(themes.indexOf(theme) + 1) % themes.length];
    paint(theme);
    remember(theme);
  });

  // Tabs.
  for (const [number, group] of all(".tabs").entries()) {
    const panels = [...group.children];
    if (panels.length < 2) continue;
    const list = document.createElement("div");
    list.className = "tablist";
    list.setAttribute("role", "tablist");
    const tabs = panels.map((panel, place) => {
      const tab = document.createElement("button");
      tab.type = "button";
      tab.dir = "auto";
      tab.textContent = panel.dataset.label;
      tab.id = `choose-${number}-${place}`;
      tab.setAttribute("role", "tab");
      panel.id = `panel-${number}-${place}`;
      panel.setAttribute("role", "tabpanel");
      panel.setAttribute("aria-labelledby", tab.id);
      tab.setAttribute("aria-controls", panel.id);
      tab.addEventListener("click", () => choose(place));
      list.append(tab);
      return tab;
    });
    const choose = (chosen) => {
      tabs.forEach((tab, place) => {
        tab.setAttribute("aria-selected", String(place === chosen));
        tab.tabIndex = place === chosen ? 0 : -1;
        panels[place].classList.toggle("off", place !== chosen);
      });
    };
    list.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = (tabs.indexOf(document.activeElement) + step + tabs.length) % tabs.length;
      choose(next);
      tabs[next].focus();
    });
    group.prepend(list);
    group.classList.add("ready");
    choose(0);
  }

  // Sections fold: a heading and its first sentence stay.
  const parts = all("section.part");
  const foldAll = document.getElementById("fold");
  const fold = (part, folded) => {
    if (part.classList.contains("folded") === folded) return;
    part.classList.toggle("folded", folded);
    part.querySelector("h2 button").setAttribute("aria-expanded", String(!folded));
    if (!folded) part.dispatchEvent(new CustomEvent("unfold"));
    const rest = parts.some((other) => other.classList.contains("folded"));
    foldAll.textContent = rest ? "open all" : "fold all";
  };
  for (const part of parts) {
    const head = part.querySelector("h2"), body = part.querySelector(".body");
    const turn = document.createElement("button");
    turn.type = "button";
    turn.textContent = head.textContent;
    body.id = `body-${part.id}`;
    turn.setAttribute("aria-controls", body.id);
    turn.setAttribute("aria-expanded", "true");
    turn.addEventListener("click", () => fold(part, !part.classList.contains("folded")));
    head.replaceChildren(turn);
  }
  parts.forEach((part) => fold(part, true));
  foldAll.hidden = false;
  foldAll.addEventListener("click", () => {
    const folded = foldAll.textContent === "fold all";
    parts.forEach((part) => fold(part, folded));
  });

  // Print: an appendix. Every section and every table that fits on a few pages is laid out.
  const laid = new Set();
  addEventListener("beforeprint", () => all("details.table").forEach((table) => {
    if (!table.open && Number(table.dataset.rows) <= 60) { table.open = true; laid.add(table); }
  }));
  addEventListener("afterprint", () => { laid.forEach((table) => { table.open = false; }); laid.clear(); });

  // Tables: sorting and pages.
  const value = (row, column) => {
    const cell = row.cells[column];
    const text = cell.dataset.sort ?? cell.textContent;
    return text;
  };
  const turn = new Map();
  for (const table of all("table.data")) {
    const body = table.tBodies[0];
    const pager = table.closest("details").querySelector(".pager");
    let page = 0;
    const show = () => {
      const rows = [...body.rows].filter((row) => !row.classList.contains("miss"));
      const pages = Math.max(1, Math.ceil(rows.length / PAGE));
      page = Math.min(page, pages - 1);
      const whole = rows.length <= PAGE * 1.6;
      rows.forEach((row, place) => row.classList.toggle("off", !whole && Math.floor(place / PAGE) !== page));
      pager.hidden = whole;
      pager.replaceChildren();
      if (whole) return;
      const move = (label, name, step, stop) => {
        const next = document.createElement("button");
        next.type = "button";
        next.textContent = label;
        next.setAttribute("aria-label", name);
        next.disabled = stop;
        next.addEventListener("click", () => { page += step; show(); });
        return next;
      };
      const text = document.createElement("span");
      text.textContent = `rows ${page * PAGE + 1} to ${Math.min(rows.length, (page + 1) * PAGE)} of ${rows.length}`;
      pager.append(move("‹", "previous rows", -1, page === 0), text, move("›", "next rows", 1, page === pages - 1));
    };
    turn.set(table, () => { page = 0; show(); });
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const numeric = ["count", "number", "p"].some((kind) => head.classList.contains(kind));
      head.querySelector("button").addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === (numeric ? "descending" : "ascending") ? numeric : !numeric;
        heads.forEach((other) => other.setAttribute("aria-sort", "none"));
        head.setAttribute("aria-sort", down ? "ascending" : "descending");
        const sign = down ? 1 : -1;
        const sorted = [...body.rows].map((row) => [value(row, column), row]);
        sorted.sort(([a], [b]) => {
          if (!numeric) return sign * a.localeCompare(b, undefined, { numeric: true });
          if (a === "" || b === "") return (a === "") - (b === "");  // missing numbers last
          return sign * (Number(a) - Number(b));
        });
        body.append(...sorted.map(([, row]) => row));
        page = 0;
        show();
      });
    });
    show();
  }

  // Search: rows that hold every word.
  const search = document.getElementById("search");
  const found = document.getElementById("found");
  const opened = new Set(), unfolded = new Set();
  const look = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let total = 0;
    const hits = new Map();
    for (const table of all("table.data")) {
      let here = 0;
      for (const row of table.tBodies[0].rows) {
        const text = row.textContent.toLowerCase();
        const cells = words.length ? [...row.cells].map((cell) => cell.textContent).join(" ").toLowerCase() : text;
        const match = words.every((word) => cells.includes(word));
        row.classList.toggle("miss", !match);
        here += match;
      }
      turn.get(table)();
      const details = table.closest("details");
      const badge = details.querySelector(".hits");
      badge.hidden = !words.length || !here;
      badge.textContent = here;
      if (words.length && here && !details.open) { details.open = true; opened.add(details); }
      const part = table.closest("section.part");
      if (words.length && here && part.classList.contains("folded")) { fold(part, false); unfolded.add(part); }
      hits.set(part.id, (hits.get(part.id) ?? 0) + here);
      total += here;
    }
    if (!words.length) {
      opened.forEach((details) => { details.open = false; });
      unfolded.forEach((part) => fold(part, true));
      opened.clear();
      unfolded.clear();
    }
    for (const link of all("nav a")) {
      const badge = link.parentElement.querySelector(".hits");
      if (!badge) continue;
      const here = hits.get(link.hash.slice(1)) ?? 0;
      badge.hidden = !words.length || !here;
      badge.textContent = here;
    }
    found.textContent = words.length ? `${total} row${total === 1 ? "" : "s"}` : "";
  };
  search.addEventListener("input", look);
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !["INPUT", "TEXTAREA"].includes(document.activeElement.tagName)) {
      event.preventDefault();
      search.focus();
    } else if (event.key === "Escape" && document.activeElement === search) {
      search.value = "";
      look();
      search.blur();
    }
  });

  // Values under the pointer.
  const tip = document.getElementById("tip");
  let last = [-1, -1];
  const explain = (target) => {
    const mark = target?.closest?.("[data-tip]");
    tip.hidden = !mark;
    if (!mark) return;
    const [x, y] = last;
    tip.textContent = mark.getAttribute("data-tip");
    const box = tip.getBoundingClientRect();
    const left = Math.min(x + 14, innerWidth - box.width - 8);
    const above = y - box.height - 12;
    tip.style.left = `${Math.max(8, left)}px`;
    tip.style.top = `${above > 8 ? above : y + 18}px`;
  };
  const point = (event) => { last = [event.clientX, event.clientY]; explain(event.target); };
  document.addEventListener("pointermove", point);
  document.addEventListener("pointerdown", point);
  // Scrolling moves the page under a pointer that rests: what lies there now is what counts.
  document.addEventListener("scroll", () => explain(document.elementFromPoint(...last)), { passive: true });

  // Copying.
  const copy = async (control, text) => {
    const before = control.textContent;
    try {
      await navigator.clipboard.writeText(text);
      control.textContent = "copied";
    } catch {
      control.textContent = "cannot copy here";
    }
    setTimeout(() => { control.textContent = before; }, 1500);
  };
  document.addEventListener("click", (event) => {
    const control = event.target.closest("button");
    if (!control) return;
    if (control.dataset.copy !== undefined) {
      copy(control, control.dataset.copy);
    } else if (control.classList.contains("enlarge")) {
      const wide = control.closest("figure").classList.toggle("wide");
      control.textContent = wide ? "whole" : "enlarge";
    } else if (control.classList.contains("copy-caption")) {
      copy(control, control.closest("figcaption").firstChild.textContent.trim());
    } else if (control.classList.contains("copy-code")) {
      copy(control, control.parentElement.querySelector("code").textContent);
    } else if (control.classList.contains("copy-table")) {
      const table = control.closest("details").querySelector("table");
      const lines = [...table.rows].filter((row) => !row.classList.contains("miss"))
        .map((row) => [...row.cells].map((cell) => cell.textContent.trim()).join("\t"));
      copy(control, lines.join("\n"));
    }
  });

  // A link to something folded opens it.
  const open = (hash) => {
    if (hash.startsWith("#neuron=")) {  // the explorer's
      const explorer = document.getElementById("explorer");
      if (explorer) fold(explorer, false);
      return;
    }
    let target;
    try { target = hash && document.getElementById(decodeURIComponent(hash.slice(1))); } catch { return; }
    if (!target) return;
    const part = target.closest("section.part");
    const folded = part?.classList.contains("folded");
    if (part) fold(part, false);
    if (target instanceof HTMLDetailsElement) target.open = true;
    if (folded) target.scrollIntoView();
  };
  addEventListener("hashchange", () => open(location.hash));
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.('a[href^="#"]');
    if (link) open(link.hash);
  });
  open(location.hash);

  // Where the reader is.
  const links = new Map(all("nav a").map((link) => [link.hash.slice(1), link]));
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) links.get(entry.target.id)?.classList.toggle("here", entry.isIntersecting);
  }, { rootMargin: "-20% 0px -70% 0px" });
  all("main > section").forEach((section) => seen.observe(section));
  if (innerWidth < 700) document.querySelector("nav details").open = false;
})();
