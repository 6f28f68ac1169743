// Starts and stops a process of `waypost serve`.
//
// The server has a pipe to this process as its standard input, and stops when the pipe is closed (`--attached`). The
// operating system closes the pipe when this process ends for any reason.
"use strict";

const { spawn } = require("node:child_process");
const { once } = require("node:events");
const fs = require("node:fs");
const path = require("node:path");
const readline = require("node:readline");
// Test frameworks replace the global timers, but not those of this module.
const { setTimeout, clearTimeout } = require("node:timers");

const START_MS = 60_000;
const STOP_MS = 30_000;
const KEPT_LOG = 256 * 1024; // characters

const OPTIONS = {
  http: "127.0.0.1:0",
  smtp: "127.0.0.1:0",
  authentication: "off",
  clock: "virtual", // allows `advance`
  "trusted-networks": "127.0.0.0/8,::1",
  testing: "yes", // allows `reset`
};

class ServerDied extends Error {
  constructor(reason, log) {
    super(log ? `${reason} Its log:\n${log}` : reason);
    this.name = "ServerDied";
  }
}

class ServerProcess {
  #child;
  #ended;
  log = "";

  static async start({ command = process.env.WAYPOST_COMMAND || "waypost", settings = {} }) {
    const [program, ...first] = typeof command === "string" ? [command] : command;
    const server = new ServerProcess();
    await server.#start(program, [...first, "serve", "--attached", "--ready-json", ...argumentsOf(settings)]);
    return server;
  }

  async #start(program, given) {
    // A signal from the terminal ends the tests, which can then still use the server, because it is in another group.
    const child = spawn(program, given, { stdio: "pipe", detached: true, env: environment() });
    this.#child = child;
    this.#ended = once(child, "close");
    this.#ended.catch(() => {}); // reported below
    child.stdin.on("error", () => {}); // the server has ended
    child.stderr.setEncoding("utf8").on("data", (text) => {
      this.log = (this.log + text).slice(-KEPT_LOG);
    });
    this.ready = JSON.parse(await this.#firstLine(program));
    this.credentials = credentialsIn(fs.readFileSync(this.ready.credentials, "utf8"));
    // Tests that do not stop the server must not wait for it.
    for (const each of [child, child.stdin, child.stdout, child.stderr]) each.unref();
  }

  async #firstLine(program) {
    const late = setTimeout(() => this.#child.kill("SIGKILL"), START_MS);
    const lines = readline.createInterface({ input: this.#child.stdout });
    try {
      const [line] = await Promise.race([once(lines, "line"), this.#ended.then(() => [])]);
      if (line === undefined) throw new ServerDied("The server ended before it was ready.", this.log);
      return line;
    } catch (error) {
      if (error.code !== "ENOENT") throw error;
      throw new ServerDied(
        `There is no command ${program}. Install Waypost (pip install waypost) and activate its environment, or give ` +
          "the command's path in the option `command` or the environment variable WAYPOST_COMMAND.",
      );
    } finally {
      clearTimeout(late);
      lines.close();
      this.#child.stdout.resume();
    }
  }

  async stop() {
    const child = this.#child;
    for (const each of [child, child.stdout, child.stderr]) each.ref();
    const late = setTimeout(() => child.kill("SIGKILL"), STOP_MS);
    child.stdin.end();
    try {
      await this.#ended;
    } finally {
      clearTimeout(late);
      // The server has removed its directory, unless it was killed.
      fs.rmSync(path.dirname(this.ready.data), { recursive: true, force: true });
    }
  }
}

function argumentsOf(settings) {
  const given = Object.entries(settings).map(([name, value]) => [optionName(name), textOf(value)]);
  return Object.entries({ ...OPTIONS, ...Object.fromEntries(given) }).flatMap(([name, value]) => [`--${name}`, value]);
}

function optionName(name) {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`).replaceAll("_", "-");
}

function textOf(value) {
  return typeof value === "boolean" ? (value ? "yes" : "no") : String(value);
}

// Returns the environment without the variables that set options of `waypost serve`.
function environment() {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("WAYPOST_SERVE_")));
}

function credentialsIn(text) {
  const value = (name) => text.match(new RegExp(`^${name} *= *(\\S+)`, "m"))[1];
  return { accessKeyId: value("aws_access_key_id"), secretAccessKey: value("aws_secret_access_key") };
}

module.exports = { ServerProcess, ServerDied };
