import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";

import {
  AssociateEmailAddressAliasCommand,
  ConnectClient,
  CreateEmailAddressCommand,
} from "@aws-sdk/client-connect";
import nodemailer from "nodemailer";
import { startWaypost } from "waypost";

let waypost, connect, transport;

before(async () => {
  waypost = await startWaypost();
  connect = new ConnectClient(waypost.connectConfig);
  transport = nodemailer.createTransport(waypost.smtp);
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

test("mail to the alias reaches the queue", async () => {
  const queue = await create("queue@example.com");
  const support = await create("support@example.com");
  await connect.send(
    new AssociateEmailAddressAliasCommand({
      InstanceId: waypost.instanceId,
      EmailAddressId: queue,
      AliasConfiguration: { EmailAddressId: support },
    }),
  );

  await transport.sendMail({
    from: "ann@shop.example",
    to: "support@example.com",
    subject: "Where is my order?",
    text: "Hello!",
    attachments: [{ filename: "order.pdf", content: "%PDF-1.7" }],
  });

  const mail = await waypost.waitFor({ address: "queue@example.com", subject: /order/ });
  assert.equal(mail.via, "support@example.com");
  assert.equal(await mail.text(), "Hello!");
  const [order] = await mail.attachments();
  assert.equal(order.filename, "order.pdf");
});

test("mail to an unknown address is refused", async () => {
  const refused = transport.sendMail({ from: "ann@shop.example", to: "nobody@example.com", text: "Hello!" });
  await assert.rejects(refused, /550 5\.1\.1/);
});
