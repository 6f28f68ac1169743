// Sends a message with nodemailer: node send.mjs HOST PORT SENDER RECIPIENT FILE clear|starttls
// The environment variable NODEMAILER names the directory that contains nodemailer.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

const require = createRequire(process.env.NODEMAILER + "/");
const nodemailer = require("nodemailer");
const [host, port, from, to, file, how] = process.argv.slice(2);

const transport = nodemailer.createTransport({
  host,
  port: Number(port),
  name: "client.example",
  secure: false,
  ignoreTLS: how === "clear",
  requireTLS: how === "starttls",
  tls: { rejectUnauthorized: false },
});
const result = await transport.sendMail({ envelope: { from, to }, raw: readFileSync(file) });
console.log(result.response);
