const { ConnectClient, CreateEmailAddressCommand } = require("@aws-sdk/client-connect");
const nodemailer = require("nodemailer");
const { startWaypost } = require("waypost");

let waypost, connect, transport;

beforeAll(async () => {
  waypost = await startWaypost();
  connect = new ConnectClient(waypost.connectConfig);
  transport = nodemailer.createTransport(waypost.smtp);
});

afterAll(async () => {
  transport?.close();
  connect?.destroy();
  await waypost?.stop();
});

beforeEach(() => waypost.reset());

test("the confirmation arrives", async () => {
  await connect.send(
    new CreateEmailAddressCommand({ InstanceId: waypost.instanceId, EmailAddress: "ann@example.com" }),
  );

  await transport.sendMail({
    from: "shop@example.com",
    to: "ann@example.com",
    subject: "Your order 17",
    html: "<p>Thank you!</p>",
  });

  const mail = await waypost.waitFor({ address: "ann@example.com" });
  expect(mail).toMatchObject({ subject: "Your order 17", from: "shop@example.com", reason: "direct" });
  expect(await mail.html()).toBe("<p>Thank you!</p>");
});
