// The package does what its types say. tests/clients/test_javascript.py runs these tests from the packed tarball.
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, beforeEach, describe, test } from "node:test";

import {
  AssociateEmailAddressAliasCommand,
  ConnectClient,
  CreateEmailAddressCommand,
  DescribeEmailAddressCommand,
} from "@aws-sdk/client-connect";
import nodemailer from "nodemailer";
import { NoSuchMail, ServerDied, ServerRefused, startWaypost } from "waypost";

const SENDER = "ann@shop.example";
const LONG = 120_000; // milliseconds; no test waits as long

let waypost, connect, transport;

before(async () => {
  process.env.WAYPOST_SERVE_LIMITS = "no such profile"; // variables of `waypost serve` do not reach the server
  waypost = await startWaypost();
  delete process.env.WAYPOST_SERVE_LIMITS;
  connect = new ConnectClient(waypost.connectConfig);
  transport = nodemailer.createTransport({ ...waypost.smtp, pool: true, maxConnections: 1, maxMessages: Infinity });
});

after(async () => {
  transport?.close();
  connect?.destroy();
  await waypost?.stop();
});

beforeEach(() => waypost.reset());

async function create(address) {
  const command = new CreateEmailAddressCommand({ InstanceId: waypost.instanceId, EmailAddress: address });
  return (await connect.send(command)).EmailAddressId;
}

async function alias(alias, primary) {
  await connect.send(
    new AssociateEmailAddressAliasCommand({
      InstanceId: waypost.instanceId,
      EmailAddressId: await create(primary),
      AliasConfiguration: { EmailAddressId: await create(alias) },
    }),
  );
}

function send(to, message = {}) {
  return transport.sendMail({ from: SENDER, to, subject: "Hello", text: "Hi!", ...message });
}

// Sends a request to the inspection API.
async function request(method, path, body) {
  const { accessKeyId, secretAccessKey } = waypost.connectConfig.credentials;
  const response = await fetch(`${waypost.connectConfig.endpoint}/_waypost/${path}`, {
    method,
    headers: {
      authorization: `Basic ${Buffer.from(`${accessKeyId}:${secretAccessKey}`).toString("base64")}`,
      "content-type": "application/json",
    },
    body: JSON.stringify(body),
  });
  assert.equal(response.status, 200, await response.text());
}

async function addressOf(id, client = connect) {
  const command = new DescribeEmailAddressCommand({ InstanceId: waypost.instanceId, EmailAddressId: id });
  return (await client.send(command)).EmailAddress;
}

describe("the inbox", () => {
  test("has the mail of an email address, the oldest first, with what the API says about it", async () => {
    await alias("support@example.com", "queue@example.com");
    for (const subject of ["one", "two"]) await send("Support@example.com", { subject });

    const mails = await waypost.inbox("queue@example.com");
    assert.deepEqual(mails.map(({ subject }) => subject), ["one", "two"]);
    const [mail] = mails;
    assert.deepEqual(
      [mail.address, mail.from, mail.to, mail.reason, mail.via, mail.status],
      ["queue@example.com", SENDER, "Support@example.com", "forwarded", "support@example.com", "delivered"],
    );
    assert.ok(mail.deliveryId.startsWith(mail.id));
    assert.ok(Math.abs(Date.now() - mail.receivedAt) < LONG);
    const [direct] = await waypost.inbox("support@example.com");
    assert.deepEqual([direct.id, direct.reason, direct.via], [mail.id, "direct", null]);
  });

  test("has more mail than one page of the API", async () => {
    await create("queue@example.com");
    const sent = Array.from({ length: 501 }, (_, n) => `${n}`);
    for (const subject of sent) await send("queue@example.com", { subject });
    const found = await waypost.inbox("queue@example.com");
    assert.deepEqual(found.map(({ subject }) => subject), sent);
  });

  test("of an address that does not exist cannot be read", async () => {
    await assert.rejects(waypost.inbox("nobody@example.com"), (error) => {
      assert.ok(error instanceof ServerRefused);
      assert.match(error.message, /nobody@example.com/);
      return error.status === 404;
    });
  });
});

describe("mail", () => {
  test("has its text, HTML, attachments, bytes and trace", async () => {
    await create("queue@example.com");
    const order = Buffer.from([0, 255, 13, 10]);
    await send("queue@example.com", {
      text: "Grüße\n\nAnn\n",
      html: "<p onclick='f()'>Grüße</p>\n",
      attachments: [{ filename: "order.pdf", content: order }],
    });

    const [mail] = await waypost.inbox("queue@example.com");
    assert.equal(await mail.text(), "Grüße\n\nAnn");
    assert.equal(await mail.html(), "<p onclick='f()'>Grüße</p>");
    assert.deepEqual(await mail.attachments(), [
      { filename: "order.pdf", contentType: "application/pdf", content: order },
    ]);
    assert.match(String(await mail.raw()), /^Received: [^]*\r\nSubject: Hello\r\n/m);
    assert.deepEqual((await mail.trace()).map(({ event }) => event), ["accepted", "delivered"]);
  });

  test("without HTML and attachments has none", async () => {
    await create("queue@example.com");
    await send("queue@example.com");
    const [mail] = await waypost.inbox("queue@example.com");
    assert.deepEqual([await mail.html(), await mail.attachments()], ["", []]);
  });

  test("has HTML also in another charset, or in one that does not exist", async () => {
    await create("queue@example.com");
    for (const charset of ["iso-8859-1", "x-none"]) {
      const raw = Buffer.from(`Content-Type: text/html; charset=${charset}\r\n\r\n<p>f\xfcr</p>\r\n`, "latin1");
      await transport.sendMail({ envelope: { from: SENDER, to: "queue@example.com" }, raw });
    }
    const shown = await Promise.all((await waypost.inbox("queue@example.com")).map((mail) => mail.html()));
    assert.deepEqual(shown, ["<p>für</p>", "<p>f\ufffdr</p>"]);
  });
});

describe("waitFor", () => {
  test("returns mail that arrives later", async () => {
    await create("queue@example.com");
    await send("queue@example.com", { subject: "another" });
    const waiting = waypost.waitFor({ subject: "wanted" }, { timeoutMs: LONG });
    await send("queue@example.com", { subject: "wanted" });
    assert.equal((await waiting).subject, "wanted");
  });

  test("by text or HTML passes over mail of which the server has no copy", async (t) => {
    const [gone, queue] = ["gone@example.com", "queue@example.com"];
    await create(gone);
    await create(queue);
    const folder = await mkdtemp(join(tmpdir(), "maildir-"));
    t.after(() => rm(folder, { recursive: true }));
    await request("POST", "routes", { match: gone, to: `maildir:${folder}/mail` });
    const content = { text: "number 17", html: "<b>17</b>" };
    await send(gone, content);
    await waypost.waitFor({ address: gone, status: "delivered" });
    await send(queue, content);
    const found = [await waypost.waitFor({ text: "17" }), await waypost.waitFor({ html: /17/ })];
    assert.deepEqual(found.map(({ address }) => address), [queue, queue]);
  });

  test("returns the oldest mail that fits, also if it is there already", async () => {
    await create("queue@example.com");
    for (const text of ["one", "two"]) await send("queue@example.com", { text });
    const mail = await waypost.waitFor({ address: "queue@example.com" });
    assert.equal(await mail.text(), "one");
  });

  for (const [name, wanted] of Object.entries({
    "the address, in any case": { address: "Queue@example.com" },
    "the sender": { from: SENDER },
    "a regular expression": { to: /^support@/ },
    "the alias": { via: "support@example.com" },
    "the way": { reason: "forwarded" },
    "a part of the text": { text: "number 17" },
    "a part of the HTML": { html: /<b>17<\/b>/ },
    "a predicate": (mail) => mail.via !== null,
    "an asynchronous predicate": async (mail) => mail.via !== null && (await mail.text()).includes("17"),
  })) {
    test(`finds mail by ${name}`, async () => {
      await create("other@example.com");
      await alias("support@example.com", "queue@example.com");
      await transport.sendMail({ from: "bob@mill.example", to: "other@example.com", subject: "Hello", text: "Hi!" });
      await send("support@example.com", { text: "number 17", html: "number <b>17</b>" });
      for (let n = 0; n < 2; n += 1) assert.notEqual((await waypost.waitFor(wanted)).address, "other@example.com");
    });
  }

  test("ignores the state of a regular expression", async () => {
    await create("queue@example.com");
    for (const text of ["one", "two"]) await send("queue@example.com", { text });
    await waypost.waitFor({ subject: /Hello/g, text: "two" }, { timeoutMs: 1000 });
  });

  test("tells mail that came through an alias from mail that did not", async () => {
    await alias("support@example.com", "queue@example.com");
    await send("support@example.com");
    assert.equal((await waypost.waitFor({ via: null })).address, "support@example.com");
  });

  test("says at the end of its time what arrived, and what was refused", async () => {
    await create("queue@example.com");
    await send("queue@example.com");
    await assert.rejects(send("nobody@example.com"), /550 5\.1\.1/);
    await assert.rejects(waypost.waitFor({ subject: /order/, address: "q@example.com" }, { timeoutMs: 1 }), (error) => {
      assert.ok(error instanceof NoSuchMail);
      const [first, arrived, refused, refusal] = error.message.split("\n");
      assert.equal(
        first,
        'No mail with subject: /order/, address: "q@example.com" arrived within 1 ms. 1 arrived:',
      );
      assert.equal(arrived, '  "Hello" from <ann@shop.example> at queue@example.com: direct, delivered');
      assert.equal(refused, "1 refused:");
      assert.match(refusal, /^ {2}from <ann@shop.example> to <nobody@example.com>: 550 5.1.1 /);
      return true;
    });
  });

  test("refuses a member that mail does not have", async () => {
    await assert.rejects(waypost.waitFor({ recipient: "queue@example.com" }), /cannot be found by recipient/);
  });
});

describe("the server", () => {
  test("is empty after a reset, and knows its new instance", async () => {
    const id = await create("queue@example.com");
    assert.equal(await addressOf(id), "queue@example.com");
    await waypost.reset();
    await assert.rejects(addressOf(id), { name: "ResourceNotFoundException" });
    await assert.rejects(waypost.inbox("queue@example.com"));
    assert.equal(waypost.environment.WAYPOST_INSTANCE_ID, waypost.instanceId);
    await create("queue@example.com");
  });

  test("moves its virtual clock forward", async () => {
    await create("queue@example.com");
    const now = await waypost.advance("5d");
    assert.ok(now - Date.now() > 4 * 86_400_000);
    await send("queue@example.com");
    const [mail] = await waypost.inbox("queue@example.com");
    assert.ok(mail.receivedAt >= now);
  });

  test("can be used by software that makes a client without arguments", async () => {
    const saved = { ...process.env };
    const others = {
      AWS_PROFILE: "other",
      AWS_SESSION_TOKEN: "other",
      AWS_IGNORE_CONFIGURED_ENDPOINT_URLS: "true",
      AWS_USE_FIPS_ENDPOINT: "true",
      AWS_USE_DUALSTACK_ENDPOINT: "true",
      AWS_WEB_IDENTITY_TOKEN_FILE: "/no/such/file",
    };
    Object.assign(process.env, others, waypost.environment);
    try {
      const client = new ConnectClient();
      assert.equal(await addressOf(await create("queue@example.com"), client), "queue@example.com");
      client.destroy();
    } finally {
      for (const name of Object.keys({ ...others, ...waypost.environment })) {
        if (saved[name] === undefined) delete process.env[name];
        else process.env[name] = saved[name];
      }
    }
  });

  test("has a log, and the version of the package", async () => {
    assert.match(waypost.log, /"event":"listening"/);
    assert.equal(waypost.version, createRequire(import.meta.url)("waypost/package.json").version);
  });

  test("is not affected by a test that replaces fetch and timers", async (t) => {
    t.mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"] });
    t.mock.method(globalThis, "fetch", () => assert.fail());
    await assert.rejects(waypost.waitFor({ subject: "none" }, { timeoutMs: 1 }), NoSuchMail);
  });
});

describe("a server that has ended", () => {
  const hasTheLog = (error) => {
    assert.ok(error instanceof ServerDied);
    assert.match(error.message, /^The server does not answer \(E[A-Z]+\)\. Its log:\n[^]*The server is for tests/);
    return true;
  };

  test("gives errors with its log", async () => {
    const server = await startWaypost();
    const waiting = assert.rejects(server.waitFor({ subject: "none" }, { timeoutMs: LONG }), hasTheLog);
    await server.reset();
    process.kill(server.pid, "SIGKILL");
    await waiting;
    await assert.rejects(server.reset(), hasTheLog);
    await server.stop();
  });

  test("ends the waits for mail", async () => {
    const server = await startWaypost();
    const waiting = assert.rejects(server.waitFor({ subject: "none" }, { timeoutMs: LONG }), hasTheLog);
    await server.reset();
    await Promise.all([waiting, server.stop()]);
  });
});

describe("startWaypost", () => {
  test("says why the server did not start, with its log", async () => {
    await assert.rejects(startWaypost({ settings: { limits: "none" } }), (error) => {
      assert.ok(error instanceof ServerDied);
      assert.match(error.message, /ended before it was ready\. Its log:\n[^]*--limits/);
      return true;
    });
  });

  test("says what to do if there is no such command", async () => {
    const started = startWaypost({ command: "no-such-command" });
    await assert.rejects(started, /no command no-such-command.*pip install waypost.*WAYPOST_COMMAND/);
  });

  test("takes a command of several words, and settings by any spelling", async () => {
    const command = ["env", "ANY=1", process.env.WAYPOST_COMMAND];
    const settings = { hostname: "mx.example.com", trusted_networks: "", trustedNetworks: "", http_names: "a.example" };
    const server = await startWaypost({ command, settings });
    const client = nodemailer.createTransport({ ...server.smtp, name: "client.example" });
    await client.verify();
    client.close();
    await server.stop();
    await server.stop(); // has no effect
    assert.match(server.log, /"event":"stopped"/);
  });
});
