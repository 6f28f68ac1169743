// A client for the inspection API. It uses `node:http`, because tests often replace `fetch`.
"use strict";

const http = require("node:http");

const { ServerDied } = require("./process.js");

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
  #server;

  // `server` is the process of the server, whose log errors show.
  constructor(server) {
    const { accessKeyId, secretAccessKey } = server.credentials;
    this.#server = server;
    this.#url = server.ready.inspection_url;
    this.#authorization = `Basic ${Buffer.from(`${accessKeyId}:${secretAccessKey}`).toString("base64")}`;
  }

  async get(path, query = {}) {
    return JSON.parse(await this.bytes(path, query));
  }

  async post(path, body) {
    return JSON.parse(await this.#whole("POST", path, {}, JSON.stringify(body)));
  }

  // Returns the body of a response as a Buffer.
  async bytes(path, query = {}) {
    return this.#whole("GET", path, query);
  }

  // Yields the server-sent events `{name, data}` until the signal is aborted or the server closes the stream.
  async *events(signal) {
    try {
      const response = await this.#request("GET", "events", {}, { signal });
      let rest = "";
      for await (const text of response.setEncoding("utf8")) {
        const blocks = (rest + text).split("\n\n");
        rest = blocks.pop();
        for (const block of blocks) {
          const event = eventIn(block);
          if (event.name) yield event;
        }
      }
    } catch (error) {
      throw this.#explained(error);
    }
  }

  // Returns the whole body of a response.
  async #whole(method, path, query, body) {
    try {
      return await read(await this.#request(method, path, query, { body }));
    } catch (error) {
      throw this.#explained(error);
    }
  }

  // Returns an error of the connection as an error with the log of the server; other errors as they are.
  #explained(error) {
    if (!/^E[A-Z]+$/.test(error.code)) return error;
    return new ServerDied(`The server does not answer (${error.code}).`, this.#server.log);
  }

  async #request(method, path, query, { body, signal } = {}) {
    const url = new URL(path, this.#url);
    for (const [name, value] of Object.entries(query)) {
      if (value !== undefined) url.searchParams.set(name, value);
    }
    const headers = { authorization: this.#authorization };
    if (body !== undefined) headers["content-type"] = "application/json";
    const response = await new Promise((resolve, reject) => {
      // Each request has a connection of its own, because the server may just be closing a connection that was idle.
      const request = http.request(url, { method, headers, signal, agent: false }, resolve);
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

function eventIn(block) {
  const event = { name: "", data: "" };
  for (const line of block.split("\n")) {
    if (line.startsWith("event:")) event.name = line.slice(6).trim();
    if (line.startsWith("data:")) event.data += line.slice(5).trim();
  }
  return event;
}

function sentence(body) {
  try {
    return JSON.parse(body).error ?? body;
  } catch {
    return body;
  }
}

module.exports = { Api, ServerRefused };
