// A Waypost server for tests. `index.d.ts` describes what users call.
"use strict";

const { Api, ServerRefused } = require("./api.js");
const { Mail, NoSuchMail, list, waitFor } = require("./mail.js");
const { ServerProcess, ServerDied } = require("./process.js");

const TIMEOUT_MS = 10_000;

async function startWaypost(options = {}) {
  return new Waypost(await ServerProcess.start(options));
}

class Waypost {
  #process;
  #api;

  constructor(process) {
    const { ready, credentials } = process;
    this.#process = process;
    this.#api = new Api(process);
    this.version = ready.version;
    this.pid = ready.pid;
    this.smtp = ready.smtp;
    this.instanceId = ready.instance_id;
    this.connectConfig = { endpoint: ready.api_url, region: ready.region, credentials };
    this.environment = {
      AWS_ENDPOINT_URL_CONNECT: ready.api_url,
      AWS_REGION: ready.region,
      AWS_ACCESS_KEY_ID: credentials.accessKeyId,
      AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
      AWS_SESSION_TOKEN: "", // would belong to another access key
      AWS_PROFILE: "", // SDKs for JavaScript would prefer a profile to the access key
      AWS_IGNORE_CONFIGURED_ENDPOINT_URLS: "false", // with true, even in a profile, SDKs would call AWS
      AWS_USE_FIPS_ENDPOINT: "false", // SDKs refuse true together with the endpoint of the server
      AWS_USE_DUALSTACK_ENDPOINT: "false",
      WAYPOST_INSTANCE_ID: ready.instance_id,
    };
  }

  get log() {
    return this.#process.log;
  }

  async inbox(address) {
    return list(this.#api, { address });
  }

  async waitFor(wanted, { timeoutMs = TIMEOUT_MS } = {}) {
    return waitFor(this.#api, wanted, timeoutMs);
  }

  async advance(by) {
    const { now } = await this.#api.post("clock/advance", { by });
    return new Date(now);
  }

  async reset() {
    const { instance } = await this.#api.post("reset", {});
    this.instanceId = this.environment.WAYPOST_INSTANCE_ID = instance;
  }

  async stop() {
    await this.#process.stop();
  }
}
if (Symbol.asyncDispose) {
  Waypost.prototype[Symbol.asyncDispose] = Waypost.prototype.stop;
}

module.exports = { startWaypost, Waypost, Mail, NoSuchMail, ServerDied, ServerRefused };
