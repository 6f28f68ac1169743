// What scripts add to the pages. Without this file, reading and all forms work.
(() => {
  "use strict";
  const $ = (selector, from = document) => from.querySelector(selector);
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];
  document.documentElement.classList.add("scripted");

  // Times: relative, or in the person's time zone.
  const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "narrow" });
  const STEPS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
  function words(date) {
    const seconds = (date - Date.now()) / 1000;
    if (Math.abs(seconds) > 6 * 86400)
      return date.toLocaleDateString([], { dateStyle: "medium" });
    const [unit, length] = STEPS.find(([, length]) => Math.abs(seconds) >= length) || STEPS[3];
    return relative.format(Math.trunc(seconds / length), unit);
  }
  function tellTimes(from = document) {
    for (const time of all("time[datetime]", from)) {
      const date = new Date(time.dateTime);
      const text = { time: date.toLocaleTimeString(), all: date.toLocaleString() }[time.dataset.exact] || words(date);
      if (time.textContent !== text) time.textContent = text;
    }
    for (const label of all("[data-at]", from))
      label.textContent = new Date(label.dataset.at).toLocaleTimeString([], { timeStyle: "short" });
  }

  // The text of a toast is never parsed as HTML.
  function toast(text, bad = false) {
    const className = bad ? "toast bad" : "toast";
    $("#toasts").append(Object.assign(document.createElement("p"), { className, textContent: text }));
  }
  function ageToasts() {
    const age = () => all(".toast").forEach((shown) => setTimeout(() => shown.remove(), 8000));
    age();
    new MutationObserver(age).observe($("#toasts"), { childList: true });
  }

  // Copy buttons: `<button data-copy="text">`, or `data-copy` on an element, which gets a button.
  function addCopyButtons(from = document) {
    for (const element of all("[data-copy]:not(button, .has-copy)", from)) {
      element.classList.add("has-copy");
      const text = element.dataset.copy || element.textContent;
      const about = { type: "button", className: "copy", textContent: "Copy", ariaLabel: `Copy ${text.slice(0, 60)}` };
      const button = Object.assign(document.createElement("button"), about);
      button.dataset.copy = text;
      element.after(button);
    }
  }
  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
      toast("Copied");
    } catch {
      toast("The browser forbids it. Select the text.", true);
    }
  }

  // Rows: `.row`, or rows of a table with `data-rows`. `j` and `k` move, Enter opens.
  const rows = () => all(".row, [data-rows] tbody tr").filter((row) => row.offsetParent);
  function move(by) {
    const found = rows();
    if (!found.length) return;
    const at = found.findIndex((row) => row.classList.contains("focused"));
    const next = found[Math.max(0, Math.min(found.length - 1, at + by))];
    found.forEach((row) => row.classList.toggle("focused", row === next));
    next.scrollIntoView({ block: "nearest" });
    $("a", next)?.focus({ preventScroll: true });
  }

  // Theme: without this, the page loads again.
  function switchTheme(form) {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    const theme = dark ? "light" : "dark";
    const body = new URLSearchParams(new FormData(form));
    body.set("theme", theme);
    root.dataset.theme = theme;
    $("meta[name=color-scheme]").content = theme;
    fetch(form.action, { method: "POST", body, redirect: "manual", credentials: "same-origin" }).catch(() => {});
  }

  // Server-sent events: htmx sees NAME as `waypost:NAME`. In `[data-live-rows]`, `message` adds a row, `changed` changes
  // its last line, `gone` removes it.
  const RELOAD = "Reload ↻";
  function listen(element) {
    if (element.source) return;
    const source = (element.source = new EventSource(element.dataset.events));
    const list = $("[data-live-rows]", element);
    for (const name of (element.dataset.eventNames || "message").split(" "))
      source.addEventListener(name, ({ data }) => {
        if (!element.isConnected) return source.close();
        element.dispatchEvent(new CustomEvent(`waypost:${name}`, { bubbles: true, detail: data }));
        if (list) change(list, name, data, $("[data-live-count]", element));
      });
  }
  function change(list, name, data, counter) {
    const row = new DOMParser().parseFromString(data, "text/html").body.firstElementChild;
    const old = document.getElementById(row?.id || `m-${data}`);
    const column = list.closest(".column");
    if (name === "reload") {
      counter.textContent = RELOAD;
      counter.hidden = false;
    } else if (old) {
      if (row) old.lastElementChild.replaceWith(row.lastElementChild);
      else old.remove();
    } else if (name === "message") {
      row.classList.add("new");
      list.prepend(row);
      tellTimes(row);
      htmx.process(row);
      if (column.scrollTop < 44) return;
      column.scrollTop += row.offsetHeight;
      counter.count = (counter.count || 0) + 1;
      counter.textContent = `${counter.count} new ↑`;
      counter.hidden = false;
    }
  }
  function showNew(counter) {
    if (counter.textContent === RELOAD) location.reload();
    counter.hidden = true;
    counter.closest(".column").scrollTop = counter.count = 0;
  }

  function prepare(from) {
    tellTimes(from);
    addCopyButtons(from);
    all("[data-events]", from).forEach(listen);
  }

  // `<button data-count="Redrive">` says how many check boxes of its form are selected.
  function count({ target: { form } }) {
    const button = form && $("[data-count]", form);
    if (button) button.textContent = `${button.dataset.count} ${all(":checked", form).length || "selected"}`;
  }

  const GO = { m: "/", a: "/addresses", f: "/flow" };
  let afterG = false;
  function press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.target.closest("input, textarea, select, [contenteditable], dialog[open]")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const key = event.key;
    if (afterG) {
      afterG = false;
      if (GO[key]) location.assign("/console" + GO[key]);
      return;
    }
    if (key === "g") {
      afterG = true;
      setTimeout(() => (afterG = false), 1500);
    } else if (key === "j" || key === "k") move(key === "j" ? 1 : -1);
    else if (key === "/") $("#search")?.focus();
    else if (key === "?") $("#help")?.showModal();
    else if (key === "r") ($(".focused [data-redrive]") || $("[data-redrive]"))?.click();
    else if (key === "Enter" && event.target === document.body) $(".focused a")?.click();
    else return;
    event.preventDefault();
  }

  addEventListener("DOMContentLoaded", () => {
    prepare(document);
    ageToasts();
    setInterval(tellTimes, 15000);
    document.addEventListener("keydown", press);
    document.addEventListener("click", (event) => {
      const link = event.target.closest("[data-live-rows] a");
      if (link) for (const one of all(".row a")) one.ariaCurrent = one === link ? "true" : null;
      const target = event.target.closest("button[data-copy], [data-help], [data-live-count]");
      if (!target) return;
      if (target.dataset.copy !== undefined) copy(target.dataset.copy);
      else if (target.dataset.help !== undefined) $("#help").showModal();
      else showNew(target);
    });
    document.addEventListener("change", count);
    document.addEventListener("submit", (event) => {
      const form = event.target;
      if (form.matches("[data-theme-switch]")) {
        event.preventDefault();
        switchTheme(form);
      }
    });
    document.addEventListener("htmx:load", (event) => prepare(event.target));
    document.addEventListener("htmx:sendError", () => toast("The server does not answer.", true));
  });
})();
