// Shows the frames of the server. Every text from outside is set as text and never as HTML.
"use strict";

(() => {
  const OLD_MS = 3000; // the server sends a frame at least every second
  const DEAD_MS = 8000;
  const AGAIN_MS = 1000;
  const MOST_EVENTS = 200;
  const CHART_MS = 2000;

  const find = (id) => document.getElementById(id);
  const rows = new Map(); // key -> {data, row, isSkipped, cells, detail, chart}
  let stream = null;
  let heardAt = performance.now();
  let serverAt = 0;
  let connected = false;
  let reconnect = null;
  let openedAt = 0;

  function element(name, text, className) {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  }

  function setText(node, text) {
    if (node.textContent !== text) node.textContent = text;
  }

  const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
  const now = () => serverAt + (performance.now() - heardAt) / 1000;
  const decimals = (text) => (text.split(".")[1] ?? "").length;

  function duration(seconds) {
    if (seconds < 60) return `${seconds.toFixed(1)} s`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
    return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  }

  // Positions. A grid is no table for a screen reader, so that each part has its role.

  function part(name, role, className) {
    const made = element(name, undefined, className);
    made.setAttribute("role", role);
    return made;
  }

  function addRow(data) {
    const row = part("tr", "row", "position");
    const name = part("td", "cell");
    const button = element("button", data.symbol);
    button.type = "button";
    button.setAttribute("aria-expanded", "false");
    name.append(button, " ", element("span", data.side, "side"));
    const error = element("span", "", "error");
    name.append(error);
    row.append(name);
    const cells = { error };
    for (const column of ["state", "price", "stop", "distance", "profit", "unprotected"]) {
      const cell = part("td", "cell");
      cell.dataset.name = column;
      cells[column] = cell;
      row.append(cell);
    }
    row.dataset.key = data.key;
    const shown = { data, row, isSkipped: false, button, cells, detail: null, chart: null };
    row.addEventListener("click", () => toggle(shown));
    row.addEventListener("contentvisibilityautostatechange", (event) => {
      shown.isSkipped = event.skipped;
      if (!event.skipped) showPrice(shown);
    });
    rows.set(data.key, shown);
    return shown;
  }

  function show(shown) {
    const { data, row, cells } = shown;
    row.classList.toggle("unprotected", data.unprotected);
    setText(cells.state, data.state);
    setText(cells.error, data.error);
    setText(cells.stop, data.stop ?? "none");
    showPrice(shown);
    showTime(shown);
  }

  // What a price changes, because prices are most of what comes. A row outside the window gets its price when it comes into sight.
  function showPrice({ data, cells, isSkipped }) {
    if (isSkipped) return;
    const long = data.side === "long" ? 1 : -1;
    setText(cells.price, data.price ?? "–");
    const price = data.price === null ? NaN : Number(data.price);
    const stop = data.stop === null ? NaN : Number(data.stop);
    const distance = ((price - stop) / price) * 100 * long;
    setText(cells.distance, Number.isNaN(distance) ? "–" : `${distance.toFixed(2)} %`);
    const profit = (price - Number(data.entry)) * Number(data.quantity) * long;
    const places = Math.min(8, Math.max(2, decimals(data.price ?? ""), decimals(data.entry)));
    setText(cells.profit, Number.isNaN(profit) ? "–" : `${profit >= 0 ? "+" : "−"}${Math.abs(profit).toFixed(places)}`);
    const kind = profit > 0 ? "gain" : profit < 0 ? "loss" : "";
    if (cells.profit.className !== kind) cells.profit.className = kind;
  }

  function showTime({ data, cells }) {
    let text = duration(data.unprotected_before);
    if (data.unprotected_since !== null) {
      const running = Math.max(0, now() - data.unprotected_since);
      text = `${duration(running)} now, ${duration(data.unprotected_before + running)} in all`;
    }
    if (data.saved !== null) text += `, stored ${duration(Math.max(0, now() - data.saved))} ago`;
    setText(cells.unprotected, text);
  }

  const before = (a, b) => Number(b.unprotected) - Number(a.unprotected) || (a.symbol < b.symbol ? -1 : Number(a.symbol > b.symbol));

  // Unprotected positions come first; then they are ordered by symbol.
  function order() {
    const body = find("positions");
    const wanted = [...rows.values()].sort((a, b) => before(a.data, b.data));
    let at = body.firstElementChild;
    for (const shown of wanted) {
      for (const each of [shown.row, shown.detail]) {
        if (each === null) continue;
        if (each === at) at = at.nextElementSibling;
        else body.insertBefore(each, at);
      }
    }
    const bad = wanted.filter((shown) => shown.data.unprotected).length;
    setText(find("count"), bad ? `${wanted.length}, ${bad} unprotected` : `${wanted.length}`);
    document.title = bad ? `(${bad} unprotected) trailing` : "trailing";
    find("none").hidden = wanted.length > 0;
  }

  function put(data) {
    const shown = rows.get(data.key) ?? addRow(data);
    shown.data = data;
    show(shown);
  }

  function drop(key) {
    const shown = rows.get(key);
    if (shown === undefined) return;
    close(shown);
    shown.row.remove();
    rows.delete(key);
  }

  // Charts.

  function toggle(shown) {
    if (shown.detail === null) open(shown);
    else close(shown);
  }

  function open(shown) {
    const detail = part("tr", "row", "detail");
    const cell = part("td", "cell");
    cell.ariaColSpan = 7;
    const box = element("div", undefined, "chart");
    const legend = element("p", undefined, "legend");
    for (const [name, className] of [
      ["price", "key-price"], ["entry", "key-entry"], ["stop", "key-stop"], ["unprotected", "key-bad"],
    ]) legend.append(element("b", name, className), "  ");
    legend.append(element("span", "", "facts"));
    cell.append(box, legend);
    detail.append(cell);
    detail.addEventListener("contentvisibilityautostatechange", () => drawSeen(shown));
    shown.row.after(detail);
    shown.detail = detail;
    shown.button.setAttribute("aria-expanded", "true");
    shown.chart = Chart.open(box);
    draw(shown);
  }

  function close(shown) {
    if (shown.detail === null) return;
    shown.chart.close();
    shown.detail.remove();
    shown.detail = shown.chart = null;
    shown.button.setAttribute("aria-expanded", "false");
  }

  async function draw(shown) {
    const chart = shown.chart;
    let data;
    try {
      const answer = await fetch(`chart/${encodeURIComponent(shown.data.key)}`);
      if (!answer.ok) return;
      data = await answer.json();
    } catch {
      return; // the server is gone, and the page says so
    }
    if (shown.chart !== chart || chart === null) return;
    const { quantity, entry, moves } = shown.data;
    setText(shown.detail.querySelector(".facts"), `quantity ${quantity}, entry ${entry}, ${moves} moves`);
    chart.update(data, now());
  }

  // Draw a chart that is open and in the window.
  function drawSeen(shown) {
    if (connected && !document.hidden && shown.chart !== null && shown.chart.isSeen()) draw(shown);
  }

  setInterval(() => rows.forEach(drawSeen), CHART_MS);

  // Events and health.

  function addEvents(events) {
    const list = find("events");
    for (const event of events.slice(-MOST_EVENTS)) {
      const item = element("li", undefined, event.level === "error" ? "error-level" : event.level);
      const time = element("time", clock.format(event.at * 1000));
      time.dateTime = new Date(event.at * 1000).toISOString();
      item.append(time, element("b", event.kind), ` ${event.position} ${event.text}`);
      list.prepend(item);
    }
    while (list.children.length > MOST_EVENTS) list.lastElementChild.remove();
  }

  const BAD = new Set(["lost", "behind", "can't be read", "free", "lost or not renewed"]);

  function showHealth(health) {
    const entries = [["stream", health.stream], ["store", health.store], ["lease", health.lease]];
    const items = entries.filter(([, state]) => state !== null).map(([name, state]) => [`${name} ${state}`, !BAD.has(state)]);
    if (health.price_age !== null) items.push([`last price ${duration(health.price_age)} ago`, health.price_age < 60]);
    if (health.waiting) items.push([`${health.waiting} entries wait for the store`, health.store !== "behind"]);
    if (health.detail) items.push([health.detail, !BAD.has(health.store) && !BAD.has(health.lease)]);
    const list = find("health");
    while (list.children.length > items.length) list.lastElementChild.remove();
    items.forEach(([text, good], index) => {
      const item = list.children[index] ?? list.appendChild(element("li"));
      setText(item, text);
      item.className = good ? "good" : "bad";
    });
  }

  // The stream.

  function hear(at) {
    heardAt = performance.now();
    serverAt = at;
    connected = true;
    tell();
  }

  function onWhole(message) {
    const data = JSON.parse(message.data);
    hear(data.at);
    setText(find("account"), `${data.account}${data.kind === "store" ? ", from its store alone" : ""}`);
    const keys = new Set(data.positions.map((each) => each.key));
    for (const key of [...rows.keys()]) if (!keys.has(key)) drop(key);
    data.positions.forEach(put);
    find("events").replaceChildren();
    addEvents(data.events);
    showHealth(data.health);
    order();
    find("data").hidden = false;
    find("login").hidden = true;
  }

  function onChange(message) {
    const data = JSON.parse(message.data);
    hear(data.at);
    data.gone.forEach(drop);
    data.changed.forEach(put);
    for (const [key, price] of data.prices) {
      const shown = rows.get(key);
      if (shown === undefined) continue;
      shown.data.price = price;
      showPrice(shown);
    }
    if (data.changed.length || data.gone.length) order();
    for (const each of data.changed) drawSeen(rows.get(each.key));
    addEvents(data.events);
    showHealth(data.health);
  }

  async function connect() {
    let answer;
    try {
      answer = await fetch("health");
    } catch {
      connected = false;
      setTimeout(connect, AGAIN_MS);
      return;
    }
    if (answer.status === 401) {
      connected = false;
      find("login").hidden = false;
      tell();
      return;
    }
    const lost = () => {
      if (!stream) return;
      stream.close();
      stream = null;
      connected = false;
      tell();
      setTimeout(connect, AGAIN_MS);
    };
    reconnect = lost;
    stream = new EventSource("stream");
    stream.addEventListener("whole", onWhole);
    stream.addEventListener("change", onChange);
    stream.addEventListener("error", lost);
    openedAt = performance.now();
  }

  find("login").addEventListener("submit", async (event) => {
    event.preventDefault();
    const headers = { Authorization: `Bearer ${find("token").value}` };
    let text = "the server can't be reached";
    try {
      const answer = await fetch("session", { headers });
      if (answer.ok) {
        find("token").value = "";
        setText(find("wrong"), "");
        connect();
        return;
      }
      text = "this is not the token";
    } catch { /* said below */ }
    setText(find("wrong"), text);
  });

  // The age of the data.

  function tell() {
    const age = performance.now() - heardAt;
    const isOld = !connected || age > OLD_MS;
    document.body.classList.toggle("is-old", isOld && serverAt > 0);
    const text = serverAt ? `This data is old: no answer for ${duration(age / 1000)}. Trying again.` : "No answer yet.";
    find("old").hidden = !isOld || !find("login").hidden;
    if (isOld) setText(find("old"), text);
    setText(find("clock"), serverAt ? clock.format(now() * 1000) : "connecting");
  }

  setInterval(() => {
    tell();
    // A connection that died without a word is opened again.
    if (stream && performance.now() - Math.max(heardAt, openedAt) > DEAD_MS) reconnect();
    for (const shown of rows.values()) if (shown.data.unprotected_since !== null || shown.data.saved !== null) showTime(shown);
  }, 250);

  connect();
})();
