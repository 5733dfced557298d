// Cameras and their latest labels: the list by REST every few seconds, labels and events as they arrive by the stream.
"use strict";

const LIST_EVERY_MS = 5000;
const PICTURE_EVERY_MS = 15000;
const EVENTS_MAX = 50;
const cards = new Map();
const byId = (id) => document.getElementById(id);
const percent = (score) => (score == null ? "" : `${Math.round(score * 100)} %`);
const keyOf = (record) => `${record.site}/${record.gateway}/${record.camera}`;

async function json(path) {
  const response = await fetch(path, { headers: { accept: "application/json" } });
  if (!response.ok) throw new Error(`${path} answered ${response.status}`);
  return response.json();
}

async function all(path, list) {
  const found = [];
  for (let cursor = ""; ; ) {
    const page = await json(path + cursor);
    found.push(...page[list]);
    if (!page.next_cursor || found.length >= 500) return found;
    cursor = `?cursor=${encodeURIComponent(page.next_cursor)}`;
  }
}

function card(camera) {
  const key = keyOf(camera);
  if (!cards.has(key)) {
    const node = byId("card").content.firstElementChild.cloneNode(true);
    node.querySelector("h3").textContent = camera.camera;
    byId("cameras").append(node);
    cards.set(key, { node, regions: new Map(), camera });
    picture(key);
  }
  return cards.get(key);
}

function region(entry, name) {
  if (!entry.regions.has(name)) {
    const row = document.createElement("li");
    for (const part of ["label", "score"]) row.append(Object.assign(document.createElement("span"), { className: part }));
    row.append(document.createElement("small"));
    entry.node.querySelector(".regions").append(row);
    entry.regions.set(name, row);
  }
  return entry.regions.get(name);
}

function show(row, name, label, score, stable) {
  row.querySelector(".label").textContent = label ?? "–";
  row.querySelector(".score").textContent = percent(score);
  if (stable !== undefined) row.dataset.stable = stable ?? "";
  row.querySelector("small").textContent = row.dataset.stable ? `${name}: stable ${row.dataset.stable}` : name;
}

async function list() {
  try {
    const [gateways, cameras] = await Promise.all([all("/api/v1/gateways", "gateways"), all("/api/v1/cameras", "cameras")]);
    const known = new Set(cameras.map(keyOf));
    for (const [key, { node }] of cards) if (!known.has(key)) { node.remove(); cards.delete(key); }
    for (const camera of cameras) {
      const entry = card(camera);
      entry.node.className = camera.status;
      const rate = camera.status === "online" && camera.fps != null ? `, ${camera.fps.toFixed(1)} frames/s` : "";
      entry.node.querySelector(".where").textContent = camera.reason ?? `${camera.site} / ${camera.gateway}${rate}`;
      for (const r of camera.regions) show(region(entry, r.region), r.region, r.latest_label, r.latest_score, r.label);
    }
    const online = gateways.filter((g) => g.status === "online").length;
    const live = cameras.filter((c) => c.status === "online").length;
    byId("summary").textContent = `${online} of ${gateways.length} gateways and ${live} of ${cameras.length} cameras online`;
  } catch (error) {
    byId("summary").textContent = `The hub does not answer: ${error.message}`;
  }
  setTimeout(list, LIST_EVERY_MS);
}

async function picture(key) {
  const entry = cards.get(key);
  if (!entry) return;
  try {
    const { site, gateway, camera } = entry.camera;
    const page = await json(`/api/v1/samples?${new URLSearchParams({ site, gateway, camera, limit: 1 })}`);
    const row = page.rows[0];
    const image = entry.node.querySelector("img");
    if (row && image.getAttribute("src") !== row.picture_href) {
      image.onload = () => { image.hidden = false; };
      image.alt = `${camera} at ${row.captured_at}`;
      image.title = image.alt;
      image.src = row.picture_href;
    }
  } catch { /* the next round tries again */ }
  setTimeout(() => picture(key), PICTURE_EVERY_MS);
}

function watch() {
  const stream = new EventSource("/api/v1/stream");
  const pending = new Map();
  stream.addEventListener("prediction", ({ data }) => {
    const record = JSON.parse(data);
    if (pending.size === 0) requestAnimationFrame(() => {
      for (const [, latest] of pending) {
        const entry = cards.get(keyOf(latest));
        if (entry) show(region(entry, latest.region), latest.region, latest.labels[0], latest.scores[0]);
      }
      pending.clear();
    });
    pending.set(`${keyOf(record)}/${record.region}`, record); // only the newest of a region is drawn
  });
  stream.addEventListener("event", ({ data }) => {
    const record = JSON.parse(data);
    const item = document.createElement("li");
    const time = document.createElement("time");
    time.dateTime = record.captured_at;
    time.textContent = new Date(record.captured_at).toLocaleString();
    item.append(time, `${record.camera} / ${record.region}: ${record.before ?? "–"} → ${record.after ?? "–"}`);
    const events = byId("events");
    events.querySelector(".none")?.remove();
    events.prepend(item);
    while (events.children.length > EVENTS_MAX) events.lastElementChild.remove();
  });
  stream.addEventListener("bye", () => { stream.close(); setTimeout(watch, 5000); });
  stream.onerror = () => { if (stream.readyState === EventSource.CLOSED) setTimeout(watch, 5000); };
}

list();
watch();
