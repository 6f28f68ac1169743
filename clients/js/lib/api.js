// A client for the inspection API. It uses `node:http`, because tests often replace `fetch`.
"use strict";

const http = require("node:http");

class ServerRefused extends Error {
  constructor(message, status) {
    super(message);
    this.name = "ServerRefused";
    this.status = status;
  }
}

class Api {
  #url;
  #authorization;
  #agent = new http.Agent({ keepAlive: true });

  constructor(url, { accessKeyId, secretAccessKey }) {
    this.#url = url;
    this.#authorization = `Basic ${Buffer.from(`${accessKeyId}:${secretAccessKey}`).toString("base64")}`;
  }

  async get(path, query = {}) {
    return JSON.parse(await this.bytes(path, query));
  }

  async post(path, body) {
    return JSON.parse(await read(await this.#request("POST", path, {}, { body: JSON.stringify(body) })));
  }

  // Returns the body of a response as a Buffer.
  async bytes(path, query = {}) {
    return read(await this.#request("GET", path, query));
  }

  // Yields the server-sent events `{name, data}` until the signal is aborted or the server closes the stream.
  async *events(signal) {
    const response = await this.#request("GET", "events", {}, { signal });
    let rest = "";
    for await (const text of response.setEncoding("utf8")) {
      const blocks = (rest + text).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const event = { name: "", data: "" };
        for (const line of block.split("\n")) {
          if (line.startsWith("event:")) event.name = line.slice(6).trim();
          if (line.startsWith("data:")) event.data += line.slice(5).trim();
        }
        if (event.name) yield event;
      }
    }
  }

  close() {
    this.#agent.destroy();
  }

  async #request(method, path, query, { body, signal } = {}) {
    const url = new URL(path, this.#url);
    for (const [name, value] of Object.entries(query)) {
      if (value !== undefined) url.searchParams.set(name, value);
    }
    const headers = { authorization: this.#authorization };
    if (body !== undefined) headers["content-type"] = "application/json";
    const response = await new Promise((resolve, reject) => {
      const request = http.request(url, { method, headers, signal, agent: this.#agent }, resolve);
      request.on("error", reject).end(body);
    });
    if (response.statusCode === 200) return response;
    throw new ServerRefused(sentence(String(await read(response))), response.statusCode);
  }
}

async function read(response) {
  const parts = [];
  for await (const part of response) parts.push(part);
  return Buffer.concat(parts);
}

function sentence(body) {
  try {
    return JSON.parse(body).error ?? body;
  } catch {
    return body;
  }
}

module.exports = { Api };
