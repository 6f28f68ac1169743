// The mail that has arrived, and waiting for it.
"use strict";

// Test frameworks replace the global timers, but not those of this module.
const { setTimeout, clearTimeout } = require("node:timers");

const { ServerRefused } = require("./api.js");

const PAGE = 500;
const SHOWN = 20; // the maximum number of deliveries, and of refusals, that an error message lists

class NoSuchMail extends Error {
  constructor(message) {
    super(message);
    this.name = "NoSuchMail";
  }
}

class Mail {
  #api;

  constructor(api, found) {
    this.#api = api;
    this.id = found.id;
    this.deliveryId = found.delivery;
    this.address = found.address;
    this.subject = found.subject;
    this.from = found.from;
    this.to = found.to;
    this.reason = found.reason;
    this.via = found.via;
    this.status = found.status;
    this.receivedAt = new Date(found.received_at);
    this.size = found.size;
  }

  async raw() {
    return this.#api.bytes(`${this.#path}/raw`, { address: this.address });
  }

  async text() {
    return String(await this.#api.bytes(`${this.#path}/text`)).replaceAll("\r\n", "\n").trimEnd();
  }

  async html() {
    const { html_part: number, parts } = await this.#parts();
    if (number === null) return "";
    const { charset } = parts.find((part) => part.number === number);
    return decoded(await this.#api.bytes(`${this.#path}/parts/${number}`), charset).replaceAll("\r\n", "\n").trimEnd();
  }

  async attachments() {
    const { parts } = await this.#parts();
    const attached = parts.filter((part) => part.is_attachment);
    return Promise.all(
      attached.map(async (part) => ({
        filename: part.filename ?? "",
        contentType: part.content_type,
        content: await this.#api.bytes(`${this.#path}/parts/${part.number}`),
      })),
    );
  }

  async trace() {
    return (await this.#api.get(this.#path)).trace;
  }

  async #parts() {
    return this.#api.get(`${this.#path}/parts`);
  }

  get #path() {
    return `messages/${encodeURIComponent(this.id)}`;
  }
}

function decoded(bytes, charset) {
  try {
    return new TextDecoder(charset ?? "utf-8").decode(bytes);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return new TextDecoder().decode(bytes); // the message names a charset that does not exist
  }
}

// Returns deliveries, the oldest first.
async function list(api, query = {}) {
  const found = [];
  let page;
  let after;
  do {
    page = (await api.get("messages", { ...query, limit: PAGE, after })).messages;
    found.push(...page);
    after = page.at(-1)?.[query.address === undefined ? "delivery" : "id"];
  } while (page.length === PAGE);
  return found.reverse().map((each) => new Mail(api, each));
}

// Returns the oldest mail that fits, as soon as it is there. Throws `NoSuchMail` if there is none in time.
async function waitFor(api, wanted, timeoutMs) {
  const fits = typeof wanted === "function" ? wanted : matcher(wanted);
  const ending = new AbortController();
  const timer = setTimeout(() => ending.abort(), timeoutMs);
  try {
    for await (const mails of looks(api, ending.signal)) {
      for (const mail of mails) {
        if (await fits(mail)) return mail;
      }
    }
  } finally {
    clearTimeout(timer);
    ending.abort(); // closes the stream of events
  }
  throw new NoSuchMail(`No mail with ${shown(wanted)} arrived within ${timeoutMs} ms. ${await report(api)}`);
}

// Yields all mail, and then what changes, until the signal is aborted.
async function* looks(api, signal) {
  while (!signal.aborted) {
    try {
      for await (const { name, data } of api.events(signal)) {
        if (name === "change") yield JSON.parse(data).deliveries.map((each) => new Mail(api, each));
        else yield await list(api); // the stream begins now, or has lost changes
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }
  yield await list(api);
}

const ADDRESSES = ["address", "from", "to", "via"];
const CONTENT = ["text", "html"];
const MEMBERS = ["address", "from", "to", "via", "subject", "reason", "status", "text", "html"];

function matcher(wanted) {
  for (const name of Object.keys(wanted)) {
    if (!MEMBERS.includes(name)) throw new TypeError(`Mail cannot be found by ${name}; by ${MEMBERS.join(", ")}.`);
  }
  // The content is read last, because each look at it needs a request.
  const ordered = MEMBERS.filter((name) => wanted[name] !== undefined);
  return async (mail) => {
    for (const name of ordered) {
      const value = CONTENT.includes(name) ? await content(mail, name) : mail[name];
      if (!matches(name, wanted[name], value)) return false;
    }
    return true;
  };
}

// Returns the text or HTML; `null` if the server has no copy, because the mail was sent over a route, or was deleted.
async function content(mail, name) {
  try {
    return await mail[name]();
  } catch (error) {
    if (error instanceof ServerRefused && error.status === 404) return null;
    throw error;
  }
}

function matches(name, wanted, value) {
  if (value === null) return wanted === null;
  if (wanted === null) return false;
  if (typeof wanted !== "string") return value.search(wanted) >= 0; // `search` ignores the flag `g`
  if (CONTENT.includes(name)) return value.includes(wanted);
  return ADDRESSES.includes(name) ? value.toLowerCase() === wanted.toLowerCase() : value === wanted;
}

function shown(wanted) {
  if (typeof wanted === "function") return `the predicate ${wanted.name || wanted}`;
  const text = (value) => (value instanceof Object ? String(value) : JSON.stringify(value));
  return Object.entries(wanted).map(([name, value]) => `${name}: ${text(value)}`).join(", ");
}

async function report(api) {
  const arrived = await list(api);
  const { refusals } = await api.get("refusals", { limit: PAGE });
  const lines = [
    `${arrived.length} arrived${arrived.length ? ":" : "."}`,
    ...arrived.map(line).slice(-SHOWN),
    `${refusals.length} refused${refusals.length ? ":" : "."}`,
    ...refusals.slice(0, SHOWN).reverse().map((one) => `  from <${one.from}> to <${one.to}>: ${one.reply}`),
  ];
  return lines.join("\n");
}

function line(mail) {
  const through = mail.via ? ` through ${mail.via}` : "";
  const subject = JSON.stringify(mail.subject);
  return `  ${subject} from <${mail.from}> at ${mail.address}: ${mail.reason}${through}, ${mail.status}`;
}

module.exports = { Mail, NoSuchMail, list, waitFor };
